"""How a homework states what it grades: tasks, requirements, and the comparison with a reference.

``chapters/homework/<topic>/checks.py`` builds one ``Homework``; it never leaves the instructor's machine. Beside it,
``drivers.py`` says how the student's functions are called; it runs in the sandbox and holds no answer.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dlopt.checks import positive, whole

OTHER_DOORS = {  # the same code by another name
    "torch.optim": ("torch.distributed.optim", "torch.ops.aten", "torch._fused_sgd_", "torch._fused_adam_",
                    "torch._fused_adamw_", "torch._fused_adagrad_"),
}  # fmt: skip


class Random:
    """Fresh inputs for one requirement: a generator seeded from a secret, float64 unless told otherwise."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, dtype=torch.float64):
        """Standard normal numbers of this shape."""
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(dtype)

    def uniform(self, low, high, *shape, dtype=torch.float64):
        """Uniform numbers in [low, high) of this shape; a Python float where no shape is given."""
        x = low + (high - low) * torch.rand(*shape or (1,), generator=self.generator, dtype=torch.float64)
        return x.to(dtype) if shape else x.item()

    def whole(self, low, high):
        """A whole number in [low, high]."""
        return int(torch.randint(low, high + 1, (1,), generator=self.generator))

    def rotation(self, n):
        """A random orthogonal [n, n] matrix."""
        return torch.linalg.qr(self.normal(n, n))[0]

    def symmetric(self, eigenvalues):
        """A symmetric matrix with these eigenvalues and random eigenvectors."""
        q = self.rotation(len(eigenvalues))
        return q @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ q.T


@dataclass(frozen=True)
class Requirement:
    """One thing that a task asks for, worth ``points`` if every case is right.

    Args:
        says: what is required, as the feedback prints it; must give neither inputs nor answers away.
        points: its worth.
        cases: ``cases(rng) -> list of dict``, the driver's keyword arguments.
        expected: ``expected(**case) -> answer`` as the driver would return it from a right solution.
        rtol, atol: tolerance of numbers, relative to the largest entry of each array.
        check: ``check(answer, **case) -> None or message`` in place of ``expected``, for more than one right answer.
        hint: what a student may look at, added to the message.
    """

    says: str
    points: float
    cases: Callable
    expected: Callable | None = None
    rtol: float = 1e-6
    atol: float = 1e-12
    check: Callable | None = None
    hint: str = ""

    def __post_init__(self):
        positive("points", self.points)
        if (self.expected is None) == (self.check is None):
            raise ValueError(f"requirement {self.says!r} must have either expected or check, not both")


@dataclass(frozen=True)
class Task:
    """One autograded cell of the notebook.

    Args:
        cell: grade_id of the (visible) test cell that carries the points.
        functions: names that the student must define.
        driver: name of the function in ``drivers.py`` that calls them.
        requirements: what is checked.
        forbidden: dotted names that the task asks the student to write, e.g. ``torch.optim``.
        seconds: limit on one call.
    """

    cell: str
    functions: Sequence[str]
    driver: str
    requirements: Sequence[Requirement]
    forbidden: Sequence[str] = ()
    seconds: float = 5

    def __post_init__(self):
        positive("seconds", self.seconds)

    @property
    def points(self):
        """Sum of the requirements' points."""
        return sum(r.points for r in self.requirements)

    @property
    def forbids(self):
        """``forbidden``, and other names of the same code."""
        return [*self.forbidden, *(other for name in self.forbidden for other in OTHER_DOORS.get(name, ()))]


@dataclass(frozen=True)
class Homework:
    """All tasks of a topic; ``skip`` names solution cells (long experiments) that no function depends on."""

    tasks: Sequence[Task]
    skip: Sequence[str] = ()
    drivers: str = field(default="", repr=False)
    topic: str = ""

    def task(self, cell):
        """The task whose points sit in this cell; raises ``KeyError`` where there is none."""
        return {t.cell: t for t in self.tasks}[cell]


def drivers_of(checks_file):
    """The module ``drivers.py`` beside ``checks.py``, for references that share its function families."""
    path = Path(checks_file).with_name("drivers.py")
    return _module(path, f"dlopt_homework_{path.parent.name}_drivers")


def _module(path, name):
    if name not in sys.modules or getattr(sys.modules[name], "__file__", None) != str(path):
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def load(folder):
    """The ``Homework`` of a topic's folder.

    Raises:
        FileNotFoundError: the folder has no ``checks.py`` or ``drivers.py``.
    """
    folder = Path(folder)
    for name in ("checks.py", "drivers.py"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} has no {name}; see the instructor page on adding a homework")
    made = _module(folder / "checks.py", f"dlopt_homework_{folder.name}_checks").HOMEWORK
    return Homework(made.tasks, made.skip, (folder / "drivers.py").read_text(), folder.name)


# --- comparison ------------------------------------------------------------------------------------------------------


def show(value, most=4):
    """A student's value in few words: numbers to three digits, at most ``most`` of them, with shape and dtype."""
    if isinstance(value, torch.Tensor):
        kind = f"{str(value.dtype).removeprefix('torch.')} tensor of shape {list(value.shape)}"
        numbers = ", ".join(f"{x:.3g}" for x in value.reshape(-1)[: whole("most", most)].tolist())
        return f"a {kind}: {numbers}{', …' if value.numel() > most else ''}"
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value:.3g}" if isinstance(value, float) else repr(value)[:60]


def difference(answer, expected, rtol, atol):
    """Why ``answer`` is not ``expected``, in words that hold only the student's own values; None if it is."""
    if isinstance(expected, (list, tuple)):
        if not isinstance(answer, list) or len(answer) != len(expected):
            return f"it returned {show(answer)} where {len(expected)} values are due"
        return next((d for a, e in zip(answer, expected) if (d := difference(a, e, rtol, atol))), None)
    if isinstance(expected, dict):
        return next((d for k in expected if (d := _field(answer, k, expected[k], rtol, atol))), None)
    if isinstance(expected, (str, bool)) or expected is None:
        return None if type(answer) is type(expected) and answer == expected else f"it returned {show(answer)}"
    return _numbers(answer, expected, rtol, atol)


def _field(answer, key, expected, rtol, atol):
    if not isinstance(answer, dict) or key not in answer:
        return f"{key}: nothing was returned"
    found = difference(answer[key], expected, rtol, atol)
    return found and f"{key}: {found}"


def _numbers(answer, expected, rtol, atol):
    if isinstance(answer, bool) or not isinstance(answer, (int, float, torch.Tensor)):
        return f"it returned {show(answer)}, not a number or an array"
    right = torch.as_tensor(expected, dtype=None if isinstance(expected, torch.Tensor) else torch.float64)
    given = answer if isinstance(answer, torch.Tensor) else torch.as_tensor(float(answer), dtype=torch.float64)
    if given.shape != right.shape:
        return f"it returned {show(answer)}, but its shape must be {list(right.shape)}"
    if isinstance(expected, torch.Tensor) and isinstance(answer, torch.Tensor) and given.dtype != right.dtype:
        return f"it returned {show(answer)}, but must keep the dtype {str(right.dtype).removeprefix('torch.')}"
    scale = right.double().abs().max().item() if right.numel() else 0.0
    close = (given.double() - right.double()).abs() <= atol + rtol * scale
    return None if bool(close.all()) else f"it returned {show(answer)}, which is not right"
