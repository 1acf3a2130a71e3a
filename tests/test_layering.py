"""The library's layers hold, and the check that says so can fail."""

import subprocess
import sys

import pytest
from dlopt_book.layering import ROWS, violations


def planted(folder, **files):
    package = folder / "dlopt"
    for name, text in {"__init__": "", **files}.items():
        path = package / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return violations(package)


def test_every_module_imports_from_lower_rows_only(root):
    assert violations(root / "lib" / "dlopt") == []


def test_no_module_stands_in_two_rows():
    assert sum(map(len, ROWS.values())) == len(set().union(*ROWS.values()))


@pytest.mark.parametrize("line", [
    "from dlopt.training import train", "import dlopt.training.loop", "from dlopt import training",
    "from ..training import train", "def f():\n    from dlopt.training import train",
])
def test_an_import_from_a_higher_row_is_found_in_every_spelling(tmp_path, line):
    (found,) = planted(tmp_path, rules__in__adam=line)
    assert "rules (row 1) imports training (row 3)" in found


def test_an_import_from_the_same_row_is_found(tmp_path):
    (found,) = planted(tmp_path, losses="from dlopt import rules")
    assert "losses (row 1) imports rules (row 1)" in found


@pytest.mark.parametrize("module, line", [
    ("losses", "import matplotlib.pyplot as plt"), ("claims", "from IPython.display import HTML"),
    ("training", "from myst_nb import glue"), ("display", "import dlopt_book.site"),
])
def test_packages_for_drawing_and_showing_stay_in_their_modules(tmp_path, module, line):
    (found,) = planted(tmp_path, **{module: line})
    assert f"{module} imports" in found


def test_a_module_without_a_row_is_found(tmp_path):
    (found,) = planted(tmp_path, novelty="x = 1")
    assert "novelty has no row" in found


def test_lower_rows_the_own_package_and_outside_packages_are_free(tmp_path):
    assert planted(tmp_path, rules__in__adam="import torch\nfrom dlopt.checks import whole\nfrom . import gd") == []


def test_ruff_finds_nothing(root):
    command = [sys.executable, "-m", "ruff", "check", "lib", "tests"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
