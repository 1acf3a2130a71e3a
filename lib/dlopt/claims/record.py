"""`claim`: assert a verdict where its numbers were computed, show it in a box, record it for the ledger."""

import math
import sys
from dataclasses import asdict, dataclass

from dlopt.checks import finite, one_of, whole
from dlopt.claims.box import as_html, as_text, format_interval
from dlopt.claims.items import ITEMS
from dlopt.scale import base_seed, scale

MIME = "application/vnd.dlopt.claim+json"
VERDICTS = ("holds", "holds with limits", "does not show at this scale", "false")

_RECORDED = {}  # (item, part) -> (the cell that recorded it, the claim)


@dataclass(frozen=True)
class Claim:
    """A verdict with the numbers it rests on; displays itself as a box and carries itself as JSON for the ledger.

    Attributes:
        item, part: the item of `ITEMS` and, where several experiments speak to it, which of them (else None).
        verdict: one of `VERDICTS`.
        effect, low, high, unit: the measured effect and its interval, in ``unit`` ("" for a pure number).
        n: number of independent runs (or other independent values) behind the interval.
        note: one sentence of context or limits.
        seed, scale: ``DLOPT_SEED`` and ``DLOPT_SCALE`` of the run.
    """

    item: str
    part: str | None
    verdict: str
    effect: float
    low: float
    high: float
    n: int
    unit: str
    note: str
    seed: int
    scale: str

    @property
    def interval(self):
        """``(low, high)``."""
        return self.low, self.high

    def to_json(self):
        """A dictionary of plain values: the fields, with ``interval: [low, high]``."""
        fields = asdict(self)
        return fields | {"interval": [fields.pop("low"), fields.pop("high")]}

    def __str__(self):
        return as_text(self)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": as_text(self), "text/html": as_html(self), MIME: self.to_json()}


def claim(item, verdict, *, supported, effect, interval, n, unit="", note="", part=None):
    """Assert that the run supports a verdict on an item of the sources, and record it.

    Must be the last expression of its cell, one claim to a cell: the cell's output is what the ledger reads. The
    verdict judges the item's ``statement``, i.e. what the sources say; an erratum that a run confirms is therefore
    "false" (or "holds with limits"), and its correction is what the run supports.

    Args:
        item: id in `ITEMS`, ``"S37"`` or ``"E11"``.
        verdict: ``"holds"``, ``"holds with limits"``, ``"does not show at this scale"`` or ``"false"``.
        supported: True if this run's numbers carry the verdict; a comparison on computed values, never a constant.
        effect: the number that answers the item's question.
        interval: ``(low, high)`` around it, or a `dlopt.statistics.Interval`; ``(effect, effect)`` for exact results.
        n: number of independent runs behind the interval, >= 1.
        unit: unit of the effect, e.g. ``"accuracy points"``.
        note: one sentence on the setting or the limits of the run.
        part: short label that tells several claims on one item apart.

    Returns:
        The recorded `Claim`.

    Raises:
        AssertionError: ``supported`` is False; shows the numbers. Nothing is recorded.
        KeyError: no such item.
        ValueError: unknown verdict, an interval that is not finite, is reversed or misses the effect, n < 1, or the
            same item and part recorded by another cell of this session.
        TypeError: ``supported`` is not a single truth value.
    """
    if item not in ITEMS:
        raise KeyError(f"item must be S1 to S79 or E1 to E44, got {item!r}")
    one_of("verdict", verdict, VERDICTS)
    if part is not None and not (isinstance(part, str) and part.strip()):
        raise ValueError(f"part must be None or a short label, got {part!r}")
    low, high = _bounds(interval)
    effect = finite("effect", float(effect))
    if low > high:
        raise ValueError(f"interval must be (low, high) with low <= high, got ({low:g}, {high:g})")
    slack = 1e-9 * max(abs(low), abs(high), abs(effect))  # a mean of equal values may miss its interval by rounding
    if not low - slack <= effect <= high + slack:
        raise ValueError(f"interval must contain the effect, got {effect:g} outside [{low:g}, {high:g}]")
    made = Claim(item, part, verdict, effect, low, high, whole("n", n), unit, note, base_seed(), scale())
    if not _truth(supported):
        raise AssertionError(f"{_name(item, part)}: this run does not support the verdict {verdict!r}: effect "
                             f"{format_interval(effect, low, high, unit)}, n = {made.n}, DLOPT_SEED={made.seed}")
    _record(made)
    return made


def recorded():
    """The claims recorded in this session, in order."""
    return [made for _, made in _RECORDED.values()]


def forget():
    """Forget what was recorded in this session (for tests, or after moving a claim to another cell)."""
    _RECORDED.clear()


def _bounds(interval):
    ends = getattr(interval, "bounds", interval)
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise ValueError(f"interval must be (low, high) or a statistics.Interval, got {interval!r}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"interval must be finite, got ({low}, {high})")
    return low, high


def _truth(supported):
    try:
        value = supported.item() if hasattr(supported, "item") else supported
    except (ValueError, RuntimeError):  # an array of several values
        value = None
    if not isinstance(value, bool):
        raise TypeError(f"supported must be a single True or False computed from the run, got {supported!r}")
    return value


def _name(item, part):
    return item if part is None else f"{item} ({part})"


def _record(made):
    key, cell = (made.item, made.part), _current_cell()
    if key in _RECORDED and (cell is None or _RECORDED[key][0] != cell):
        raise ValueError(f"{_name(*key)} is already recorded by another cell; give part=... to tell two experiments "
                         "apart, or restart the kernel if the claim was moved")
    _RECORDED[key] = cell, made


def _current_cell():
    """What identifies the running cell, or None outside IPython.

    JupyterLab and VS Code send the cell's id with its code, so an edited cell that is run again is still the same cell.
    Without an id (nbval, nbclient, a console) the code itself stands in for it.
    """
    ipython = sys.modules.get("IPython")  # never imported here: claims also run where IPython is not installed
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return None
    request = getattr(shell, "parent_header", None) or {}
    cell_id = (request.get("metadata") or {}).get("cellId")
    if cell_id:
        return "id", cell_id
    return "code", (request.get("content") or {}).get("code") or shell.user_ns.get("_ih", [""])[-1]
