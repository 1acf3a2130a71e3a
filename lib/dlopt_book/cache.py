"""The book's executed notebooks: a jupyter-cache whose every entry carries the key of what it was run with."""

from contextlib import suppress

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn

from dlopt_book.fingerprint import notebook_key

KEY = "dlopt_key"


def read(path):
    """The notebook at ``path``."""
    return nbformat.read(path, as_version=4)


def stale(book, paths=None):
    """The notebooks that have no run with today's key, as a dict path -> key, in the book's order."""
    cache = get_cache(book.cache_path)
    keys = {path: notebook_key(path, book.lib) for path in (book.notebooks() if paths is None else paths)}
    return {path: key for path, key in keys.items() if _stored_key(cache, path) != key}


def _record(cache, path):
    with suppress(KeyError):
        record = cache.match_cache_notebook(read(path))
        if cache._get_notebook_path_cache(record.hashkey).exists():
            return record
    return None


def _stored_key(cache, path):
    record = _record(cache, path)
    return record and (record.data or {}).get(KEY)


def evict(book, paths):
    """Remove what the cache holds for these notebooks, so that nobody can read it by mistake."""
    cache = get_cache(book.cache_path)
    for path in paths:
        record = _record(cache, path)
        if record is not None:
            cache.remove_cache(record.pk)


def store(book, path, executed, key, seconds):
    """Keep an executed notebook.

    Args:
        path: the notebook's source.
        executed: the same notebook with its outputs.
        key: the key computed *before* the run, so that an edit made meanwhile makes the entry stale.
        seconds: wall time of the run.
    """
    data = {KEY: key, "execution_seconds": seconds}
    bundle = CacheBundleIn(executed, str(path), data=data)
    get_cache(book.cache_path).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def seconds(book, path):
    """Wall time of a notebook's cached run, or None."""
    record = _record(get_cache(book.cache_path), path)
    return record and (record.data or {}).get("execution_seconds")


def adopt(book, path, key):
    """Give the key to an entry that was made without one, that is by ``jupyter-book build`` itself."""
    cache = get_cache(book.cache_path)
    record = _record(cache, path)
    if record is not None and KEY not in (record.data or {}):
        bundle = cache.get_cache_bundle(record.pk)
        store(book, path, bundle.nb, key, (record.data or {}).get("execution_seconds"))


def executed_one(book, path):
    """The notebook at ``path`` with the outputs of its cached run; None if there is no run."""
    cache = get_cache(book.cache_path)
    return None if _record(cache, path) is None else cache.merge_match_into_notebook(read(path))[1]


def executed(book):
    """Pairs (document name, notebook with outputs) of every chapter that has been run, in the book's order."""
    every = ((book.docname(path), executed_one(book, path)) for path in book.notebooks())
    yield from (pair for pair in every if pair[1] is not None)
