"""Every chapter has the form that CONTRIBUTING.md describes, and each rule can fail."""

import re
from pathlib import Path

import nbformat
import pytest
from dlopt_book import cache
from dlopt_book.book import Book
from dlopt_book.form import bare_figures, faults, words
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

CHAPTERS = sorted((Path(__file__).parent.parent / "chapters").glob("*.ipynb"))
PROSE = """## Why

""" + "Every sentence here is one of many that a reader meets between two cells of code. " * 30 + """
$$ a = b $$ (eq-ab)

:::{prf:theorem} Equality
:label: thm-ab

It holds {cite}`someone`.

:::

:::{prf:proof}

By {eq}`eq-ab`.

:::

:::{exercise}
:label: ex-ab

Show it.

:::

## Summary

It holds."""
FIGURE = {"figure": {"name": "fig-a", "caption": "A."}, "image": {"alt": "A line that falls from left to right."}}


def good():
    cells = [
        new_markdown_cell("# A title\n\nA question."),
        new_code_cell("from dlopt.claims import claim\nfrom dlopt.interactive import playground"),
        new_markdown_cell(PROSE),
        new_code_cell("axes = draw(1)", metadata={"mystnb": FIGURE}),
        new_code_cell("low = measure()\nclaim('S9', 'holds', supported=low < 1, effect=low, interval=(low, low), n=5)"),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def found(folder, notebook, name="chapter"):
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return faults(folder / f"{name}.ipynb")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_chapter_has_the_form_of_the_book(path):
    assert faults(path) == []


def test_every_image_that_a_chapter_showed_has_name_caption_and_alt_text(root):
    bare = {name: list(bare_figures(notebook)) for name, notebook in cache.executed(Book(root))}
    assert {name: sentences for name, sentences in bare.items() if sentences} == {}


def test_every_source_has_one_entry_and_every_citation_a_source():
    entries = re.findall(r"^@\w+\{([^,]+),", (CHAPTERS[0].parent / "references.bib").read_text(encoding="utf-8"), re.M)
    text = "".join(p.read_text(encoding="utf-8") for p in [*CHAPTERS, *CHAPTERS[0].parent.glob("*.md")])
    cited = {key.strip() for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in group.split(",")}
    assert len(cited) > 20 and len(entries) == len(set(entries)), sorted(k for k in entries if entries.count(k) > 1)
    assert cited <= set(entries), cited - set(entries)


def test_a_good_notebook_has_no_faults(tmp_path):
    assert found(tmp_path, good()) == []


def test_numbers_in_file_names_are_found(tmp_path):
    assert any("no numbers in file names" in fault for fault in found(tmp_path, good(), "chapter2"))


def set_cell(number, source):
    def plant(notebook):
        notebook.cells[number].source = source
    return plant


def append(cell):
    return lambda notebook: notebook.cells.append(cell)


def in_prose(old, new=""):
    def plant(notebook):
        assert old in notebook.cells[2].source
        notebook.cells[2].source = notebook.cells[2].source.replace(old, new)
    return plant


def with_metadata(**changes):
    return lambda notebook: notebook.cells[3].metadata.update(mystnb={**FIGURE, **changes})


def executed(notebook):
    notebook.cells[3].execution_count = 1


CLAIM = "claim('S9', 'holds', supported={}, effect=low, interval=(low, low), n=5)"
PLANTED = {
    "without outputs": executed,
    "kernelspec must be python3": lambda notebook: notebook.metadata.kernelspec.update(name="mine"),
    "begin with the title": set_cell(0, "No title."),
    "lines, at most 25": append(new_code_cell("x = 1\n" * 26)),
    "more than 12 lines": append(new_code_cell("x = 1\n" * 13)),
    "words for": lambda notebook: notebook.cells.extend(new_code_cell("x = 1\n" * 12) for _ in range(4)),
    "split a chapter": append(new_markdown_cell("word " * 4000)),
    "first code cell must be the imports": set_cell(1, "x = 1  # interactive"),
    "imports belong in the first code cell": append(new_code_cell("import os")),
    "function f has more than 15 lines": append(new_code_cell("def f():\n" + "    x = 1\n" * 15)),
    "one claim a cell": set_cell(4, f"{CLAIM.format('a < 1')}\n{CLAIM.format('a < 1')}"),
    "must be the last expression": set_cell(4, f"c = {CLAIM.format('a < 1')}"),
    "never on typed ones": set_cell(4, CLAIM.format("True")),
    "name must be fig-": with_metadata(figure={"name": "a", "caption": "A."}),
    "needs a caption": with_metadata(figure={"name": "fig-a", "caption": " "}),
    "with a semicolon": set_cell(3, "draw(1)"),
    "needs an alt text": with_metadata(image={}),
    "{eval} does not work": append(new_markdown_cell("{eval}`x`")),
    "invisible in JupyterLab": append(new_markdown_cell("see [](#eq-ab)")),
    "colon fences": append(new_markdown_cell("```{note}\nx\n```")),
    "an image needs an alt text": append(new_markdown_cell("![](a.png)")),
    "tqdm.auto needs": set_cell(1, "from tqdm.auto import tqdm  # interactive"),
    "no plt.show": append(new_code_cell("plt.show()")),
    "no magics": append(new_code_cell("%matplotlib inline")),
    "no star imports": set_cell(1, "from dlopt.interactive import *"),
    "no global seeds": append(new_code_cell("torch.manual_seed(0)")),
    "no cell is exempt": append(new_code_cell("# NBVAL_SKIP\nx = 1")),
    "leave a blank line after": in_prose(":label: thm-ab\n\n", ":label: thm-ab\n"),
    "leave a blank line before": in_prose("It holds {cite}`someone`.\n\n", "It holds {cite}`someone`.\n"),
    "lacks a theorem": in_prose("prf:theorem", "note"),
    "lacks a proof": in_prose("prf:proof", "note"),
    "lacks a numbered equation": in_prose(" (eq-ab)"),
    "lacks an exercise": in_prose("{exercise}", "{note}"),
    "lacks a summary": in_prose("## Summary"),
    "lacks a citation": in_prose("{cite}"),
    "lacks a claim": set_cell(4, "x = 1"),
    "lacks an interactive figure": set_cell(1, "from dlopt.claims import claim"),
}


@pytest.mark.parametrize("sentence", PLANTED)
def test_the_planted_fault_is_found(tmp_path, sentence):
    notebook = good()
    PLANTED[sentence](notebook)
    assert any(sentence in fault for fault in found(tmp_path, notebook)), sentence


def test_an_image_without_figure_metadata_is_found():
    notebook = good()
    notebook.cells[4].outputs = [new_output("display_data", data={"image/png": "abcd"})]
    assert len(list(bare_figures(notebook))) == 1


def test_mathematics_code_and_options_are_not_words():
    formula_is_a_word = "One two $x + y$ three.\n\n$$ a = b $$ (eq)"
    assert words(formula_is_a_word + "\n\n```python\nx = 1\n```\n\n:::{note}\n:label: x\n") == 3 + 1 + 1


def test_a_reference_page_needs_none_of_a_chapters_parts_but_keeps_the_other_rules(tmp_path):
    notebook = good()
    del notebook.cells[2:]
    assert any("lacks a summary" in fault for fault in found(tmp_path, notebook))
    notebook.metadata["dlopt"] = {"reference": True}
    assert not any("lacks" in fault for fault in found(tmp_path, notebook))
    notebook.cells[1].source = "x = 1"
    assert any("must be the imports" in fault for fault in found(tmp_path, notebook))
