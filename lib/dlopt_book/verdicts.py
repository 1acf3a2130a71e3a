"""Do the book's verdicts survive other seeds?  Every chapter is run again under each; nothing of it is kept."""

import os
import tempfile
from pathlib import Path

from dlopt_book import cache, execution
from dlopt_book.book import Book

CLAIM = "application/vnd.dlopt.claim+json"


def of_notebook(executed):
    """The claims that an executed notebook recorded, as a dict (item, part) -> verdict."""
    data = [output.get("data", {}) for cell in executed.cells for output in cell.get("outputs", [])]
    return {(d[CLAIM]["item"], d[CLAIM].get("part")): d[CLAIM]["verdict"] for d in data if CLAIM in d}


def of_book(book):
    """The verdicts of all chapters that have been run, as a dict (document name, item, part) -> verdict."""
    return {(name, *key): verdict for name, notebook in cache.executed(book)
            for key, verdict in of_notebook(notebook).items()}


def flips(before, after):
    """Sentences on every verdict that differs between two runs of the book; empty if none does."""
    for key in sorted(before.keys() | after.keys(), key=str):
        if before.get(key) != after.get(key):
            name, item, part = key
            label = item if part is None else f"{item} ({part})"
            yield f"{name}: {label}: {before.get(key, 'no verdict')!r} became {after.get(key, 'no verdict')!r}"


class _Elsewhere(Book):
    """The same book with a cache of its own, so that the runs under other seeds do not end up in the site."""

    @property
    def cache_path(self):
        return Path(os.environ["BOOK_CACHE"])


def compare(book, seeds, say=print):
    """Run the book under its own seed if need be, then under each of ``seeds``; say what flips or fails.

    Returns:
        0 if every chapter passed under every seed with the same verdicts, else 1.
    """
    bad = [run for run in execution.run_stale(book, say=say) if not run.ok]
    before, trouble = of_book(book), [f"{book.docname(run.path)} failed under the book's own seed" for run in bad]
    for seed in seeds:
        say(f"DLOPT_SEED={seed}")
        trouble += [f"DLOPT_SEED={seed}: {sentence}" for sentence in _under(seed, book, before, say)]
    say("\n".join(trouble) if trouble else f"{len(before)} verdicts, the same under every seed")
    return int(bool(trouble))


def _under(seed, book, before, say):
    old = {name: os.environ.get(name) for name in ("DLOPT_SEED", "BOOK_CACHE")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(DLOPT_SEED=str(seed), BOOK_CACHE=folder)
        try:
            other = _Elsewhere(book.root)
            failed = {book.docname(run.path) for run in execution.run_stale(other, say=say) if not run.ok}
            after = of_book(other)
        finally:
            for name, value in old.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    yield from (f"{name} failed" for name in sorted(failed))
    yield from flips({key: verdict for key, verdict in before.items() if key[0] not in failed}, after)
