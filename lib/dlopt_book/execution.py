"""Run chapters: each in its own pytest with nbval, a few at a time, their outputs kept for the site."""

import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dlopt.scale import pick

from dlopt_book import cache
from dlopt_book.book import cores
from dlopt_book.nbval_plugin import MARK

ANSI = re.compile(r"\x1b\[[\d;]*m")
CELL_TIMEOUT = pick(300, 7200)  # seconds; at quick scale a whole chapter should take less than 120


@dataclass(frozen=True)
class Run:
    """One chapter's run: ``ok`` if every cell passed, ``cells`` run, wall ``seconds``, pytest's ``report``."""

    path: Path
    ok: bool
    cells: int
    seconds: float
    report: str


def jobs():
    """How many chapters run side by side: ``DLOPT_JOBS``, by default one per core and at most four.

    Raises:
        ValueError: ``DLOPT_JOBS`` is no whole number >= 1.
    """
    text = os.environ.get("DLOPT_JOBS", str(min(cores(), 4)))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"DLOPT_JOBS must be a whole number >= 1, got {text!r}")
    return int(text)


def environment():
    """The environment of a chapter: this Python first on the path, one thread, no dependence on the hash seed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    defaults = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    return {**defaults, **os.environ, "PATH": path}


def run_stale(book, paths=None, say=print):
    """Run the chapters whose cached run is missing or out of date, and cache the outputs of those that pass.

    Args:
        book: the book.
        paths: the notebooks to look at; None means all of the book's.
        say: called with each line of progress.

    Returns:
        The list of runs, in the order in which they ended; empty if everything was up to date.
    """
    say = _one_at_a_time(say)
    waiting = cache.stale(book, paths)
    cache.evict(book, waiting)
    total = len(book.notebooks() if paths is None else paths)
    say(f"chapters: {total}, to run: {len(waiting)}" + (f", at a time: {min(jobs(), len(waiting))}" if waiting else ""))
    alone = {p: k for p, k in waiting.items() if _alone(p)}
    together = {p: k for p, k in waiting.items() if p not in alone}
    return _pool(book, together, jobs(), say) + _pool(book, alone, 1, say)


def _one_at_a_time(say):
    lock = threading.Lock()

    def said(line):
        with lock:
            say(line)

    return said


def _alone(path):
    """Whether the notebook asks, by ``"dlopt": {"alone": true}`` in its metadata, to have the machine to itself."""
    return bool(cache.read(path).metadata.get("dlopt", {}).get("alone"))


def _pool(book, keys, workers, say):
    todo, ended = queue.Queue(), queue.Queue()
    for path in keys:
        todo.put(path)

    def work():
        while True:
            try:
                path = todo.get_nowait()
            except queue.Empty:
                return
            ended.put(_run(book, path, say))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(keys)))]
    for thread in threads:
        thread.start()
    return [_keep(book, ended.get(), keys, say) for _ in keys]  # the cache is written by this thread only


def _keep(book, outcome, keys, say):
    run, executed = outcome
    name = book.docname(run.path)
    if run.ok:
        cache.store(book, run.path, executed, keys[run.path], run.seconds)
        say(f"  passed  {name}: {run.cells} cells in {run.seconds:.0f} s")
    else:
        say(f"{run.report.rstrip()}\n  FAILED  {name}: after {run.cells} cells and {run.seconds:.0f} s")
    return run


def _run(book, path, say):
    name, start = book.docname(path), time.monotonic()
    total = sum(cell.cell_type == "code" for cell in cache.read(path).cells)
    say(f"  running {name}: {total} cells")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "executed.ipynb"
        code, lines, cells = _pytest(book, path, target, lambda done: _progress(name, done, total))
        seconds = time.monotonic() - start
        ok = code == 0 and target.exists()
        executed = cache.read(target) if ok else None
    return Run(path, ok, cells, seconds, "".join(lines)), executed


def _pytest(book, path, target, progress):
    command = [sys.executable, "-m", "pytest", str(path), "--nbval", "--nbval-current-env", "--exitfirst", "-q",
               f"--nbval-cell-timeout={CELL_TIMEOUT}", "-p", "dlopt_book.nbval_plugin", f"--executed-to={target}",
               "-p", "no:cacheprovider", "--rootdir", str(book.root), "-c", os.devnull]
    lines, cells = [], 0
    with subprocess.Popen(command, cwd=book.root, env=environment(), text=True, encoding="utf-8", errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            if line.startswith(MARK):
                cells = int(line.split()[1])
                progress(cells)
            elif line.strip() not in ("", ".", "F"):
                lines.append(line if sys.stdout.isatty() else ANSI.sub("", line))
    return process.returncode, lines, cells


def _progress(name, done, total):
    """One line that is rewritten in place, on a terminal only; a log gets the first and the last line of a chapter."""
    if sys.stdout.isatty():
        print(f"\r  running {name}: {done}/{total} cells\033[K\r", end="", flush=True)
