"""No solution and no hidden check reaches the site; the search for them finds what is planted, in every disguise."""

import html
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import homework_class as hc
import nbformat
import pytest
from dlopt.homework import leaks, publish
from dlopt.homework.course import Course

SOURCES = hc.ROOT / "chapters/homework"
PUBLIC = [p.read_text() for p in (hc.ROOT / "chapters/instructor.md", *sorted((hc.ROOT / "lib/dlopt").rglob("*.py")))]
SOLUTION = "return n**3 / 3 + 4 * n**2 + n"
LONG = "(product,) = torch.autograd.grad(g, theta, grad_outputs=v, materialize_grads=True)"


def site(tmp_path, name, data):
    """A folder with one file."""
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return tmp_path / "html"


def test_secrets_cover_solutions_and_checks_and_nothing_that_is_released():
    found = leaks.secrets(SOURCES, PUBLIC)
    assert leaks.squeeze(LONG) in found and any(s.startswith(f"{hc.TOPIC}/checks.py") for s in found.values())
    released = publish.student_version(nbformat.read(hc.SOURCE, as_version=4))
    body = leaks.squeeze(nbformat.writes(released))
    assert not [told for key, told in found.items() if key in body]
    assert len(found) > 100


@pytest.mark.parametrize("name, data", [
    ("page.html", "<pre>" + "".join(f"<span>{html.escape(c)}</span>" for c in LONG.split(" ")) + "</pre>"),
    ("notebook.ipynb", json.dumps({"cells": [{"source": [LONG + "\n"]}]})),
    ("plain.txt", LONG),
    ("checks.py", "        return 1 if rate <= eps else math.ceil(math.log(eps) / math.log(rate))"),
])  # fmt: skip
def test_a_planted_leak_is_found(tmp_path, name, data):
    assert leaks.leaks(site(tmp_path, name, data), SOURCES, PUBLIC)


def test_a_leak_inside_an_archive_and_in_the_search_index_is_found(tmp_path):
    built = site(
        tmp_path, "searchindex.js", 'Search.setIndex({"docnames":["homework/gradient_descent/gradient_descent"]})'
    )
    with zipfile.ZipFile(built / "folder.zip", "w") as archive:
        archive.write(hc.SOURCE, "a/b.ipynb")
    found = leaks.leaks(built, SOURCES, PUBLIC)
    assert any("indexes" in s for s in found) and any(s.startswith("folder.zip!a/b.ipynb") for s in found)


def test_the_downloads_of_the_site_hold_no_secret(tmp_path):
    course = Course(tmp_path / "course", SOURCES, tmp_path / "html")
    assert publish.for_site(course, hc.TOPIC) and not publish.for_site(course, hc.TOPIC)
    assert leaks.leaks(course.site, SOURCES, PUBLIC) == []
    with zipfile.ZipFile(course.site / f"{hc.TOPIC}.zip") as archive:
        assert sorted(archive.namelist()) == [f"{hc.TOPIC}/README.txt", f"{hc.TOPIC}/{hc.TOPIC}.ipynb"]


@pytest.mark.slow
def test_a_strict_build_of_the_homework_pages_holds_no_secret_and_all_downloads(tmp_path):
    book = tmp_path / "book"
    (book / "chapters").mkdir(parents=True)
    for name in ("homework.md", "instructor.md"):
        (book / "chapters" / name).write_text((hc.ROOT / "chapters" / name).read_text())
    for topic in sorted(p.parent.name for p in SOURCES.glob("*/checks.py")):
        (book / "chapters/homework" / topic).mkdir(parents=True)
        for path in (SOURCES / topic).iterdir():
            if path.is_file():
                (book / "chapters/homework" / topic / path.name).write_bytes(path.read_bytes())
        publish.for_site(Course(tmp_path / "c", SOURCES, book / "chapters/_downloads/homework"), topic)
    (book / "_toc.yml").write_text("format: jb-book\nroot: chapters/homework\nchapters:\n- file: chapters/instructor\n")
    (book / "_config.yml").write_text(
        "title: t\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
        "exclude_patterns: [chapters/homework]\n"
    )
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-W", "--keep-going", "-n"]
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, cwd=book, capture_output=True, text=True, timeout=200, env=quiet)
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-1500:]
    assert leaks.leaks(book / "_build/html", SOURCES, PUBLIC) == []
    built = [p.name for p in (book / "_build/html/_downloads").rglob("*") if p.is_file()]
    assert f"{hc.TOPIC}.ipynb" in built and f"{hc.TOPIC}.zip" in built


def test_the_built_site_holds_no_secret(site):
    assert leaks.leaks(site, SOURCES, PUBLIC) == []
