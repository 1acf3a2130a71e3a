"""A verdict that changes with the seed is found."""

import minibook
import nbformat
import pytest
from dlopt_book import cache, verdicts
from dlopt_book.book import Book
from nbformat.v4 import new_code_cell

CELL = """import os
from dlopt.claims import claim
low = {low}
claim('S9', 'holds' if low < 1 else 'false', supported=True, effect=low, interval=(low, low), n=5)"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    minibook.make(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.delenv("DLOPT_SEED", raising=False)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/index\nchapters: [{file: chapters/two}]\n")
    return Book(tmp_path)


def with_claim(book, low):
    path = book.root / "chapters" / "two.ipynb"
    notebook = cache.read(path)
    notebook.cells.append(new_code_cell(CELL.format(low=low), id="cell-claim"))
    nbformat.write(notebook, path)


def test_verdicts_that_hold_under_every_seed_are_counted(book):
    said = []
    with_claim(book, "0.5")
    assert verdicts.compare(book, [1], said.append) == 0
    assert "1 verdicts, the same under every seed" in said[-1]


def test_a_verdict_that_flips_and_the_seed_that_flips_it_are_named(book):
    said = []
    with_claim(book, "float(os.environ.get('DLOPT_SEED', '0'))")
    assert verdicts.compare(book, [1], said.append) == 1
    assert "DLOPT_SEED=1: chapters/two: S9: 'holds' became 'false'" in said[-1]
    assert dict(cache.executed(book))["chapters/two"].cells[-1].outputs[0].data["text/plain"].startswith("S9: holds")


def test_a_chapter_that_fails_under_another_seed_is_named(book):
    said = []
    with_claim(book, "1 / (1 - int(os.environ.get('DLOPT_SEED', '0')))")
    assert verdicts.compare(book, [1], said.append) == 1
    assert "DLOPT_SEED=1: chapters/two failed" in said[-1]
