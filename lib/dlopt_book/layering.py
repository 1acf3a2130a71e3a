"""The library's layers, read from the syntax trees: a module imports from lower rows only."""

import ast
from pathlib import Path

ROWS = {  # lowest first; 0+, 1+, 3+ and 4+ are the pieces of their row that are built from others of it
    "0": {"checks"},
    "0+": {"scale", "device"},
    "1": {"rules", "schedules", "losses", "data", "initialization", "normalization", "statistics", "finite_sums"},
    "1+": {"models", "objectives", "chains", "heavy_ball", "landscapes"},
    "2": {"optimizers", "curvature", "profiling", "noise"},
    "3": {"training"},
    "3+": {"ensemble"},
    "4": {"distributed", "compression", "race", "claims", "homework", "doctor"},
    "4+": {"benchmarks"},
    "5": {"plotting", "display", "interactive"},
}
ROW = {module: row for row, modules in ROWS.items() for module in modules}
KEPT = {  # outside package -> the only modules that may import it
    "matplotlib": {"plotting"},
    "IPython": {"display", "interactive"},
    "myst_nb": {"display", "interactive"},
    "dlopt_book": set(),
}


def violations(package):
    """The rule's violations in a package, one sentence each.

    Args:
        package: the folder of ``dlopt``.

    Returns:
        Sentences such as ``dlopt/rules/adam.py:3: rules (row 1) imports training (row 3)``; empty if all is well.
    """
    package = Path(package)
    files = [f for f in sorted(package.rglob("*.py")) if "__pycache__" not in f.parts]
    return [found for file in files for found in _of_file(file, package)]


def _of_file(file, package):
    where = file.relative_to(package)
    own = where.parts[0].removesuffix(".py")
    if own == "__init__":
        own = None  # the package's own __init__ is below everything: it may import nothing of the library
    elif own not in ROW:
        yield f"{package.name}/{where}: {own} has no row; give it one in dlopt_book/layering.py"
        return
    for line, name in imports(file, package):
        yield from (f"{package.name}/{where}:{line}: {fault}" for fault in _faults(own, name, package.name))


def _faults(own, name, package):
    parts = name.split(".")
    if parts[0] in KEPT and own not in KEPT[parts[0]]:
        yield f"{own} imports {parts[0]}, which belongs to {', '.join(sorted(KEPT[parts[0]])) or 'nobody in here'}"
    if parts[0] != package or len(parts) < 2 or parts[1] == own or parts[1] not in ROW:
        return
    if own is None or not _below(parts[1], own):
        mine = "the package itself" if own is None else f"{own} (row {ROW[own]})"
        yield f"{mine} imports {parts[1]} (row {ROW[parts[1]]})"


def _below(module, other):
    order = list(ROWS)
    return order.index(ROW[module]) < order.index(ROW[other])


def imports(file, package):
    """Pairs (line, absolute dotted name) of everything that ``file`` imports, at whatever depth of the code."""
    inside = (package.name, *file.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
