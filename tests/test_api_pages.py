"""Every public module of the library stands on one of its pages."""

import importlib
import inspect
import pkgutil
import re

import dlopt
import pytest

INTERNAL = {  # pieces that only their own package uses
    "dlopt.data.rendering", "dlopt.ensemble.forward", "dlopt.ensemble.memory", "dlopt.ensemble.rule_engine",
    "dlopt.ensemble.steppers", "dlopt.losses.validation", "dlopt.training.interrupt", "dlopt.training.run",
}


def listed(root):
    """Modules that an ``automodule`` of the library's pages names."""
    pages = "\n".join(page.read_text() for page in sorted((root / "chapters").glob("api*.md")))
    return re.findall(r"(?m)^\.\. automodule:: (\S+)$", pages)


def own(module):
    """Public functions and classes that a module defines."""
    return [name for name, thing in vars(module).items() if not name.startswith("_")
            and getattr(thing, "__module__", None) == module.__name__
            and (inspect.isfunction(thing) or inspect.isclass(thing))]


def missing(names):
    """Modules that are neither named nor represented by what their named package exports."""
    found = []
    for info in pkgutil.walk_packages(dlopt.__path__, "dlopt."):
        parent = info.name.rpartition(".")[0]
        if info.name.endswith("__main__") or ".homework.inside" in info.name or info.name in INTERNAL | set(names):
            continue
        exported = getattr(importlib.import_module(parent), "__all__", []) if parent in names else []
        public = own(importlib.import_module(info.name))
        if public and not set(public) & set(exported):
            found.append(info.name)
    return found


def test_every_public_module_stands_on_a_page_once(root):
    names = listed(root)
    assert missing(names) == [] and len(names) == len(set(names))


@pytest.mark.parametrize("module", ["dlopt.data", "dlopt.distributed.cost", "dlopt.schedules", "dlopt.homework.leaks"])
def test_a_module_that_is_left_out_is_found(root, module):
    assert any(name.startswith(module) for name in missing([name for name in listed(root) if name != module]))


def test_what_stands_on_a_page_exists_and_internal_pieces_are_there_too(root):
    for name in [*listed(root), *INTERNAL]:
        assert importlib.import_module(name).__doc__, name


def test_every_page_of_the_library_is_in_the_book(root):
    toc = (root / "_toc.yml").read_text()
    assert [p.stem for p in (root / "chapters").glob("api*.md") if f"chapters/{p.stem}\n" not in toc] == []
