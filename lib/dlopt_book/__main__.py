"""The book's own commands: ``python -m dlopt_book COMMAND [...]``; ``--help`` lists them."""

import argparse
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from dlopt_book import browser, execution, site, verdicts
from dlopt_book import figures as figure_files
from dlopt_book import report as reports
from dlopt_book.book import here


def book(arguments):
    """Run the chapters that need it and build the site."""
    return 0 if site.make(here()) else 1


def run(arguments):
    """Run the named chapters (default: all) if their cached run is out of date."""
    paths = [Path(path).resolve() for path in arguments.paths] or None
    return int(any(not outcome.ok for outcome in execution.run_stale(here(), paths)))


def figures(arguments):
    """Run the named chapters (default: all) if need be and write their figures to _build/figures."""
    code = run(arguments)
    written = figure_files.write(here(), [Path(path).resolve() for path in arguments.paths] or None)
    print("\n".join(str(path.relative_to(here().root)) for path in written))
    return code


def test(arguments):
    """Make the book, then run every test, as many files at a time as chapters; both happen even if one fails."""
    made = site.make(here())
    together = ["-n", str(execution.jobs()), "--dist", "loadgroup", "--no-loadscope-reorder"]
    code = subprocess.run([sys.executable, "-m", "pytest", *together, *arguments.paths], cwd=here().root,
                          env={**execution.environment(), "BOOK_MADE": "1"}).returncode
    if not made:
        print("FAILED: the book could not be made (see above)")
    return code or int(not made)


def serve(arguments):
    """Serve the site on http://localhost:8000 (or on the port given) until Ctrl-C."""
    port = int(arguments.paths[0]) if arguments.paths else 8000
    with browser.served(here().site, port) as address:
        print(f"the book is on {address} (Ctrl-C ends it)")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


def seeds(arguments):
    """Run every chapter under DLOPT_SEED = 1, 2, 3 and list the verdicts that differ from those of seed 0."""
    return verdicts.compare(here(), [int(n) for n in arguments.paths] or [1, 2, 3])


def screenshots(arguments):
    """Photograph every page at three widths, in light and in dark."""
    written = browser.photograph(here().site, here().root / "_build" / "screenshots")
    print(f"{len(written)} pictures in {here().root / '_build' / 'screenshots'}")
    return 0


def report(arguments):
    """Measure every page against its targets; a number says how often Lighthouse looks at each (0: not at all)."""
    rows = reports.report(here().site, int(next(iter(arguments.paths), "1")))
    return int(any(row.misses() for row in rows))


def pdf(arguments):
    """Print the whole book into _build/book.pdf."""
    from dlopt_book import printed

    target = here().root / "_build" / "book.pdf"
    pages = printed.make(here(), target)
    print(f"{target}: {pages} pages, {target.stat().st_size / 1e6:.1f} MB")
    return 0


def zip(arguments):
    """Pack the site into _build/book.zip, to be read without a network."""
    target = site.pack(here())
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; unpack it and open index.html")
    return 0


COMMANDS = (book, run, figures, test, serve, seeds, screenshots, report, pdf, zip)


def main():
    parser = argparse.ArgumentParser(prog="python -m dlopt_book", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for function in COMMANDS:
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.add_argument("paths", nargs="*")
        command.set_defaults(function=function)
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return arguments.function(arguments)


if __name__ == "__main__":
    sys.exit(main())
