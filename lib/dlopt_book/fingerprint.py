"""What a chapter's run depends on, as one key: its code, the library modules it can reach, the settings, the versions.

jupyter-cache knows a notebook by its code cells alone, so a change in ``lib/`` would leave old outputs on the page. The
key here closes that hole: it follows the imports, by the syntax tree, from the notebook through the whole library.
"""

import ast
import hashlib
import json
import os
import platform
import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "matplotlib", "scikit-learn", "ipython", "ipykernel", "myst-nb")
IGNORED_SETTINGS = ("DLOPT_JOBS", "DLOPT_CHROMIUM", "DLOPT_FIREFOX", "DLOPT_LIGHTHOUSE")  # how, not what
DATA_SUFFIXES = {".js", ".css", ".json", ".toml", ".csv", ".txt", ".html", ".npz"}
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
MAGIC = re.compile(r"^\s*[%!?]")


def notebook_key(path, lib):
    """The key of a notebook's run, a hexadecimal string; equal keys promise equal outputs.

    Args:
        path: the notebook.
        lib: folder of the library's sources; modules found below it count, all others count by their version.

    Returns:
        A SHA-256 in hexadecimal of code cells, reachable sources, ``DLOPT_*`` settings and versions.
    """
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    folders = (Path(lib), Path(path).parent)
    sources = [(file.name, _digest(file)) for file in reachable_files("\n".join(code), folders)]
    return _hash({"code": code, "sources": sources, "settings": settings(), "versions": versions()})


def settings():
    """The environment variables that steer the book's numbers."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith("DLOPT_") and k not in IGNORED_SETTINGS}


@lru_cache
def versions():
    """Version of Python and of every package that can change a number or a picture."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def reachable_files(code, folders):
    """All files below ``folders`` that ``code`` can reach by importing, directly or through other modules.

    Args:
        code: Python source; lines of IPython magic are skipped.
        folders: import roots, searched in order.

    Returns:
        Sorted paths: the modules, the ``__init__`` of the packages around them, and the data files beside them.
    """
    found, waiting = set(), list(_named_modules(_without_magic(code), ""))
    while waiting:
        for file in _module_files(waiting.pop(), folders):
            if file not in found:
                found.add(file)
                waiting += _modules_of_file(file, folders)
    data = {f for module in found for f in module.parent.iterdir() if f.suffix in DATA_SUFFIXES
            and module.parent not in folders}
    return sorted(found | data)


def _modules_of_file(file, folders):
    root = next(folder for folder in folders if file.is_relative_to(folder))
    parts = file.relative_to(root).with_suffix("").parts
    package = parts[:-1]  # of a module and of an __init__ alike: the folder it is in
    return _named_modules(file.read_text(encoding="utf-8"), ".".join(package))


def _named_modules(code, package):
    """Dotted names in ``code`` that may be modules: imports, and strings such as ``python -m`` arguments."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from DOTTED.findall(node.value)


def _absolute(node, package):
    if not node.level:
        return node.module
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def _module_files(name, folders):
    """The files that importing ``name`` executes: every package on the way, and the module itself."""
    parts = name.split(".")
    for folder in folders:
        if not ((folder / parts[0]).is_dir() or (folder / f"{parts[0]}.py").exists()):
            continue
        prefixes = [folder.joinpath(*parts[: i + 1]) for i in range(len(parts))]
        candidates = [p for prefix in prefixes for p in (prefix / "__init__.py", prefix.with_suffix(".py"))]
        return [p for p in candidates if p.exists()]
    return []


def _without_magic(code):
    return "\n".join("pass" if MAGIC.match(line) else line for line in code.splitlines())


def folder_digest(root, paths):
    """One digest of the names below ``root`` and the contents of many files, in whatever order they come."""
    return _hash({path.relative_to(root).as_posix(): _digest(path) for path in paths})


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _hash(thing):
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()
