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


def _inside(name, arguments, body):
    """A function of the homework whose body is this."""
    return f"def {name}({arguments}):\n    " + body.strip().replace("\n", "\n    ")


def _meddled(release):
    nb = submission(release)
    cell(nb, "test_hvp").metadata.nbgrader.points = 100
    cell(nb, "test_hvp").source = "pass"
    cell(nb, "test_clip").metadata.nbgrader.grade = False
    cell(nb, "test_power").metadata.nbgrader.solution = True
    cell(nb, "test_flops").metadata.nbgrader.grade_id = "renamed"
    cell(nb, "test_classify").cell_type = "markdown"
    return nb


def _copied(release, answers, **more):
    nb = submission(release, answers, **more)
    nb.cells.insert(4, cell(nb, "hvp").copy())
    return nb


def class_of(release, spying, separate=False):
    """The class: ``{student: (bytes, points that the honest work earns, or None where there is nothing to grade)}``.

    Args:
        release: the released notebook.
        spying: source of a cell that looks around.
        separate: one student for each attack and twelve honest ones, 30 in all; else attacks that do not disturb each
            other share a submission.
    """
    right = solutions()
    stubborn, memory = _inside("hvp", "f, theta, v", STUBBORN), _inside("classify", "f, theta, tol", MEMORY)
    exits = _inside("power_iteration", "product, v0, steps", "import os\nos._exit(0)")
    frames = _inside("hvp", "f, theta, v", FRAMES)
    loud = "import warnings\nwarnings.warn('hello')\nimport sys\nprint('e', file=sys.stderr)\n" + PRINT
    odd = {"hvp": HUGE, "power_iteration": RECURSION}
    made = {"good": (submission(release, right), FULL), "blank": (release, 0), "meddled": (_meddled(release), 0)}
    if separate:
        made |= {f"honest{i}": (submission(release, right, last=f"mine = {i}"), FULL) for i in range(11)} | {
            "forge": (submission(release, first=FORGE), 0), "spy": (submission(release, first=spying), 0),
            "frames": (submission(release, {"hvp": frames}), 0),
            "loop_c": (submission(release, right, first=LOOP_C), FULL),
            "loud": (submission(release, right, first=loud), FULL),
            "bomb": (submission(release, right, last=BOMB + BACKGROUND), FULL),
            "stuck": (submission(release, right | {"hvp": stubborn}), FULL - 4),
            "exit": (submission(release, right | {"power_iteration": exits}), FULL - 4),
            "memory": (submission(release, right | {"classify": memory}), FULL - 4),
            "odd": (submission(release, right | odd), FULL - 8),
            "optim": (submission(release, right | {"gradient_descent": OPTIM}), FULL - 4),
            "script": (submission(release, right | {"interpretation": MARKDOWN}, last=SCRIPT), FULL),
            "copied": (_copied(release, right), FULL),
        }  # fmt: skip
    else:
        marked = right | {"interpretation": MARKDOWN}
        made |= {
            "forge": (submission(release, {"hvp": frames}, first=spying + FORGE), 0),
            "loud": (submission(release, right, first=loud, last=BOMB + BACKGROUND), FULL),
            "stuck": (submission(release, right | {"hvp": stubborn, "power_iteration": exits, "classify": memory}),
                      FULL - 12),
            "optim": (submission(release, right | odd | {"gradient_descent": OPTIM}, last=LOOP_C), FULL - 12),
            "copied": (_copied(release, marked, last=SCRIPT), FULL),
        }  # fmt: skip
    whole = {name: (dumps(nb), points) for name, (nb, points) in made.items()}
    return whole | {"truncated": (dumps(submission(release, right))[:-2000], None), "empty": (b"", None),
                    "nothing": (b"%PDF-1.4", None)}  # fmt: skip
