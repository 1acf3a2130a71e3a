"""Every chapter is run once, what changed is run again, and a fault leaves no site."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import minibook
import nbformat
import pytest
from dlopt_book import cache, execution, figures, fingerprint, site
from dlopt_book.book import Book
from nbformat.v4 import new_code_cell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A mini book after its first `make book`, and what that said."""
    root, said = tmp_path_factory.mktemp("built") / "book", []
    root.mkdir()
    minibook.make(root)
    with pytest.MonkeyPatch.context() as patch:
        settle(patch, root)
        assert site.make(Book(root), said.append), "\n".join(said)
    return root, said


def settle(patch, root):
    """Let the kernels find the mini book's library, under settings of its own."""
    patch.setenv("PYTHONPATH", str(root / "lib"))
    for name in ("DLOPT_SEED", "DLOPT_SCALE"):
        patch.delenv(name, raising=False)


@pytest.fixture
def book(built, tmp_path, monkeypatch):
    """A copy of the built book to do things to."""
    root = tmp_path / "book"
    shutil.copytree(built[0], root)
    settle(monkeypatch, root)
    return Book(root)


def made(book, expected=True):
    said = []
    assert site.make(book, said.append) is expected, "\n".join(said)
    return "\n".join(said)


def plain(book):
    """`jupyter-book build .`, as students and Windows users call it."""
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", "."]
    return subprocess.run(command, cwd=book.root, capture_output=True, text=True, env=execution.environment())


def page(book, name):
    return (book.site / "chapters" / f"{name}.html").read_text(encoding="utf-8")


def runs(book):
    return minibook.runs(book.root, "one"), minibook.runs(book.root, "two")


def change_code(book, name, source):
    path = book.root / "chapters" / f"{name}.ipynb"
    notebook = cache.read(path)
    notebook.cells.append(new_code_cell(source, id="cell-new"))
    nbformat.write(notebook, path)


def change_library(book, name, text):
    (book.root / "lib" / "mini" / f"{name}.py").write_text(text)


def test_the_first_build_runs_every_chapter_exactly_once_and_says_so(built):
    root, said = built
    assert runs(Book(root)) == (1, 1)
    assert sum("passed  chapters/one: 4 cells" in line for line in said) == 1
    assert str(root / "_build" / "html" / "index.html") in said[-1]


def test_the_site_shows_the_outputs_and_numbers_of_that_run(built):
    text = page(Book(built[0]), "one")
    for shown in ("The number is 42", "Theorem 1.1", "Fig. 1.1", "(1.1)", "Exercise 1.1", 'alt="A straight line'):
        assert shown in text, shown


def test_nothing_changed_means_nothing_done_in_well_under_15_seconds(book):
    start = time.monotonic()
    assert "nothing changed" in made(book)
    assert time.monotonic() - start < 5
    assert runs(book) == (1, 1)


def test_a_changed_chapter_is_run_again_and_no_other(book):
    change_code(book, "two", "'new ' + 'words'")
    made(book)
    assert runs(book) == (1, 2)
    assert "new words" in page(book, "two")


def test_changed_prose_is_shown_without_a_run(book):
    path = book.root / "chapters" / "one.ipynb"
    path.write_text(path.read_text().replace("What is the answer", "Which is the number"))
    made(book)
    assert runs(book) == (1, 1)
    assert "Which is the number" in page(book, "one")


def test_a_changed_module_reruns_the_chapters_that_reach_it_through_other_modules(book):
    change_library(book, "constants", "ANSWER = 43\n")
    made(book)
    assert runs(book) == (2, 1)
    assert "The number is 43" in page(book, "one")


def test_another_seed_runs_everything_again(book, monkeypatch):
    monkeypatch.setenv("DLOPT_SEED", "1")
    made(book)
    assert runs(book) == (2, 2)


def test_a_failing_cell_leaves_no_site_and_names_the_chapter(book):
    change_code(book, "two", "assert OTHER == 2, 'the other is not two'")
    said = made(book, expected=False)
    assert "no site: 1 chapter(s) failed: chapters/two" in said
    assert "the other is not two" in said
    assert not book.site.exists()


