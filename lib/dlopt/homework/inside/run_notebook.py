"""Execute a notebook's cells in this sandbox and pass each cell's outputs on; nothing that comes out is trusted."""

import ctypes
import os
import resource
import sys
import warnings

import nbformat
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from .wire import MAX_FRAME, Frames, dump, load


def _say(fd, message):
    frame = dump(message)
    if len(frame) > MAX_FRAME:
        frame = dump(
            {"cell": message["cell"], "outputs": [], "note": "the outputs of this cell were too large to keep"}
        )
    while frame:
        frame = frame[os.write(fd, frame) :]


def _execute(client, fd):
    for i, cell in enumerate(client.nb.cells):
        if cell.cell_type != "code":
            continue
        _say(fd, {"running": i})
        note = ""
        try:
            client.execute_cell(cell, i)
        except CellTimeoutError:
            note = "stopped: it took too long"
            if not _answers(client):
                _say(fd, {"cell": i, "outputs": cell.outputs, "note": note + "; nothing after it could be run"})
                return
        except DeadKernelError:
            _say(
                fd, {"cell": i, "outputs": cell.outputs, "note": "this cell ended the kernel; nothing after it was run"}
            )
            return
        _say(fd, {"cell": i, "outputs": cell.outputs, "note": note})


def _answers(client):
    """Whether the kernel is free again after an interrupt; a loop in C, or one that swallows it, is not."""
    try:
        run_sync(client.kc.wait_for_ready)(timeout=4)
    except (RuntimeError, TimeoutError):
        return False
    return True


def main():
    warnings.simplefilter("ignore")
    if (most := int(sys.argv[1])) > 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: the kernel may not read this process through /proc
    fd = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    frames, bodies = Frames(64 * 2**20), []
    while not bodies:
        bodies = frames.feed(os.read(0, 65536))
    job = load(bodies[0])
    nb = nbformat.from_dict(job["notebook"])
    seconds = job["seconds"]  # by cell id; every other cell has the default
    client = NotebookClient(nb, kernel_name="python3", allow_errors=True,
                            timeout_func=lambda cell: seconds.get(cell.get("id"), seconds["default"]))  # fmt: skip
    with client.setup_kernel():
        _execute(client, fd)
        _say(fd, {"end": True})
