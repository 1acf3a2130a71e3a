"""Static look at a submission: forbidden names in what a task's functions use, and code that hides what it calls.

Runs in the sandbox before any student code has run there, because parsing hostile text may itself fail.
"""

import ast
import re

REFLECTION = {"eval", "exec", "compile", "__import__", "globals", "locals", "vars", "open", "setattr", "delattr",
              "get_ipython", "breakpoint", "input"}  # fmt: skip
MODULES = {"sys", "os", "importlib", "ctypes", "gc", "inspect", "subprocess", "socket", "builtins", "pickle", "marshal",
           "types",
           "threading", "multiprocessing", "signal", "atexit", "IPython", "runpy", "codeop", "pkgutil"}  # fmt: skip


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
    """Uses of reflection, the system or dunder attributes anywhere: sorted ``(what, line)``, for a human to look at."""
    hits = set()
    for node in (n for s in statements for n in ast.walk(s)):
        if isinstance(node, ast.Name) and node.id in REFLECTION:
            hits.add((node.id, node.lineno))
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"__\w+__", node.attr) and node.attr != "__init__":
            hits.add((node.attr, node.lineno))
        elif isinstance(node, ast.Call) and _dotted(node.func) == "getattr" and not _constant(node.args[1:2]):
            hits.add(("getattr with a computed name", node.lineno))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            odd = (n for n in names if n.split(".")[0] in MODULES and n != "IPython.display")
            hits |= {(f"import {n}", node.lineno) for n in odd}
        elif isinstance(node, ast.Assign) and any(_foreign(t) for t in node.targets):
            hits.add(("assignment into a library", node.lineno))
    return sorted(hits)


def _constant(args):
    return bool(args) and isinstance(args[0], ast.Constant)


def _foreign(target):
    dotted = _dotted(target) if isinstance(target, ast.Attribute) else None
    return bool(dotted) and dotted.split(".")[0] in {"torch", "np", "numpy", "math", "nn", "F"}


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
