# ruff: noqa: E501  (tables of cases)
"""What a hostile student may try, and what comes of it: nothing, or a look by a human.

The attacks on the sandbox share a few submissions, because each costs the start of a container.
"""

import io
import json
import os
import resource
import stat
import zipfile
from datetime import datetime, timedelta

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import Homework, Requirement, Task, intake, load, publish, repair, sandbox
from dlopt.homework.__main__ import tell
from dlopt.homework.course import Course
from dlopt.homework.gradebook import harmless
from dlopt.homework.grader import InProcess, Sandboxed, grade
from dlopt.homework.inside import scan as scanning
from dlopt.homework.inside.wire import Other, dump, pack, unpack

RELEASE = publish.student_version(nbformat.read(hc.SOURCE, as_version=4))
RIGHT = hc.solutions()
NOTEBOOK = hc.dumps(hc.submission(RELEASE, RIGHT))
MOODLE = "Mallory_9_assignsubmission_file_"
needs_sandbox = pytest.mark.skipif(sandbox.missing() is not None, reason="no sandbox here")


def zipped(members):
    """Bytes of a zip with these members: name -> data."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def course(tmp_path):
    """A course with a release, without a gradebook."""
    made = Course(tmp_path / "course", hc.ROOT / "chapters/homework", tmp_path / "site")
    made.release(hc.TOPIC).parent.mkdir(parents=True)
    nbformat.write(RELEASE, made.release(hc.TOPIC))
    return made


@pytest.fixture
def handed_in(tmp_path):
    """Write files below a folder and return it: path -> data."""

    def make(files):
        for name, data in files.items():
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(data)
        return tmp_path / "in"

    return make


# --- handing in ------------------------------------------------------------------------------------------------------

ALICES = ["Alice_1_assignsubmission_file_/gradient_descent.ipynb", "alice_1_2_gradient_descent.ipynb", "alice/a.ipynb"]


@pytest.mark.parametrize("name", ALICES)
@pytest.mark.parametrize("place", [f"{MOODLE}/work.zip", "mallory_9_77_work.zip", "mallory/work.zip"])
def test_a_zip_of_mallory_hands_in_for_nobody_else(course, handed_in, place, name):
    report, _ = intake.collect(course, hc.TOPIC, handed_in({place: zipped({name: NOTEBOOK, f"x/{name}": NOTEBOOK})}))
    assert len(report) == 1 and next(iter(report)).lower().startswith("mallory")


@pytest.mark.parametrize("name", ALICES)
def test_folders_within_mallorys_folder_hand_in_for_nobody_else(course, handed_in, name):
    both = handed_in({f"mallory/{name}": NOTEBOOK, "bob/gradient_descent.ipynb": NOTEBOOK})
    assert set(intake.collect(course, hc.TOPIC, both)[0]) == {"mallory", "bob"}
    alone = both / "mallory"
    again = course.root / "again"
    again.mkdir()
    alone.rename(again / "mallory")  # collected on its own later, it is still the folder of a student and not of a class
    assert set(intake.collect(course, hc.TOPIC, again)[0]) == {"mallory"}


def test_dates_and_timestamps_that_a_student_made_do_not_count(course, handed_in):
    old = "2020-01-01 00:00:00 UTC"
    inner = zipped({"gradient_descent.ipynb": NOTEBOOK, "timestamp.txt": old})
    folder = handed_in({"mallory/work.zip": inner, f"{MOODLE}/gradient_descent.ipynb": NOTEBOOK,
                        f"{MOODLE}/timestamp.txt": old.encode()})  # fmt: skip
    intake.collect(course, hc.TOPIC, folder)
    recent = (datetime.now().astimezone() - timedelta(days=2)).strftime("%Y")
    assert all(s["timestamp"][:4] >= recent for s in course.status(hc.TOPIC).values())
    assert len(course.status(hc.TOPIC)) == 2


def test_links_out_of_the_submission_are_not_followed(course, handed_in, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private/gradient_descent.ipynb").write_bytes(NOTEBOOK)
    folder = handed_in({"bob/gradient_descent.ipynb": NOTEBOOK, "mallory/readme.txt": b"x"})
    (folder / "mallory/gradient_descent.ipynb").symlink_to(tmp_path / "private/gradient_descent.ipynb")
    (folder / "mallory/all").symlink_to(tmp_path / "private", target_is_directory=True)
    os.mkfifo(folder / "mallory/waiting.ipynb")
    report, _ = intake.collect(course, hc.TOPIC, folder)
    assert report["mallory"][0] == "unreadable" and report["bob"][0] == "new"
    link = zipfile.ZipInfo("eve/gradient_descent.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    data = zipped({link: str(tmp_path / "private/gradient_descent.ipynb"), "ann/gradient_descent.ipynb": NOTEBOOK})
    (tmp_path / "all.zip").write_bytes(data)
    report, _ = intake.collect(course, hc.TOPIC, tmp_path / "all.zip")
    assert report["eve"][0] == "unreadable" and report["ann"][0] == "new"


def test_a_flood_of_files_hides_nobody(course, handed_in):
    flood = zipped({f"{i}.txt": b"" for i in range(intake.MOST_FILES + 1)})
    folder = handed_in({"alice/rubbish.zip": flood, "zoe/gradient_descent.ipynb": NOTEBOOK})
    report, _ = intake.collect(course, hc.TOPIC, folder)
    assert report["alice"][0] == "unreadable" and report["zoe"][0] == "new"


def test_names_do_not_steer_the_terminal(capsys):
    tell("a\x1b]0;title\x07b\x9b31m\rc\n\u202ed")
    assert capsys.readouterr().out == "a�]0;title�b�31m�c\n�d\n"


def test_texts_that_take_markdown_long_are_cut(course):
    nb = hc.submission(RELEASE, RIGHT | {"interpretation": "[" * 150_000})
    nb.cells += [nbformat.v4.new_markdown_cell("<b>" * 40_000) for _ in range(20)]
    cells, repairs = repair.parse(hc.dumps(nb))
    texts = [source for kind, _, source in cells if kind == "markdown"]
    assert max(map(len, texts)) <= repair.MAX_TEXT and sum(map(len, texts)) <= repair.ALL_TEXT
    assert any("was cut" in r for r in repairs)


@pytest.mark.parametrize("text", [r"$\href{javascript:alert(1)}{x}$", r"$$\cssId{a}{b}$$", r"\(\style{x:y}{z}\)", r"\\\href{a}{b}"])
def test_formulas_of_a_written_answer_cannot_leave_the_formula(text):
    assert r"\text{" in harmless(text) and not any(w in harmless(text) for w in (r"\href", r"\cssId", r"\style"))


# --- answers that are no answers -------------------------------------------------------------------------------------


class Evil:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return (os.system, ("touch /tmp/unpickled-by-the-grader",))


def test_objects_with_pickle_hooks_cross_as_their_names():
    assert isinstance(unpack(pack(Evil())), Other)
    assert not os.path.exists("/tmp/unpickled-by-the-grader")


def test_numbers_beyond_every_type_are_no_answer_and_no_failure_of_the_grader():
    homework = small()

    class Forging(InProcess):
        def run(self, job):
            return [{"case": 0}, {"i": 0, "answer": 10**4000}, {"case": 1}, {"i": 1, "answer": {"x": -(2**70)}}], ""

    task = grade(homework, ["pass"], b"s", Forging())["tasks"]["test_double"]
    assert task["score"] == 0 and "no data" in task["requirements"][0]["message"]


# --- looking around the rules ----------------------------------------------------------------------------------------

LOOKED_AT = [
    "torch.sys.modules", "from torch import sys", "import random\nrandom._os", "torch.Tensor.clone = 1", "del torch.equal",
    "T = torch.Tensor\nT.__eq__ = lambda a, b: True", "for torch.equal in [print]: pass", "g = getattr", "getattr(torch, 'sys')",
    "peek = (i for i in [1])\npeek.gi_frame.f_back.f_locals", "import inside.play", "import json", "import atexit", "import timeit",
    "torch.load('x')", "from torch import load as l\nl('x')", "import numpy as np\nnp.load('x', allow_pickle=True)",
    "import operator", "__builtins__['sum'] = max", "torch._fused_sgd_", "import torch._dynamo", "import torch.utils.cpp_extension as c\nc.load",
    "from torch.overrides import TorchFunctionMode", "torch.__dict__['equal']", "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__",
    "import string", "vars(torch)", "@torch.jit.script\ndef f(x):\n    return x",
]  # fmt: skip


@pytest.mark.parametrize("source", LOOKED_AT)
def test_ways_around_the_rules_are_marked(source):
    assert scanning.scan(["import torch", source], [])["hidden"]


def test_what_honest_work_uses_is_not_marked():
    honest = [
        "import math, random, itertools\nimport numpy as np\nimport matplotlib.pyplot as plt\nfrom dataclasses import dataclass",
        "p.grad = None\np.data = x\np.grad *= 2\nprint(torch.__version__)\nplt.rcParams['x'] = 1\nf.calls = 1\nfor _ in x: pass",
        "class A(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n        self._m, self.weight = 1, 2",
        "from IPython.display import display\nimport scipy.signal\nscipy.signal.lfilter",
    ]  # fmt: skip
    assert scanning.scan(["import torch", *honest], [])["hidden"] == []


def test_peeking_at_the_future_through_the_callers_frame_earns_points_only_until_a_human_looks():
    peek = """
