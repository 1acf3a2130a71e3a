"""A class of submissions for the homework tests: honest, broken and hostile ones, built from the released notebook."""

import copy
import json
from pathlib import Path

import nbformat
from dlopt.homework import repair

ROOT = Path(__file__).parents[1]
TOPIC = "gradient_descent"
SOURCE = ROOT / f"chapters/homework/{TOPIC}/{TOPIC}.ipynb"
QUICK = 'plt.plot([1, 2], label="quick")\nplt.show()'
FULL = 25


def solutions():
    """The reference's answers by grade_id, with a short experiment."""
    nb = nbformat.read(SOURCE, as_version=4)
    found = {repair.grade_id(c): c.source for c in nb.cells if c.metadata.nbgrader.solution}
    keep = {k: "\n".join(line for line in s.splitlines() if "### " not in line) for k, s in found.items()}
    return keep | {"experiment": QUICK}


def submission(release, answers=None, *, first="", last=""):
    """The released notebook with these answers; ``first`` and ``last`` are additional cells at its ends."""
    nb = copy.deepcopy(release)
    for cell in nb.cells:
        cell.source = (answers or {}).get(repair.grade_id(cell), cell.source)
    nb.cells = [*_cells(first), *nb.cells, *_cells(last)]
    return nb


def _cells(source):
    return [nbformat.v4.new_code_cell(source)] if source else []


def cell(nb, gid):
    """The cell with this grade_id."""
    return next(c for c in nb.cells if repair.grade_id(c) == gid)


def dumps(nb):
    """Bytes of a notebook, whatever its metadata."""
    return json.dumps(nb).encode()


FORGE = """
import torch, IPython
torch.allclose = lambda *a, **k: True
torch.equal = lambda *a, **k: True
torch.Tensor.__eq__ = lambda *a: True
shell = IPython.get_ipython()
shell.input_transformers_cleanup.append(lambda lines: ["pass"])
"""
LOOP_C = "sum(range(10**15))"
STUBBORN = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
BOMB = """
import os
for _ in range(10_000):
    try:
        if os.fork() == 0:
            import time
            time.sleep(1000)
    except OSError:
        break
"""
BACKGROUND = """
import os, subprocess, sys
waiting = "import time\\nwhile True: time.sleep(1) # left-behind-marker"
subprocess.Popen([sys.executable, "-c", waiting], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    while True:
        pass
"""
MEMORY = "hoard = []\nwhile True:\n    hoard.append(bytearray(100 * 2**20))"
PRINT = 'print("x" * 10**8)\nfor _ in range(200_000):\n    print("flood")'
FRAMES = """
import base64, json, os, signal, struct
def frame(message):
    body = json.dumps(message).encode()
    return struct.pack(">Q", len(body)) + body
parent = os.getppid()
for fd in range(3, 64):
    try:
        for i in range(20):
            os.write(fd, frame({"i": i, "answer": 1.0}))
        os.write(fd, frame({"end": True}))
        os.write(fd, b"\\xff" * 64)
    except OSError:
        pass
for number in (signal.SIGSTOP, signal.SIGKILL):
    try:
        os.kill(parent, number)
    except OSError:
        pass
"""
EXIT = """
import os
def hvp(f, theta, v):
    os._exit(0)
"""
HUGE = """
def hvp(f, theta, v):
    return torch.zeros(10**8)
"""
RECURSION = """
def hvp(f, theta, v):
    answer = []
    answer.append(answer)
    return answer
def power_iteration(product, v0, steps):
    return power_iteration(product, v0, steps)
"""
OPTIM = """
from torch.optim import *
from torch import optim as harmless
def gradient_descent(f, theta, eta, steps, max_norm=None):
    x = theta.clone().requires_grad_(True)
    o = harmless.SGD([x], lr=eta)
    rows = [x.detach().clone()]
    for _ in range(steps):
        o.zero_grad()
        f(x).backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([x], max_norm)
        o.step()
        rows.append(x.detach().clone())
    return torch.stack(rows)
"""
MARKDOWN = """<script>alert('attack')</script> <b onclick="alert('attack')">text</b> <img src=x onerror=alert('attack')>
<svg onload=alert('attack')> [click](javascript:alert('attack')) and $a < b$"""
SCRIPT = """
from IPython.display import HTML, Javascript, display
display(HTML("<script>alert('attack')</script><img src=x onerror=alert('attack')>"))
display(Javascript("alert('attack')"))
"""


def spy(paths, port):
    """A cell that tries to read ``paths``, write outside, reach a port of this machine, and prints what it got."""
    return f"""
import os, socket
for path in {[str(p) for p in paths]!r}:
    try:
        print("SAW", path, os.listdir(path) if os.path.isdir(path) else open(path).read(100))
    except OSError as error:
        print("nothing", type(error).__name__)
for path in {[str(p) for p in paths]!r} + ["/", "/usr", "/etc", "/grader", "/dev"]:
    try:
        open(os.path.join(path, "planted"), "w").write("x")
        print("WROTE", path)
    except OSError as error:
        print("refused", type(error).__name__)
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=2)
    print("CONNECTED")
except OSError as error:
    print("no network", type(error).__name__)
print("found", [n for n in os.listdir(".") if n.endswith(".ipynb")])
names = []
for top, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if f not in ("proc", "usr", "sys", "site-packages", "lib", ".pyenv")]
    names += files
print("GLOB", [n for n in names if n in ("checks.py", "gradebook.db", "secret") or n.endswith(".ipynb")])
"""
