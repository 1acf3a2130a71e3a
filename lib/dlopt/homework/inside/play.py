"""Run a submission's cells and call the named functions: the same code in the sandbox and in the mutation tests."""

import ast
import contextlib
import importlib
import pathlib
import signal
import sys
import threading
import types
import warnings

from .scan import parse
from .wire import marks, pack, unpack

STATEMENT_SECONDS = 10  # a top-level statement of the student's; defining functions takes none
MESSAGE = 300  # characters of an error message that are passed on
INHERITED = object()  # in place of a value: the attribute was a base class's


class OutOfTime(BaseException):
    """Raised inside student code by the alarm; not an ``Exception``, so that a bare handler does not swallow it."""


def define(source, name):
    """Execute trusted source text as a module and return it."""
    module = types.ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


# --- names that a task asks the student to write ---------------------------------------------------------------------


def _refusal(name):
    def refuse(*args, **kwargs):
        raise RuntimeError(f"{name} may not be used here: this task asks you to write it")

    return refuse


def _resolve(dotted):
    """The module, or the class in a module, of this name."""
    try:
        return importlib.import_module(dotted)
    except ImportError:
        parent, _, last = dotted.rpartition(".")
        return getattr(_resolve(parent), last) if parent else importlib.import_module(dotted)


def _members(dotted):
    """``(owner, attribute, value)`` of all that ``dotted`` names: one function, or what a package defines."""
    parent, _, last = dotted.rpartition(".")
    try:
        owner = _resolve(parent) if parent else None  # a bare name is a module
        found = getattr(owner, last) if parent else importlib.import_module(last)
    except (ImportError, AttributeError):
        return
    if not isinstance(found, types.ModuleType):
        yield owner, last, found
        return
    for name, module in list(sys.modules.items()):
        if module is not None and (name == dotted or name.startswith(dotted + ".")):
            for attr, value in list(vars(module).items()):
                if callable(value) and str(getattr(value, "__module__", "")).startswith(dotted):
                    yield module, attr, value


@contextlib.contextmanager
def without(forbidden):
    """While inside, calling a forbidden function or building a forbidden class raises ``RuntimeError``."""
    undo = []
    for dotted in forbidden:
        for owner, attr, value in _members(dotted):
            place, key = (value, "__init__") if isinstance(value, type) else (owner, attr)
            with contextlib.suppress(TypeError, AttributeError):  # built-in types cannot be changed
                old = vars(place).get(key, INHERITED)
                setattr(place, key, _refusal(dotted))
                undo.append((place, key, old))
    try:
        yield
    finally:
        for place, key, old in reversed(undo):
            delattr(place, key) if old is INHERITED else setattr(place, key, old)


# --- running ---------------------------------------------------------------------------------------------------------


def starved(process="self"):
    """Seconds that a process has waited for a processor which others used; 0.0 where the kernel does not say."""
    try:
        return int(pathlib.Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@contextlib.contextmanager
def alarm(seconds):
    """Raise ``OutOfTime`` after ``seconds`` where signals can be used; the outer limits catch what ignores it.

    Waiting for a processor does not count, so that nobody pays for what runs beside.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = starved()

    def ring(*_):
        nonlocal before
        before, waited = starved(), starved() - before
        if waited < 0.05:
            raise OutOfTime
        signal.setitimer(signal.ITIMER_REAL, waited)

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _line(error):
    """The last line of the student's own cells in a traceback: ``(cell, line)`` or None."""
    place, tb = None, error.__traceback__
    while tb is not None:
        name = tb.tb_frame.f_code.co_filename
        if name.startswith("<cell "):
            place = [int(name[6:-1]), tb.tb_lineno]
        tb = tb.tb_next
    return place


def describe(error):
    """An exception as data: its type, its message cut short and where in the student's cells it happened."""
    if isinstance(error, OutOfTime):
        return {"kind": "timeout", "message": "", "at": _line(error)}
    try:
        text = str(error)[:MESSAGE]
    except BaseException:  # a student's __str__ may do anything
        text = ""
    return {"kind": type(error).__name__[:80], "message": text, "at": _line(error)}


def run_cells(cells, skip, say):
    """Execute the cells statement by statement in one namespace; a failing statement does not stop the next one.

    Args:
        cells: list of sources.
        skip: set of ``(cell, statement)`` that hung before.
        say: called with a message before every statement and after every failure.
    """
    space = {"__name__": "__main__", "__builtins__": __builtins__}
    for c, source in enumerate(cells):
        try:
            body = parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # reported by the scan
        for s, node in enumerate(body):
            if (c, s) in skip:
                continue
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                say({"at": [c, s]})
            try:
                code = compile(ast.Module([node], type_ignores=[]), f"<cell {c}>", "exec")
                with alarm(STATEMENT_SECONDS):
                    exec(code, space)
            except BaseException as error:  # SystemExit, KeyboardInterrupt and OutOfTime too
                say({"failed": [c, node.lineno], "error": describe(error)})
    return space


class Student:
    """The student's functions, by name."""

    def __init__(self, space):
        self._space = space

    def __getattr__(self, name):
        if name not in self._space:
            raise NameError(f"{name} is not defined")
        return self._space[name]


def run_task(job, drivers, say):
    """Execute the cells, then drive every case of ``job`` and ``say`` each answer.

    ``job`` holds ``cells``, ``skip``, ``forbidden``, ``driver``, ``cases`` (packed keyword arguments) and ``seconds``
    for one call.
    """
    drive = getattr(drivers, job["driver"])
    with warnings.catch_warnings(), without(job["forbidden"]):
        warnings.simplefilter("ignore")
        student = Student(run_cells(job["cells"], {tuple(p) for p in job["skip"]}, say))
        for i, case in enumerate(job["cases"]):
            say({"case": i})
            try:
                arguments = unpack(case)
                with alarm(job["seconds"]):
                    answer = pack(drive(student, **arguments))
                say({"i": i, "answer": answer, "after": marks(arguments)})
            except BaseException as error:
                say({"i": i, "error": describe(error)})
    say({"end": True})