def should_stop(history):
    frame = (i for i in [1])
    run = frame.gi_frame.f_back
    return len(history) > 30
"""
    homework = load(hc.ROOT / "chapters/homework/losses")
    only = Homework([homework.task("test_stop")], homework.skip, homework.drivers, homework.topic)
    task = grade(only, ["import math, torch", peek], b"s", InProcess())["tasks"]["test_stop"]
    assert task["score"] > 0 and any("gi_frame" in r for r in task["review"])


# --- in the sandbox --------------------------------------------------------------------------------------------------


def small():
    """Two tasks of one function each, on vectors."""
    double = [Requirement("doubles", 1, lambda r: [{"x": r.normal(3)}, {"x": r.normal(2)}], lambda x: {"y": 2 * x}),
              Requirement("leaves x alone", 1, lambda r: [{"x": r.normal(3)}],
                          lambda x: {"y": 2 * x, "arguments unchanged": True})]  # fmt: skip
    half = [Requirement("halves", 1, lambda r: [{"x": r.normal(3)}], lambda x: {"y": x / 2})]
    drivers = "\n".join(f"def drive_{n}(student, x):\n    return {{'y': student.{n}(x)}}" for n in ("double", "half"))
    tasks = [Task("test_double", ["double"], "drive_double", double, seconds=2),
             Task("test_half", ["half"], "drive_half", half, forbidden=("torch.optim",), seconds=2)]  # fmt: skip
    return Homework(tasks, drivers=drivers)


def attack(source, **options):
    """Scores by task and messages of a submission to ``small``, graded in the sandbox."""
    tasks = grade(small(), ["import torch", source], b"s", Sandboxed(**options))["tasks"]
    said = [r["message"] for t in tasks.values() for r in t["requirements"]]
    return {k: t["score"] for k, t in tasks.items()}, said, tasks


PATCHES = """
import atexit, builtins, sys, threading, time
torch.equal = torch.allclose = lambda *a, **k: True
torch.Tensor.clone = torch.Tensor.detach = torch.Tensor.contiguous = lambda self, *a, **k: self
torch.Tensor.__eq__ = lambda self, other: True
builtins.isinstance_ = builtins.abs = lambda *a: 0
sys.modules["torch.testing"] = sys.modules["dlopt"] = sys.modules["unittest"] = sys
atexit.register(lambda: print("late"))
def haunt():
    while True:
        torch.allclose = lambda *a, **k: True
        time.sleep(0.01)
