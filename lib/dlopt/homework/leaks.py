"""Search a built site for solutions and hidden checks: pages, ``_sources``, search index, downloads, archives within.

Texts are compared by their letters and digits alone, so that HTML spans, JSON escapes and line breaks hide nothing.
"""

import html
import io
import json
import re
import zipfile
from pathlib import Path

SHORTEST = 24  # letters and digits; below it a line such as "return low" says nothing
IMPORT = re.compile(r"\s*(from\s+[\w.]+\s+)?import\s")  # tells nobody how a task is solved
BINARY = {".png", ".jpg", ".woff", ".woff2", ".ttf", ".eot", ".svg", ".ico", ".mp4", ".gif"}


def squeeze(text):
    """The letters and digits of a text."""
    return re.sub(r"[\W_]+", "", text)


def solutions(notebook):
    """Lines between BEGIN SOLUTION and END SOLUTION of a source notebook (a dict)."""
    for cell in notebook["cells"]:
        inside = False
        for line in "".join(cell["source"]).splitlines():
            if "BEGIN SOLUTION" in line or "END SOLUTION" in line:
                inside = "BEGIN" in line
            elif inside:
                yield line


def secrets(sources, public=()):
    """What must not be found: ``{squeezed line: "file: line"}`` of every topic.

    Args:
        sources: the folder ``chapters/homework``.
        public: texts that are meant to be read, such as the instructor page and the library: no secrets.
    """
    found, shown = {}, squeeze("\n".join(public))
    for topic in sorted(p.parent for p in Path(sources).glob("*/checks.py")):
        notebook = json.loads((topic / f"{topic.name}.ipynb").read_text())
        released = squeeze("\n".join(_released(notebook)))
        lines = [(f"{topic.name}.ipynb", s) for s in solutions(notebook)]
        lines += [("checks.py", s) for s in (topic / "checks.py").read_text().splitlines()]
        for name, line in lines:
            key = squeeze(line)
            if len(key) >= SHORTEST and not IMPORT.match(line) and key not in released and key not in shown:
                found[key] = f"{topic.name}/{name}: {line.strip()}"
    return found


def _released(notebook):
    for cell in notebook["cells"]:
        inside = False
        for line in "".join(cell["source"]).splitlines():
            inside = "BEGIN SOLUTION" in line or (inside and "END SOLUTION" not in line)
            if not inside:
                yield line


def _texts(name, data, depth=0):
    """``(name, text)`` of a file and of everything packed into it."""
    if zipfile.is_zipfile(io.BytesIO(data)) and depth < 3:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from _texts(f"{name}!{member}", archive.read(member), depth + 1)
        return
    text = data.decode("utf-8", "replace")
    yield name, re.sub(r"<[^>]*>", "", html.unescape(text)) if name.endswith((".html", ".htm")) else _unescaped(text)


def _unescaped(text):
    return re.sub(r"\\[nrt\"\\]", " ", text)


def leaks(built, sources, public=()):
    """Every secret line that the built site contains: sorted ``"file in the site <- source: line"``."""
    wanted, hits = secrets(sources, public), set()
    for path in sorted(Path(built).rglob("*")):
        if path.is_file() and path.suffix not in BINARY:
            for name, text in _texts(str(path.relative_to(built)), path.read_bytes()):
                body = squeeze(text)
                hits |= {f"{name} <- {told}" for key, told in wanted.items() if key in body}
                if path.name == "searchindex.js" and re.search(r"homework/\w+/\w+", text):
                    hits.add(f"{name} <- indexes a page of the sources")
    return sorted(hits)
