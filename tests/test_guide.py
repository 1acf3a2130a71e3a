"""The box at a chapter's top says what was measured, and its archive runs without the rest of the book."""

import subprocess
import sys
import zipfile

from dlopt_book import cache, guide
from dlopt_book.book import Book
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def notebook(words=0, lines=0, exercises=0):
    return new_notebook(cells=[new_markdown_cell("# A title\n\n" + "word " * words),
                               new_code_cell("\n".join(["x = 1"] * lines)),
                               new_markdown_cell("\n\n".join([":::{exercise}\n:::"] * exercises))])


def test_reading_time_counts_words_and_lines_of_code():
    assert guide.reading_minutes(notebook(words=1797)) == 10  # three more are in the title and in a heading of one word
    assert guide.reading_minutes(notebook(words=1797, lines=100)) == 14


def test_the_box_says_what_is_known_and_no_more():
    assert guide.facts(notebook(words=170, exercises=2), 61.4) == ["1 min to read", "61 s to run", "2 exercises"]
    assert guide.facts(notebook(words=170, exercises=1), 120.0) == ["1 min to read", "2.0 min to run", "1 exercise"]
    assert guide.facts(notebook(words=170), None) == ["1 min to read"]
    box = guide.box(notebook(), None, ["<a href='x.html'>Losses</a>"], "run.zip")
    assert "You need</strong> <a href='x.html'>Losses</a>." in box and 'href="run.zip"' in box
    assert "You need" not in guide.box(notebook(), None, [], "run.zip")


def test_every_chapter_named_in_needs_exists_and_does_not_say_so_itself(root):
    said = guide.needs(Book(root))
    assert said and {stem for stem in said if not (root / "chapters" / f"{stem}.ipynb").exists()} == set()
    for stem in said:
        text = (root / "chapters" / f"{stem}.ipynb").read_text()
        assert "You need**" not in text and "What you need" not in text, stem


def test_the_archive_holds_all_that_the_chapter_imports(root, tmp_path, stem="momentum"):
    guide.write_archive(Book(root), root / "chapters" / f"{stem}.ipynb", tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / stem
    imports = next(c.source for c in cache.read(folder / f"{stem}.ipynb").cells if c.cell_type == "code")
    check = f"{imports}\nimport dlopt, pathlib; assert pathlib.Path(dlopt.__file__).is_relative_to(r'{folder}')"
    done = subprocess.run([sys.executable, "-c", check], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages = (folder / "requirements.txt").read_text().splitlines()
    assert {"torch", "jupyterlab"} <= {line.split("==")[0] for line in packages}
    assert not any(line.startswith(("-e", "#", "Sphinx")) for line in packages)
    assert (tmp_path / "run.zip").stat().st_size < 500_000


def test_the_site_offers_every_chapter_to_run(root, site):
    for path in Book(root).notebooks():
        page = (site / "chapters" / f"{path.stem}.html").read_text()
        reference = cache.read(path).metadata.get("dlopt", {}).get("reference")
        assert ("dlopt-start" in page) is not bool(reference)
        assert reference or zipfile.ZipFile(site / "_downloads" / "run" / f"{path.stem}.zip").testzip() is None


def test_the_way_to_the_next_chapter_is_its_question(site):
    page = (site / "chapters" / "losses.html").read_text()
    assert "What does minimizing the loss of a classifier estimate?" in page[page.index('class="right-next"'):]