def test_after_a_failure_only_the_failed_chapter_is_run_again(book):
    change_code(book, "two", "assert OTHER == 2")
    made(book, expected=False)
    change_library(book, "other", "OTHER = 2\n")
    made(book)
    assert runs(book) == (1, 3)


def test_a_dangling_reference_leaves_no_site_now_or_on_the_next_try(book):
    with open(book.root / "chapters" / "index.md", "a") as file:
        file.write("\nSee {numref}`fig-nowhere`.\n")
    for _ in range(2):
        assert "fig-nowhere" in made(book, expected=False)
        assert not book.site.exists()


def test_the_plain_build_drops_outputs_of_an_older_library(book):
    change_library(book, "constants", "ANSWER = 44\n")
    done = plain(book)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The number is 44" in page(book, "one")
    assert runs(book) == (2, 1)


def test_what_the_plain_build_ran_is_not_run_again(book):
    change_library(book, "constants", "ANSWER = 45\n")
    plain(book)
    made(book)
    assert runs(book) == (2, 1)


def test_the_plain_build_leaves_no_site_when_a_cell_fails(book):
    change_code(book, "two", "assert OTHER == 2")
    assert plain(book).returncode != 0
    assert not (book.site / "index.html").exists()


def test_the_cached_notebook_is_what_nbval_saw(built):
    notebooks = dict(cache.executed(Book(built[0])))
    code = [cell for cell in notebooks["chapters/two"].cells if cell.cell_type == "code"]
    assert code[-1].outputs[0].data["text/plain"] == "1"
    assert [cell.execution_count for cell in code] == [1, 2, 3]


def test_the_figures_of_a_run_become_files_of_their_names(built):
    root, _ = built
    files = figures.write(Book(root))
    assert [(path.parent.name, path.stem) for path in files] == [("quick", "fig-line")]
    assert files[0].suffix in (".svg", ".png") and files[0].stat().st_size > 500
    assert figures.write(Book(root), [root / "chapters" / "two.ipynb"]) == []


def test_the_number_of_jobs_must_be_whole_and_positive(monkeypatch):
    monkeypatch.setenv("DLOPT_JOBS", "0")
    with pytest.raises(ValueError, match="DLOPT_JOBS must be a whole number >= 1, got '0'"):
        execution.jobs()


# ---------------------------------------------------------------- what a chapter can reach

def reached(folder, code, **files):
    lib = folder / "lib"
    for name, text in files.items():
        path = lib / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {path.relative_to(lib).as_posix() for path in fingerprint.reachable_files(code, (lib,))}


@pytest.mark.parametrize("code", ["import p.a", "from p import a", "from p.a import x", "run('python -m p.a')",
                                  "def f():\n    from p import a", "%time 1\nimport p.a"])
def test_a_module_is_reached_by_every_spelling(tmp_path, code):
    files = {"p__in____init__": "", "p__in__a": "from .b import y", "p__in__b": "y = 1", "p__in__c": "z = 1"}
    assert reached(tmp_path, code, **files) == {"p/__init__.py", "p/a.py", "p/b.py"}


def test_what_a_package_imports_in_its_init_is_reached_through_any_module_of_it(tmp_path):
    files = {"p__in____init__": "from p.b import y", "p__in__a": "x = 1", "p__in__b": "from . import c",
             "p__in__c": "z = 1"}
    assert reached(tmp_path, "import p.a", **files) == {"p/__init__.py", "p/a.py", "p/b.py", "p/c.py"}


def test_a_data_file_beside_a_reached_module_is_reached(tmp_path):
    (tmp_path / "lib" / "p").mkdir(parents=True)
    (tmp_path / "lib" / "p" / "figure.js").write_text("1")
    assert "p/figure.js" in reached(tmp_path, "import p.a", p__in____init__="", p__in__a="x = 1")
