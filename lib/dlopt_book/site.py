"""Build the site strictly from the chapters' runs, or leave no site at all."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from dlopt_book import execution
from dlopt_book.fingerprint import folder_digest, settings, versions

SKIPPED_FOLDERS = {"__pycache__", ".ipynb_checkpoints", "_build", "_downloads"}  # the last is made by the build


def inputs(book):
    """Every file that the site is made from."""
    top = [book.root / name for name in ("_config.yml", "_toc.yml", "requirements.txt", "pyproject.toml")]
    below = [path for name in ("chapters", "lib") for path in (book.root / name).rglob("*")]
    return [path for path in top + below if path.is_file() and not _skipped(path.relative_to(book.root))]


def _skipped(path):
    return any(part in SKIPPED_FOLDERS or part.endswith(".egg-info") for part in path.parts)


def state(book):
    """What the site would be built from now, as JSON text."""
    return json.dumps({"files": folder_digest(book.root, inputs(book)), "settings": settings(), "versions": versions()})


def is_current(book):
    """Whether the site in ``_build/html`` was built from the files as they are now."""
    return (book.site / "index.html").exists() and _stamp(book).exists() and _stamp(book).read_text() == state(book)


def _stamp(book):
    return book.root / "_build" / "site.json"


def remove(book):
    """Take away the site and Sphinx's memory of it; a site that does not match its sources must not be left."""
    _stamp(book).unlink(missing_ok=True)
    for folder in (book.site, book.root / "_build" / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)


def make(book, say=print):
    """Run what must be run, build what must be built.

    Returns:
        True if the site is complete and current; False if there is none, with the reason said.
    """
    with _lock(book):
        if is_current(book):
            say("site: nothing changed since it was built")
        elif not _make(book, say):
            return False
    say(f"open {book.site / 'index.html'} in a browser, or run: make serve")
    return True


def pack(book):
    """Write the site into ``_build/book.zip``, inside one folder; returns the path of the archive."""
    target = book.root / "_build" / "book.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in book.site.rglob("*") if path.is_file()):
            name = path.relative_to(book.site)
            if name.parts[0] not in ("reports", ".doctrees") and name.name not in (".buildinfo", "objects.inv"):
                archive.write(path, f"{book.root.name}/{name.as_posix()}")
    return target


def _make(book, say):
    before = state(book)  # taken first: an edit during the build makes the site stale
    failed = [run for run in execution.run_stale(book, say=say) if not run.ok]
    remove(book)
    if failed:
        say(f"no site: {len(failed)} chapter(s) failed: " + ", ".join(book.docname(run.path) for run in failed))
        return False
    if not _build(book, say):
        remove(book)
        return False
    _stamp(book).write_text(before)
    return True


def _build(book, say):
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(book.root),
               "-W", "--keep-going", "-n", "--all"]
    say("site: building")
    start, log = time.monotonic(), book.root / "_build" / "site.log"
    done = subprocess.run(command, cwd=book.root, env=execution.environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace")
    log.write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        warnings = [line for line in done.stdout.splitlines() if "WARNING" in line or "ERROR" in line]
        say("\n".join(warnings or done.stdout.splitlines()[-40:]))
        say(f"no site: the strict build failed; all it said is in {log}")
        return False
    say(f"site: built in {time.monotonic() - start:.0f} s")
    return True


@contextlib.contextmanager
def _lock(book):
    """One build at a time; a second one waits. Without fcntl (Windows) there is no lock."""
    path = book.root / "_build" / ".lock"
    path.parent.mkdir(exist_ok=True)
    with open(path, "w") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
