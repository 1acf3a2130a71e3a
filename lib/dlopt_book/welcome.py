"""The table of contents that a reader meets in JupyterLab: what there is, how long it takes, what waits."""

import yaml
from IPython.display import Markdown

from dlopt_book import cache, guide
from dlopt_book.book import here


def chapters(book=None):
    """The book's chapters with their questions, reading time, exercises and homework, as a table with links.

    Args:
        book: a `Book`; None: the one around the current folder.
    """
    return Markdown(table(here() if book is None else book))


def table(book):
    """The table of `chapters` as Markdown."""
    from dlopt_book.extension import question

    rows = ["| chapter | question | read | run here | exercises |", "|---|---|---|---|---|"]
    for path in book.notebooks():
        notebook = cache.read(path)
        if notebook.metadata.get("dlopt", {}).get("reference"):
            continue
        title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
        seconds = cache.seconds(book, path)
        run = f"{seconds:.0f}\u00a0s" if seconds else "not\u00a0yet"  # no-break: the columns stay as wide as they must
        minutes = guide.reading_minutes(notebook)
        rows.append(f"| [{title}]({path.name}) | {question(notebook)} | {minutes}\u00a0min | {run} "
                    f"| {guide.exercises(notebook) or ''} |")
    return "\n".join(rows + [f"| {title} | planned | | | |" for title in planned(book)])


def planned(book):
    """Titles of the chapters that ``_config.yml`` announces and that are not there yet."""
    config = yaml.safe_load((book.root / "_config.yml").read_text(encoding="utf-8"))
    announced = config.get("sphinx", {}).get("config", {}).get("planned_chapters", {})
    there = {page.rsplit("/", 1)[-1] for page in book.pages()}
    return [title for stem, title in announced.items() if stem not in there]
