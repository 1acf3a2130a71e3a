"""The process in the sandbox that answers the grader: reads jobs on stdin, forks one child per job, passes frames on.

The parent of the child never runs student code itself, yet nothing that comes out of this process is trusted: an answer
is data that the grader compares with its own result.
"""

import contextlib
import ctypes
import importlib
import os
import resource
import select
import signal
import sys
import time

import torch

from .play import define, run_task, starved
from .scan import scan
from .wire import MAX_FRAME, Frames, dump, load

PR_SET_DUMPABLE, PR_SET_PDEATHSIG = 4, 1


def _private_pipes():
    """Move the two pipes away from 0 and 1, which become /dev/null: printing costs nothing and reaches nobody."""
    incoming, outgoing = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    return incoming, outgoing


def _child(job, drivers, pipe, private):
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for fd in private:
        os.close(fd)
    _forget()
    cpu = int(job["seconds_total"]) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))

    def say(message):
        frame = dump(message)
        if len(frame) > MAX_FRAME:
            frame = dump({"i": message.get("i"), "error": {"kind": "TooLarge", "message": "", "at": None}})
        while frame:
            frame = frame[os.write(pipe, frame) :]

    run_task(job, drivers, say)


def _forget():
    """Take the grader's own modules out of what an import statement finds."""
    here = __name__.split(".")[0]
    sys.path[:] = [p for p in sys.path if p != "/grader"]
    for name in [n for n in sys.modules if n.split(".")[0] == here]:
        del sys.modules[name]
    vars(sys.modules["__main__"]).pop("main", None)


def _relay(pipe, child, job, outgoing):
    """Pass the child's frames on until it ends, falls silent for too long or uses up its total time."""
    frames, end = Frames(), time.monotonic() + job["seconds_total"]
    limit = job["cell_seconds"]
    quiet, waited, finished = time.monotonic() + limit, starved(child), False
    while not finished and time.monotonic() < end:
        if time.monotonic() > quiet:  # unless it only waited for a processor
            more, waited = starved(child) - waited, starved(child)
            if more < 0.05:
                break
            quiet += more
        ready, _, _ = select.select([pipe], [], [], 0.05)
        if not ready:
            if os.waitpid(child, os.WNOHANG)[0]:
                return "died"
            continue
        data = os.read(pipe, 65536)
        if not data:
            return "died"
        try:
            messages = [load(body) for body in frames.feed(data)]
        except ValueError:
            return "garbage"
        for message in messages:
            limit = job["seconds"] + 1 if "case" in message else limit
            quiet = time.monotonic() + limit
            finished = finished or "end" in message
            os.write(outgoing, dump(message)) if "end" not in message else None
    return "" if finished else "timeout"


def _kill_all(child):
    """End everything that the child started; -1 means "all processes", so only as the first process of a namespace."""
    alone = os.getpid() == 1
    try:
        os.kill(-1, signal.SIGKILL) if alone else os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _run(job, drivers, incoming, outgoing):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            _child(job, drivers, writing, (incoming, outgoing))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    reason = _relay(reading, child, job, outgoing)
    os.close(reading)
    _kill_all(child)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return reason


def _preload(tasks):
    """Import here, once, what every child would import: the usual libraries and the owners of forbidden names."""
    owners = {name.rpartition(".")[0] or name for task in tasks for name in task["forbidden"]}
    for name in ("matplotlib.pyplot", *sorted(owners)):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _write(fd, message):
    frame = dump(message)
    while frame:
        frame = frame[os.write(fd, frame) :]


def main():
    torch.set_num_threads(1)
    if (most := int(sys.argv[1])) > 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)  # a child may not read or write this process through /proc
    incoming, outgoing = _private_pipes()
    frames, drivers, cells = Frames(64 * 2**20), None, []
    while data := os.read(incoming, 65536):
        for body in frames.feed(data):
            job = load(body)
            if "drivers" in job:
                _preload(job["tasks"])
                drivers, cells = define(job["drivers"], "drivers"), job["cells"]
                _write(outgoing, {"scan": scan(cells, job["tasks"])})
            else:
                _write(outgoing, {"end": _run(job | {"cells": cells}, drivers, incoming, outgoing)})
