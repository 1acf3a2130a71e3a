"""The file cache: whole files or none, damage noticed, disks that are full, folders of every platform."""

import errno
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from dlopt.data import cache

ARRAYS = {"a": np.arange(12, dtype=np.int64).reshape(3, 4), "b": np.array([1.5], dtype=np.float32)}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DLOPT_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def same(found):
    return set(found) == set(ARRAYS) and all(
        np.array_equal(found[k], ARRAYS[k]) and found[k].dtype == ARRAYS[k].dtype for k in ARRAYS
    )


def test_what_is_stored_comes_back_and_nothing_else_lies_beside_it(folder):
    path = cache.path_for("kind", {"x": 1})
    assert cache.load(path) is None
    assert cache.store(path, ARRAYS) and same(cache.load(path))
    assert list(folder.iterdir()) == [path]


def test_keys_that_differ_in_anything_have_different_files():
    keys = [{"x": 1}, {"x": 2}, {"y": 1}, {"x": 1, "y": None}, {"x": "1"}]
    assert len({cache.path_for("kind", key) for key in keys} | {cache.path_for("other", keys[0])}) == 6
    assert cache.path_for("kind", {"x": 1, "y": 2}) == cache.path_for("kind", {"y": 2, "x": 1})


@pytest.mark.parametrize("damage", [
    lambda raw: raw[:-1], lambda raw: raw[:20], lambda raw: b"", lambda raw: raw + b"x",
    lambda raw: raw[:100] + bytes([raw[100] ^ 4]) + raw[101:], lambda raw: b"something else entirely",
])
def test_any_damage_is_noticed_and_the_file_removed(damage):
    path = cache.path_for("kind", {})
    cache.store(path, ARRAYS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="was damaged; it is removed and made again"):
        assert cache.load(path) is None
    assert not path.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_ends_in_a_clear_error_with_nothing_half_written(folder, monkeypatch):
    def on_a_full_disk(dir, prefix):
        name = str(Path(dir) / f"{prefix}x")
        os.symlink("/dev/full", name)
        return os.open(name, os.O_WRONLY), name

    monkeypatch.setattr(cache.tempfile, "mkstemp", on_a_full_disk)
    path = cache.path_for("kind", {})
    with pytest.raises(OSError, match="no space for .* MiB in the cache folder .* set DLOPT_CACHE .* cache=False") as e:
        cache.store(path, ARRAYS)
    assert e.value.errno == errno.ENOSPC and list(folder.iterdir()) == []


def test_a_full_disk_keeps_the_entry_that_was_there(folder, monkeypatch):
    path = cache.path_for("kind", {})
    cache.store(path, ARRAYS)

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        cache.store(path, {"a": np.zeros(3)})
    assert same(cache.load(path)) and list(folder.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_reported_and_done_without(folder):
    folder.parent.mkdir()
    folder.write_text("a file is in the way")
    path = cache.path_for("kind", {})
    with pytest.warns(UserWarning, match="cannot be written .*; going on without it"):
        assert cache.store(path, ARRAYS) is False
    assert cache.load(path) is None


def test_two_writers_at_once_leave_one_whole_file(folder):
    path = cache.path_for("kind", {})
    threads = [threading.Thread(target=cache.store, args=(path, ARRAYS)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(cache.load(path)) and list(folder.iterdir()) == [path]


def test_beyond_the_limit_the_files_unused_for_longest_go_first(folder, monkeypatch):
    paths = [cache.path_for("kind", {"k": k}) for k in range(3)]
    for age, path in zip((300, 200, 100), paths):
        cache.store(path, ARRAYS)
        os.utime(path, (1e9 - age, 1e9 - age))
    cache.load(paths[0])  # used: now the youngest
    monkeypatch.setattr(cache, "LIMIT", 3 * paths[0].stat().st_size)
    newest = cache.path_for("kind", {"k": 9})
    cache.store(newest, ARRAYS)
    assert set(folder.iterdir()) == {paths[0], paths[2], newest}


def test_clear_removes_every_entry_and_leftover(folder):
    cache.store(cache.path_for("kind", {}), ARRAYS)
    (folder / ".partial-abc").write_text("left by a crash")
    (folder / "notes.txt").write_text("not ours")
    assert cache.clear() == 2 and [p.name for p in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("platform, environment, expected", [
    ("linux", {}, "home/.cache/dlopt"),
    ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/dlopt"),
    ("darwin", {}, "home/Library/Caches/dlopt"),
    ("win32", {"LOCALAPPDATA": "/local"}, "/local/dlopt/Cache"),
    ("linux", {"DLOPT_CACHE": "~/mine"}, "home/mine"),
])
def test_every_platform_has_its_place(monkeypatch, tmp_path, platform, environment, expected):
    for name in ("DLOPT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.folder() == tmp_path / expected
