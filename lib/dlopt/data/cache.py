"""A small file cache: written in one move, checked by checksum, bounded in size.

The folder is ``DLOPT_CACHE`` if set, else the platform's place for caches: ``~/Library/Caches/dlopt`` on macOS,
``%LOCALAPPDATA%\\dlopt\\Cache`` on Windows, ``$XDG_CACHE_HOME/dlopt`` or ``~/.cache/dlopt`` elsewhere. Everything in it
can be made again; deleting it is always safe.
"""

import errno
import hashlib
import io
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

MAGIC = b"dlopt-cache-1\n"
LIMIT = 2 * 2**30  # bytes kept; the files unused for longest go first
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


def folder():
    """The cache folder as a ``Path``; it need not exist yet."""
    if os.environ.get("DLOPT_CACHE"):
        return Path(os.environ["DLOPT_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dlopt"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "dlopt" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlopt"


def path_for(kind, key):
    """File for the entry that ``key`` (a dict of plain values) describes."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return folder() / f"{kind}-{digest[:24]}.bin"


def load(path):
    """The arrays stored at ``path`` as a dict, or None if there are none.

    A damaged file (cut short, bits changed) is removed with a warning and counts as none.
    """
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    digest, payload = raw[len(MAGIC) : len(MAGIC) + 32], raw[len(MAGIC) + 32 :]
    if not raw.startswith(MAGIC) or hashlib.sha256(payload).digest() != digest:
        path.unlink(missing_ok=True)
        warnings.warn(f"the cache file {path} was damaged; it is removed and made again", stacklevel=3)
        return None
    _touch(path)
    with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def store(path, arrays):
    """Write ``arrays`` (name -> numpy array) to ``path``: the complete file appears in one move, or nothing does.

    Returns:
        True if stored; False, with a warning, where the folder cannot be written.

    Raises:
        OSError: the disk is full; nothing is left behind.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    payload = buffer.getbuffer()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest())
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL:
            need = f"{len(payload) / 2**20:.0f} MiB"
            way_out = "free some, set DLOPT_CACHE to a folder elsewhere, or pass cache=False"
            raise OSError(error.errno, f"no space for {need} in the cache folder {path.parent}; {way_out}") from None
        warnings.warn(f"the cache folder {path.parent} cannot be written ({error}); going on without it", stacklevel=3)
        return False
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)  # already moved away if all went well
    _prune(path)
    return True


def _touch(path):
    try:
        os.utime(path)
    except OSError:
        pass  # a read-only cache is still a cache


def _prune(newest):
    """Remove the files unused for longest until the folder is within ``LIMIT``."""
    files = []
    for path in newest.parent.glob("*-*.bin"):
        try:
            files.append((path.stat().st_mtime, path.stat().st_size, path))
        except FileNotFoundError:
            pass  # another process removed it
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= LIMIT or path == newest:
            continue
        try:
            path.unlink(missing_ok=True)
            total -= size
        except OSError:
            pass  # in use elsewhere


def clear():
    """Delete every cache entry; returns the number of files removed."""
    removed = 0
    for pattern in ("*-*.bin", ".partial-*"):
        for path in folder().glob(pattern):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
