"""Where a book's files are and which pages it has, read from ``_toc.yml``."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Book:
    """A book on disk.

    Args:
        root: the folder that holds ``_config.yml`` and ``_toc.yml``.
    """

    root: Path

    @property
    def site(self):
        """The folder of the built site."""
        return self.root / "_build" / "html"

    @property
    def cache_path(self):
        """The folder of the jupyter-cache that the site build reads; myst-nb's own default."""
        return self.root / "_build" / ".jupyter_cache"

    @property
    def lib(self):
        """The folder of the library's sources."""
        return self.root / "lib"

    def pages(self):
        """The pages' document names in the order of ``_toc.yml``, the landing page first."""
        toc = yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf-8"))
        return [toc["root"], *_files(toc)]

    def notebooks(self):
        """The paths of the pages that are notebooks, in the book's order."""
        paths = [self.root / f"{page.removesuffix('.ipynb')}.ipynb" for page in self.pages()]
        return [path for path in paths if path.exists()]

    def docname(self, path):
        """The document name of the page whose source is ``path``."""
        return Path(path).resolve().relative_to(self.root.resolve()).with_suffix("").as_posix()


def _files(node):
    """Every ``file:`` entry below ``node``, depth first."""
    if isinstance(node, list):
        return [name for item in node for name in _files(item)]
    if not isinstance(node, dict):
        return []
    own = [node["file"]] if "file" in node else []
    return own + [name for key in ("parts", "chapters", "sections", "entries") for name in _files(node.get(key))]


def here():
    """The book of the current folder or of its nearest parent that has a ``_toc.yml``.

    Raises:
        FileNotFoundError: there is none.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "_toc.yml").exists():
            return Book(folder)
    raise FileNotFoundError(f"no _toc.yml in {Path.cwd()} or above it: run this inside the book's folder")


def cores():
    """The number of CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
