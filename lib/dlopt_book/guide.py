"""What a chapter says about itself at its top: how long it takes, what it needs, and how to run it."""

import html
import math
import zipfile
from pathlib import Path

import yaml

from dlopt_book import cache
from dlopt_book.fingerprint import reachable_files
from dlopt_book.form import lines, words

WORDS_A_MINUTE, CODE_LINES_A_MINUTE = 180, 25  # a reader who means to understand
README = """{title}

1. pip install -r requirements.txt
2. jupyter lab {name}        (run all cells, change a number, run again)

The folder dlopt holds the parts of the course's library that this chapter imports. Nothing is downloaded when it runs.
"""


def needs(book):
    """What chapters need that do not say it themselves, from ``chapters/needs.yml``: stem -> list of stems or words."""
    path = book.root / "chapters" / "needs.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def reading_minutes(notebook):
    """Minutes to read a chapter, a whole number: its words and lines of code at the pace of a reader who studies."""
    prose = sum(words(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    code = sum(len(lines(cell.source)) for cell in notebook.cells if cell.cell_type == "code")
    return math.ceil(prose / WORDS_A_MINUTE + code / CODE_LINES_A_MINUTE)


def exercises(notebook):
    """The number of exercises in a notebook."""
    return sum(cell.source.count("{exercise}") + cell.source.count("{exercise-start}") for cell in notebook.cells
               if cell.cell_type == "markdown")


def facts(notebook, seconds):
    """What is known of a chapter, as short phrases; ``seconds`` of its run, or None if it has not been run."""
    found = [f"{reading_minutes(notebook)} min to read"]
    if seconds:
        found.append(f"{seconds:.0f} s to run" if seconds < 100 else f"{seconds / 60:.1f} min to run")
    count = exercises(notebook)
    return found + ([f"{count} exercise{'s' * (count > 1)}"] if count else [])


def box(notebook, seconds, needed, download):
    """The HTML of a chapter's box.

    Args:
        notebook: the chapter.
        seconds: wall time of its run, or None.
        needed: what should be known before, as HTML phrases; may be empty.
        download: address of the archive from `write_archive`.
    """
    said = "".join(f"<span>{phrase}</span>" for phrase in facts(notebook, seconds))
    run = f'<a href="{html.escape(download)}" download>Run this chapter <small>(zip)</small></a>'
    need = f"<p><strong>You need</strong> {', '.join(needed)}.</p>" if needed else ""
    return f'<div class="dlopt-start"><p class="dlopt-facts">{said}{run}</p>{need}</div>'


def write_archive(book, path, target):
    """Write a ZIP in which the chapter runs: the notebook, the parts of the library that it reaches, the packages.

    Args:
        book: the book.
        path: the notebook's source.
        target: the ZIP to write.
    """
    notebook, stem = cache.read(path), Path(path).stem
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, f"{stem}/{stem}.ipynb")
        for file in reachable_files(code, (book.lib,)):
            archive.write(file, f"{stem}/{file.relative_to(book.lib).as_posix()}")
        archive.writestr(f"{stem}/requirements.txt", requirements(book))
        archive.writestr(f"{stem}/README.txt", README.format(title=title, name=f"{stem}.ipynb"))


def requirements(book):
    """The lines of ``requirements.txt`` that running a chapter needs: what chapters import, and Jupyter."""
    file = book.root / "requirements.txt"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    blocks = [block for block in text.split("\n\n") if block.startswith("# what the chapters import")]
    jupyter = [line for line in text.splitlines() if line.startswith(("jupyterlab", "ipykernel"))]
    kept = [line for block in blocks for line in block.splitlines() if line and not line.startswith(("#", "-e"))]
    return "\n".join([*kept, *jupyter]) + "\n"
