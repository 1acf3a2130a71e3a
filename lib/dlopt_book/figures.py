"""The figures of chapters as files: ``python -m dlopt_book figures chapters/schedules.ipynb``."""

import base64

from dlopt.scale import scale

from dlopt_book import cache

KINDS = {"image/svg+xml": ".svg", "image/png": ".png"}


def write(book, paths=None):
    """Write every figure of the chapters' cached runs to a file of its own name.

    Args:
        book: the book.
        paths: the notebooks; None means all of the book's.

    Returns:
        The files, in ``_build/figures/<scale of the run>/``, in the chapters' order.
    """
    folder = book.root / "_build" / "figures" / scale()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {book.docname(path) for path in (book.notebooks() if paths is None else paths)}
    return [
        _write(folder, name, data)
        for docname, notebook in cache.executed(book)
        if docname in wanted
        for name, data in images(notebook)
    ]


def images(notebook):
    """Pairs (figure's name, outputs by kind) of an executed notebook."""
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure")
        for output in cell.get("outputs", []) if figure else []:
            if KINDS.keys() & output.get("data", {}).keys():
                yield figure["name"], output["data"]


def _write(folder, name, data):
    kind = next(kind for kind in KINDS if kind in data)
    path = folder / (name + KINDS[kind])
    text = "".join(data[kind])
    path.write_bytes(base64.b64decode(text) if kind == "image/png" else text.encode())
    return path
