"""An interactive figure as an object that a notebook can show."""

import hashlib
import html
import json
import re
from functools import cache
from importlib import resources

SHARED = {"descent": ("surfaces",), "optimizer_race": ("surfaces",)}  # kind -> scripts that must come before its own
FALLBACK = "This figure is interactive and needs JavaScript; in JupyterLab, run its cell."


class Interactive:
    """A figure that displays itself as HTML.

    Args:
        kind: name of the script, ``<kind>.js`` in this package.
        title: the figure's heading, shown and read by screen readers.
        help: one sentence on what to do with it.
        config: initial values of its controls, by name (those the reader can also share in the address).
        id: HTML id, unique on its page (the framework appends ``-2`` to a second one); links ``#id?key=value`` set it.

    Raises:
        ValueError: there is no such script.
    """

    def __init__(self, kind, title, help, config=None, id=None):
        if kind not in figures():
            raise ValueError(f"kind must be one of {', '.join(figures())}; got {kind!r}")
        self.kind, self.title, self.help, self.config, self.id = kind, title, help, config or {}, id or kind

    def __repr__(self):
        return f"Interactive figure: {self.title}. {self.help}"

    def _repr_html_(self):
        attributes = {"class": "dlopt-figure", "id": self.id, "role": "group", "data-figure": self.kind,
                      "data-title": self.title, "data-help": self.help, "data-config": json.dumps(self.config),
                      "data-lm-suppress-shortcuts": "true"}  # JupyterLab leaves the keyboard to the figure
        text = " ".join(f'{name}="{html.escape(value)}"' for name, value in attributes.items())
        css, framework = _read("framework.css"), _read("framework.js")
        script = "".join(_read(f"{name}.js") for name in (*SHARED.get(self.kind, ()), self.kind))
        version = hashlib.sha256((framework + css).encode()).hexdigest()[:12]
        return (f"<style>{css}</style><div {text}><p>{FALLBACK}</p></div>"
                f"<script>{framework.replace('VERSION', version)}{script}DlOpt.mount();</script>")


@cache
def figures():
    """The kinds of figure there are, sorted."""
    pieces = {"framework", *(name for names in SHARED.values() for name in names)}
    names = (entry.name for entry in resources.files("dlopt.interactive").iterdir())
    return tuple(sorted(name[:-3] for name in names if name.endswith(".js") and name[:-3] not in pieces))


@cache
def _read(name):
    """A packaged file without what a page need not carry: indentation, empty lines, blanks, comments after blanks."""
    text = resources.files("dlopt.interactive").joinpath(name).read_text(encoding="utf-8")
    text = re.sub(r"^\s*/\*.*?\*/$|\s// .*?$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(map(_tight, lines) if name.endswith(".js") else lines) + "\n"


def _tight(line):
    """A line without the blanks around punctuation outside of strings; left alone where it may hold a pattern."""
    if re.search(r"['`\\]|(?<! )/|/(?! )", line):
        return line
    parts = re.split(r'("[^"]*")', line)
    parts[::2] = [re.sub(r"\s*([=,;{}()?:]|&&|\|\|)\s*", r"\1", part) for part in parts[::2]]
    return "".join(parts)
