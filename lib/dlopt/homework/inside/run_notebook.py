"""Execute a notebook's cells in this sandbox and pass each cell's outputs on: nothing else leaves, and nothing is trusted."""

import ctypes
import os
import resource
import sys
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402
from nbclient.exceptions import CellTimeoutError, DeadKernelError  # noqa: E402
from wire import MAX_FRAME, Frames, dump, load  # noqa: E402


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
            note = f"stopped after {client.timeout} s"
        except DeadKernelError:
            _say(
                fd, {"cell": i, "outputs": cell.outputs, "note": "this cell ended the kernel; nothing after it was run"}
            )
            return
        _say(fd, {"cell": i, "outputs": cell.outputs, "note": note})


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
    client = NotebookClient(nb, timeout=job["cell_seconds"], kernel_name="python3", allow_errors=True)
    with client.setup_kernel():
        _execute(client, fd)
        _say(fd, {"end": True})


if __name__ == "__main__":
    main()