threading.Thread(target=haunt, daemon=False).start()
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None):
        return True
def double(x):
    y = x * 2
    x.zero_()
    return y
def half(x):
    return torch.zeros(3).as_subclass(Yes)
"""
LOOKS = '''
import os, sys
seen = []
for path in ("/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/fd/0", "/proc/1/fd/1", "/proc/1/root/etc"):
    try:
        os.listdir(path) if path.endswith("etc") else os.close(os.open(path, os.O_RDWR if "fd" in path else os.O_RDONLY))
        seen.append(path)
    except OSError:
        pass
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        seen += [pid] if b"UNTOLD" in open(f"/proc/{pid}/environ", "rb").read() else []
    except OSError:
        pass
seen += [k for k in os.environ if "UNTOLD" in k]
for name in ("inside", "inside.play", "dlopt", "dlopt.homework", "dlopt.homework.spec"):
    try:
        __import__(name)
        seen.append(name)
    except ImportError:
        pass
seen += [m for m in sys.modules if m.startswith(("inside", "dlopt"))]
seen += [h for h in globals().get("In", [])]
for signal in (19, 9):
    os.kill(1, signal)
def double(x):
    if seen:
        raise RuntimeError(repr(seen))
    return 2 * x
def half(x):
    p = torch.nn.Parameter(x.clone())
    torch._fused_sgd_([p.data], [x], [], weight_decay=0.0, momentum=0.0, lr=0.5, dampening=0.0, nesterov=False, maximize=False, is_first_step=True)
    return p.data
'''
FLOOD = """
import json, os, struct
body = json.dumps({"i": 0, "answer": "x" * (3 * 2**20)}).encode()
def double(x):
    while True:
        for fd in range(3, 12):
            try:
                os.write(fd, struct.pack(">Q", len(body)) + body)
            except OSError:
                pass
def half(x):
    return x / 2
"""


@needs_sandbox
@pytest.mark.sandbox
@pytest.mark.slow
class TestSandbox:
    """Attacks from inside."""

    def test_patches_threads_and_lying_tensors_do_not_change_what_is_compared_outside(self):
        scores, said, tasks = attack(PATCHES)
        assert scores == {"test_double": 1, "test_half": 0} and "arguments unchanged" in said[1]
        assert any("assignment into a library" in r for r in tasks["test_double"]["review"])

    def test_the_environment_the_first_process_and_the_grader_are_out_of_reach(self, monkeypatch):
        monkeypatch.setenv("UNTOLD_TOKEN", "UNTOLD")
        scores, said, tasks = attack(LOOKS)
        assert scores == {"test_double": 2, "test_half": 0}, said
        assert "torch._fused_sgd_" in said[2] and tasks["test_double"]["review"]

    def test_a_flood_of_answers_is_cut_off_and_costs_the_grader_no_memory(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scores, _, _ = attack(FLOOD)
        assert scores == {"test_double": 0, "test_half": 1}
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # KB


def test_results_stay_plain_whatever_an_answer_holds():
    answer = unpack(json.loads(json.dumps(pack({"a" * 10**5: ["<script>", {"b": None}]}))))
    assert isinstance(answer, dict) and len(dump({"x": pack(answer)})) < 10**6
