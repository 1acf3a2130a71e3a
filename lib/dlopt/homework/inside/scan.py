"""Static look at a submission: forbidden names in what a task's functions use, and code that hides what it calls.

Runs in the sandbox before any student code has run there, because parsing hostile text may itself fail.
"""

import ast
import re

import torch

KNOWN = {"torch", "numpy", "math", "cmath", "matplotlib", "scipy", "sklearn", "pandas", "random", "itertools",
         "functools", "collections", "typing", "dataclasses", "abc", "copy", "time", "datetime", "warnings",
         "statistics", "fractions", "decimal", "numbers", "enum", "textwrap", "contextlib", "heapq", "bisect", "tqdm",
         "__future__"}  # fmt: skip
SYSTEM = {"sys", "os", "importlib", "ctypes", "gc", "inspect", "subprocess", "socket", "builtins", "pickle", "marshal",
          "types", "threading", "multiprocessing", "atexit", "runpy", "pkgutil", "operator", "io", "posix"}  # fmt: skip
REFLECTION = {"eval", "exec", "compile", "globals", "locals", "vars", "open", "setattr", "delattr", "get_ipython",
              "breakpoint", "input"}  # fmt: skip
FRAMES = re.compile(r"(gi|cr|ag|tb|f|func)_(frame|back|locals|globals|builtins|code|next|yieldfrom|await|origin)")
DEEP = ("torch.load", "torch.jit", "torch.package", "torch.hub", "torch.ops", "torch.classes", "torch.library",
        "torch.overrides", "torch.fx", "torch.multiprocessing", "torch.serialization", "torch.utils.cpp_extension",
        "torch.utils.dlpack", "numpy.load", "numpy.ctypeslib", "numpy.f2py", "numpy.lib", "pandas.read_pickle",
        "pandas.eval", "scipy.LowLevelCallable", "typing.get_type_hints")  # fmt: skip
PLAIN = {"__init__", "__name__", "__version__", "__doc__", "__main__", "__len__", "__call__"}
OWN = {"self", "cls", "super()"}
PATCHED = frozenset(dir(torch)) | frozenset(dir(torch.Tensor))
VALUES = {"grad", "data", "requires_grad", "T", "real", "imag"}  # what one may assign to a tensor


def parse(source):
    """Syntax tree of a cell; IPython's ``%`` and ``!`` lines count as empty. Raises ``SyntaxError``."""
    try:
        return ast.parse(source)
    except SyntaxError:
        plain = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)
        if plain == source:
            raise
        return ast.parse(plain)


def _dotted(node):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _aliases(statements):
    """Map each imported name to the dotted name that it stands for; a star import maps to itself."""
    names = {}
    for node in (n for s in statements for n in ast.walk(s)):
        if isinstance(node, ast.Import):
            for a in node.names:
                names[a.asname or a.name.split(".")[0]] = a.name if a.asname else a.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for a in node.names:
                names[a.asname or a.name] = f"{node.module}.{a.name}"
    return names


