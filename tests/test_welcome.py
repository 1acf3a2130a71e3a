"""The page that a reader in JupyterLab begins with: it runs, lists every chapter, and ends with a finished picture."""

import shutil

import minibook
import nbformat
from dlopt_book import welcome
from dlopt_book.book import Book
from nbclient import NotebookClient


def test_the_table_lists_every_chapter_with_its_question_and_what_is_planned(root):
    table = welcome.table(Book(root))
    assert "| [Momentum](momentum.ipynb) | What does memory buy? |" in table
    for path in Book(root).notebooks():
        reference = nbformat.read(path, 4).metadata.get("dlopt", {}).get("reference")
        assert (f"({path.name})" in table) is not bool(reference)
    assert table.count("planned") == len(welcome.planned(Book(root)))
    assert "Momentum" not in welcome.planned(Book(root))


def test_a_chapter_that_was_not_run_says_so(tmp_path):
    minibook.make(tmp_path)
    table = welcome.table(Book(tmp_path))
    assert "| read | run here |" in table
    row = next(row for row in table.splitlines() if row.startswith("| [One](one.ipynb) |"))
    assert "\u00a0min | not\u00a0yet |" in row


def test_the_welcome_page_runs(root, tmp_path):
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "chapters", tmp_path / "chapters", ignore=shutil.ignore_patterns("homework", "_downloads"))
    notebook = nbformat.read(tmp_path / "chapters" / "welcome.ipynb", 4)
    NotebookClient(notebook, kernel_name="python3", timeout=120,
                   resources={"metadata": {"path": tmp_path / "chapters"}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "torch" in code[1].outputs[0].text and "eady" in code[1].outputs[0].text.splitlines()[-1]
    assert "(momentum.ipynb)" in code[2].outputs[0].data["text/markdown"]
    picture = code[3].outputs[-1].data["text/html"]
    assert "updates" in picture and "<progress" not in picture
