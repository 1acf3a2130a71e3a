"""The registry of items: everything the five sources teach (S1 to S79) and everything they get wrong (E1 to E44)."""

import tomllib
from dataclasses import dataclass
from importlib import resources

SOURCES = {
    "A": "Jung, Optimization on deep learning (survey)",
    "B": "Petersen, Optimization in deep learning (lecture, Copenhagen)",
    "C": "Tiwari, CS F425 lecture 14: Optimizations for neural networks (BITS Pilani)",
    "D": "A summary of novel optimization techniques (KAIST)",
    "E": "Deep Learning 1, lecture 4: Optimization, part 2 (TU Berlin)",
}


@dataclass(frozen=True)
class Item:
    """One line of the inventory.

    Attributes:
        id: ``"S1"`` to ``"S79"`` for what is taught, ``"E1"`` to ``"E44"`` for errata.
        topic: the heading under which the ledger lists it.
        sources: letters of the sources that say it, e.g. ``"AC"`` (keys of `SOURCES`).
        chapter: file stem of the chapter that owns it.
        statement: what the sources say; this is what a verdict judges.
        correction: what is right instead (errata only, else "").
    """

    id: str
    topic: str
    sources: str
    chapter: str
    statement: str
    correction: str = ""


def _read():
    table = tomllib.loads(resources.files("dlopt.claims").joinpath("items.toml").read_text(encoding="utf-8"))
    return {id: Item(id=id, **fields) for id, fields in table.items()}


ITEMS = _read()