def _bound(statement):
    """Names that a top-level statement binds."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {a.asname or a.name.split(".")[0] for a in statement.names}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _used(statement):
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def reachable(statements, functions):
    """The top-level statements that ``functions`` depend on, by name, in their order."""
    wanted, chosen, grew = set(functions), set(), True
    while grew:
        grew = False
        for i, s in enumerate(statements):
            star = isinstance(s, ast.ImportFrom) and any(a.name == "*" for a in s.names)
            if i not in chosen and (star or _bound(s) & wanted):
                chosen.add(i)
                wanted |= _used(s)
                grew = True
    return [s for i, s in enumerate(statements) if i in chosen]


def _covers(forbidden, name):
    return name == forbidden or name.startswith(forbidden + ".")


def forbidden_names(statements, functions, forbidden):
    """Forbidden dotted names that ``functions`` use, directly or through helpers: sorted ``(name, line)``."""
    alias, hits = _aliases(statements), set()
    for node in (n for s in reachable(statements, functions) for n in ast.walk(s)):
        names = []
        if isinstance(node, (ast.Attribute, ast.Name)) and (dotted := _dotted(node)):
            head, _, rest = dotted.partition(".")
            names = [".".join(filter(None, [alias.get(head, head), rest]))]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}".removesuffix(".*") for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if re.fullmatch(r"[\w.]+", node.value) else []
        hits |= {(name, node.lineno) for name in names for f in forbidden if _covers(f, name)}
    return sorted(hits)


def hidden_calls(statements):
    """What could reach around the rules of grading, anywhere in the code: sorted ``(what, line)``, for a human's look.

    Modules beyond the usual ones, reflection, private names of others, frames, code from strings or files, and
    assignment of an attribute that torch has. What an honest solution needs is in none of them.
    """
    alias, hits = _aliases(statements), set()
    for node in (n for s in statements for n in ast.walk(s)):
        hits |= {(what, node.lineno) for what in _odd(node, alias)}
    return sorted(hits | {(what, line) for s in statements for what, line in _loose(s)})


def _odd(node, alias):
    if isinstance(node, ast.Name):
        if node.id in REFLECTION or (_private(node.id) and node.id != "_"):
            yield node.id
        full = alias.get(node.id, "")
        yield from (full for deep in DEEP if _covers(deep, full))
    elif isinstance(node, ast.Attribute):
        base = "super()" if isinstance(node.value, ast.Call) and _dotted(node.value.func) == "super" else None
        base = base or (node.value.id if isinstance(node.value, ast.Name) else "")
        if (_private(node.attr) and base not in OWN) or _dunder(node):
            yield node.attr
        elif node.attr.strip("_") in SYSTEM or FRAMES.fullmatch(node.attr):
            yield node.attr
        elif isinstance(node.ctx, ast.Store | ast.Del) and base not in OWN and node.attr in PATCHED - VALUES:
            yield "assignment into a library"
        head, _, rest = (_dotted(node) or "").partition(".")
        yield from (node.attr for deep in DEEP if _covers(deep, f"{alias.get(head, head)}.{rest}"))
    elif isinstance(node, ast.Import | ast.ImportFrom):
        names = [a.name for a in node.names]
        outer = names if isinstance(node, ast.Import) else [node.module or ""]
        parts = [p for n in [*names, *outer] for p in n.split(".")]
        full = [f"{node.module}.{n}" for n in names] if isinstance(node, ast.ImportFrom) else names
        yield from (f"import {n}" for n in outer if n.split(".")[0] not in KNOWN and n != "IPython.display")
        yield from (f"import {n}" for n in full for deep in DEEP if _covers(deep, n))
        yield from (f"import {p}" for p in parts if _private(p) or (p in SYSTEM and p not in outer))


def _dunder(node):
    strange = node.attr not in PLAIN or not isinstance(node.ctx, ast.Load)
    return re.fullmatch(r"__\w+__", node.attr) and strange


def _private(name):
    return name.startswith("_") and name != "_" and name not in (*PLAIN, "__future__")


def _loose(statement):
    """Uses of ``getattr`` that are not a plain look-up of a constant name."""
    fine = {id(n.func) for n in ast.walk(statement) if isinstance(n, ast.Call) and _constant(n.args[1:2])}
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id == "getattr" and id(node) not in fine:
            yield "getattr with a computed name", node.lineno
        elif isinstance(node, ast.Call) and _dotted(node.func) == "getattr" and _constant(node.args[1:2]):
            name = str(node.args[1].value)
            if name.strip("_") in SYSTEM or FRAMES.fullmatch(name) or (_private(name) and name not in PLAIN):
                yield f"getattr of {name}", node.lineno


def _constant(args):
    return bool(args) and isinstance(args[0], ast.Constant)


def scan(cells, tasks):
    """Look at every task of a submission.

    Args:
        cells: list of cell sources.
        tasks: list of ``{"name", "functions", "forbidden"}``.

    Returns:
        ``{"syntax": [[cell, line, message]], "hidden": [[what, cell, line]],
        "forbidden": {task: [[name, cell, line]]}}``.
    """
    statements, syntax = [], []
    for index, source in enumerate(cells):
        try:
            tree = parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            syntax.append([index, getattr(error, "lineno", 1) or 1, str(getattr(error, "msg", error))[:200]])
            continue
        offset = 100_000 * index  # one line axis for all cells, so that a hit tells its cell
        for node in ast.walk(tree):
            if hasattr(node, "lineno"):
                node.lineno += offset
        statements += tree.body

    def place(hits):
        return [[name, line // 100_000, line % 100_000] for name, line in hits]

    forbidden = {t["name"]: place(forbidden_names(statements, t["functions"], t["forbidden"])) for t in tasks}
    return {"syntax": syntax, "hidden": place(hidden_calls(statements)), "forbidden": forbidden}
