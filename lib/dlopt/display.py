"""What a chapter shows besides figures: the source of a function, tables, numbers of the run inside the prose."""

import ast
import inspect
import textwrap

from IPython.display import display

from dlopt.claims import format_interval, format_number

GLUE_PREFIX = "application/papermill.record/"  # what myst_nb's {glue} roles look for


class Shown:
    """A text that displays itself as Markdown, and as plain text where Markdown is not shown."""

    def __init__(self, text, markdown):
        self.text, self.markdown = text, markdown

    def __str__(self):
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.text, "text/markdown": self.markdown}


def table(result):
    """Show a result that writes itself as a Markdown table by ``result.table()``, as `dlopt.race.RaceResult` does."""
    text = result.table()
    return Shown(text, text)


def show_source(*objects, docstring=False):
    """The source of functions or classes as it stands in the library, for the reader to see under its equation.

    Args:
        *objects: functions, classes or methods defined in files (or in cells of this notebook).
        docstring: keep docstrings. Off by default: the chapter's prose says the same at greater length.

    Returns:
        A `Shown`, which displays itself when it is the last expression of a cell.

    Raises:
        TypeError: no object given, or one without Python source (a builtin, an instance).
    """
    if not objects:
        raise TypeError("show_source needs at least one function or class")
    text = "\n\n\n".join(_source(thing, docstring) for thing in objects)
    return Shown(text, f"```python\n{text}\n```")


def glue(name, value, fmt=None):
    """Make ``value`` available to the prose as ``{glue:text}`name```.

    On the site the value stands in the prose and nothing under the cell. JupyterLab cannot put it into the prose: there
    the cell shows the name and the value.

    Args:
        name: key, unique in the book (start it with the chapter's stem).
        value: a number (float, int, 0-d tensor), an interval (see `glue_interval`) or a string.
        fmt: format specification such as ``".2f"`` or ``".1%"``; without it four significant digits.

    The value is rounded here, once: write the role without a format of its own.

    Raises:
        TypeError: an array or tensor of several values.
    """
    text = _formatted(value, fmt)
    recorded = repr(text)  # myst_nb evaluates it: "533,220" would be two numbers
    display({GLUE_PREFIX + "text/plain": recorded, "text/plain": f"{name}: {text}"}, raw=True,
            metadata={"scrapbook": {"name": name, "mime_prefix": GLUE_PREFIX}})


def glue_interval(name, interval, fmt=None, unit=""):
    """Like `glue`, for a `dlopt.statistics.Interval` or a triple ``(mean, low, high)``: ``0.12 [0.10, 0.14] unit``.

    Args:
        name: key, unique in the book.
        interval: the estimate with its interval.
        fmt: one format specification for the three numbers; by default the width keeps two significant digits.
        unit: appended, e.g. ``"nats"``.
    """
    mean, low, high = (float(x) for x in interval)
    if fmt is None:
        text = format_interval(mean, low, high, unit)
    else:
        text = "{} [{}, {}]".format(*(_formatted(x, fmt) for x in (mean, low, high))) + (f" {unit}" if unit else "")
    glue(name, text.replace(", ", ",\N{NO-BREAK SPACE}"))  # a line never ends within the brackets


def _formatted(value, fmt):
    if isinstance(value, str):
        return value
    if hasattr(value, "item"):
        if getattr(value, "size", None) != 1 and getattr(value, "numel", lambda: None)() != 1:
            raise TypeError(f"glue takes one value, got shape {tuple(value.shape)}; glue its entries one by one")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if fmt is None:
        return str(value).replace("-", "−") if isinstance(value, int) else format_number(value)
    return format(value, fmt).replace("-", "−")


def _source(thing, docstring):
    try:
        text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    except (OSError, TypeError) as error:
        raise TypeError(f"show_source needs a function or class with Python source, got {thing!r}") from error
    return text if docstring else _without_docstrings(text)


def _without_docstrings(text):
    """Drop docstrings by line number, so that comments and layout stay as written."""
    lines, dropped = text.splitlines(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            first = node.body[0]
            if len(node.body) > 1:  # a body that is only a docstring must keep it to stay Python
                dropped.update(range(first.lineno, first.end_lineno + 1))
                if not lines[first.end_lineno].strip():
                    dropped.add(first.end_lineno + 1)
    return "\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped)
