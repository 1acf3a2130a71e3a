"""The result of a race: who got where when, and which differences the intervals bear out."""

import math

from dlopt.plotting.lines import curves
from dlopt.plotting.style import color, label_lines, subplots

VERDICT_COLORS = {"better": "green", "worse": "vermillion", "tie": "gray", "diverged": "black"}


def race(result, ax=None, *, metric="val_loss", log=True):
    """Two panels: curves of the fresh runs with their bands, and paired differences to the reference with intervals.

    Args:
        result: a ``dlopt.race.RaceResult``.
        ax: two axes, for the curves and for the differences; a new figure if None.
        metric: evaluation shown in the curves.
        log: logarithmic vertical axis of the curves.

    Returns:
        The two axes. In the right one an interval that touches the line at 0 belongs to a tie; color and label both
        say the verdict.
    """
    left, right = subplots(1, 2)[1] if ax is None else ax
    _curves(result, left, metric, log)
    others = [name for name in result.entries if name != result.reference]
    for place, name in enumerate(reversed(others)):
        interval, verdict = result.difference(name), result.verdict(name)
        shade = color(VERDICT_COLORS[verdict])
        if not math.isnan(interval.mean):
            right.plot([interval.low, interval.high], [place, place], color=shade, linewidth=2)
            right.plot([interval.mean], [place], marker="o", color=shade)
        right.annotate(verdict, (1, place), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center",
                       textcoords="offset points", color=shade, fontsize=9)  # fmt: skip
    right.axvline(0, color=color("black"), linewidth=1)
    right.set_yticks(range(len(others)), list(reversed(others)))
    right.set_ylim(-0.6, len(others) - 0.4)
    right.set_xlabel(f"{result.metric.replace('_', ' ')}, difference to {result.reference}")
    return left, right


def _curves(result, ax, metric, log):
    for i, (name, entry) in enumerate(result.entries.items()):
        finite = entry.evaluations[metric][~entry.diverged]
        if len(finite):
            curves(entry.eval_step, {name: finite}, ax=ax, start=i, log=log, ylabel=metric.replace("_", " "))
    label_lines(ax)
