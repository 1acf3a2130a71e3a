"""What the mutation tests of every homework share. Everything runs in this process, without a sandbox.

``EQUIVALENT`` and ``MUTANTS`` of a topic's tests map a test cell to sources that replace the solution; a mutant also
names the requirements (by position) that it must fail.
"""

import ast
import dataclasses
from pathlib import Path

import nbformat
from dlopt.homework import load, repair
from dlopt.homework.grader import InProcess, grade

HOMEWORKS = Path(__file__).parents[1] / "chapters/homework"


class Topic:
    """One homework: its notebook, its checks, its cells by name."""

    def __init__(self, name):
        self.folder = HOMEWORKS / name
        self.notebook = nbformat.read(self.folder / f"{name}.ipynb", as_version=4)
        self.homework = load(self.folder)
        self.sources = {repair.grade_id(c): c.source for c in self.notebook.cells}

    def grade_source(self, cell, source, seed=b"secret"):
        """Grade one task of which ``source`` is the solution."""
        only = dataclasses.replace(self.homework, tasks=[self.homework.task(cell)])
        return grade(only, [self.sources["setup"], source], seed, InProcess())["tasks"][cell]

    def check_right(self, cell, source, seeds=(b"1", b"2", b"3")):
        """A right solution earns everything and is waved through."""
        for seed in seeds:
            task = self.grade_source(cell, source, seed)
            assert task["score"] == task["points"], [r["message"] for r in task["requirements"]]
            assert task["review"] == []

    def check_wrong(self, cell, source, fails, seeds=(b"1", b"2")):
        """A wrong solution loses at least these requirements, and every loss comes with a message."""
        for seed in seeds:
            task = self.grade_source(cell, source, seed)
            lost = [i for i, r in enumerate(task["requirements"]) if r["score"] == 0]
            assert fails and set(fails) <= set(lost), [(r["says"], r["message"]) for r in task["requirements"]]
            assert all(task["requirements"][i]["message"] for i in lost)


def edit(source, *changes):
    """``source`` with ``old -> new`` changes, each of which must apply."""
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return source


def cases(table):
    """All ``(cell, name)`` of a table."""
    return [(cell, name) for cell, entries in table.items() for name in entries]


def check_mutants_differ(mutants, equivalent):
    """Every mutant is code, and no right solution."""
    for cell, name in cases(mutants):
        tree = ast.dump(ast.parse(mutants[cell][name][0]))
        assert all(tree != ast.dump(ast.parse(right)) for right in equivalent[cell].values()), name
