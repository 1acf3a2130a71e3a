"""A small complete book to try the machinery on: two chapters, a library of their own, strict like the real one."""

import shutil
import textwrap
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parent.parent
FIGURE = {"mystnb": {"figure": {"name": "fig-line", "caption": "A line."},
                     "image": {"alt": "A straight line that rises from zero to one."}}}
TOC = """
format: jb-book
root: chapters/index
parts:
  - caption: Chapters
    numbered: true
    chapters: [{file: chapters/one}, {file: chapters/two}]
"""
THEOREM = """
The number is {glue:text}`answer`, see {eq}`eq-one`, {prf:ref}`thm-one` and {numref}`fig-line`.

$$ a = b $$ (eq-one)

:::{prf:theorem} Equality
:label: thm-one

It holds by {eq}`eq-one`.

:::

:::{exercise} Try it
:label: ex-one

Show $a = b$.

:::

:::{solution} ex-one
:class: dropdown

It is {eq}`eq-one`.

:::
"""


def count_runs(name):
    """A cell that leaves a trace of every execution of its notebook."""
    return new_code_cell(f"with open('../{name}.runs', 'a') as file:\n    print('run', file=file)")


def write(path, *cells):
    notebook = new_notebook(cells=list(cells))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    nbformat.write(notebook, path)


def runs(root, name):
    """How often the chapter has been executed."""
    path = root / f"{name}.runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def make(root):
    """Write the book into the empty folder ``root``."""
    (root / "chapters").mkdir()
    (root / "lib" / "mini").mkdir(parents=True)
    config = (ROOT / "_config.yml").read_text()
    kept = [line for line in config.splitlines() if not line.startswith("bibtex_bibfiles")]
    (root / "_config.yml").write_text("\n".join(kept))
    (root / "_toc.yml").write_text(TOC)
    (root / "chapters" / "index.md").write_text("# A mini book\n\nIt has two chapters and says so here.\n")
    if (ROOT / "chapters" / "images").exists():
        shutil.copytree(ROOT / "chapters" / "images", root / "chapters" / "images")
    for name, text in {"__init__": "", "constants": "ANSWER = 42", "other": "OTHER = 1",
                       "answers": "from mini.constants import ANSWER\n\n\ndef answer():\n    return ANSWER"}.items():
        (root / "lib" / "mini" / f"{name}.py").write_text(text + "\n")
    write(root / "chapters" / "one.ipynb", new_markdown_cell("# One\n\nWhat is the answer to the question?"),
          new_code_cell(textwrap.dedent("""\
              import matplotlib.pyplot as plt
              from mini.answers import answer
              from myst_nb import glue""")), count_runs("one"),
          new_code_cell("glue('answer', answer(), display=False)"), new_markdown_cell(THEOREM),
          new_code_cell("plt.plot([0, 1]);", metadata=FIGURE))
    write(root / "chapters" / "two.ipynb", new_markdown_cell("# Two\n\nThis chapter uses another part of the library."),
          new_code_cell("from mini.other import OTHER"), count_runs("two"), new_code_cell("OTHER"))
