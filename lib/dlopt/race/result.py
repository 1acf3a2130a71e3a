"""What a race has found: per entry, and between entries."""

import math
from dataclasses import dataclass, field

import numpy as np

from dlopt.checks import one_of
from dlopt.statistics import Interval, mean_interval, paired_difference


@dataclass
class EntryResult:
    """One entry of a race; S fresh seeds, E evaluations.

    Attributes:
        name: the entry's name; rule: the name of its rule.
        tuning: learning rate -> mean over the tuning seeds of the selection metric, as a cost (lower is better,
            accuracies negated; infinite where a run diverged).
        lr: the rate chosen.
        edge: ``"low"`` or ``"high"`` if the chosen rate is still on the edge of the extended grid, else None.
        extensions: learning rates tried beyond the entry's own grid.
        eval_step: updates done at each evaluation, [E].
        evaluations: name -> values [S, E] of the fresh runs: ``val_loss``, ``test_accuracy``, ...
        diverged: which fresh runs diverged, [S].
        seconds_per_step: time of one update of a single model, the least of several interleaved rounds.
    """

    name: str
    rule: str
    tuning: dict
    lr: float
    edge: str | None
    extensions: int
    eval_step: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    evaluations: dict = field(default_factory=dict)
    diverged: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))
    seconds_per_step: float = math.nan

    def final(self, metric):
        """Value at the end of each fresh run, [S]."""
        return self.evaluations[one_of("metric", metric, self.evaluations)][:, -1]

    def steps_to(self, metric, target):
        """Updates until a curve first reaches the target, [S]; nan where it never does."""
        values = self.evaluations[one_of("metric", metric, self.evaluations)]
        reached = values <= target if metric.endswith("loss") else values >= target
        first = np.where(reached.any(1), self.eval_step[reached.argmax(1)], np.nan)
        return first.astype(float)


@dataclass
class RaceResult:
    """The result of :func:`dlopt.race.race`.

    Attributes:
        entries: name -> :class:`EntryResult`, in the order given.
        reference: the entry that all others are compared with.
        metric: what is compared, on the test split: ``test_loss``, ``test_accuracy``, ...
        target: ``(metric, value)`` of the steps-to-target columns.
        level: confidence of all comparisons together, in (0, 1).
        seeds: the fresh seeds, shared by all entries.
        settings: what was run, as text and numbers.
    """

    entries: dict
    reference: str
    metric: str
    target: tuple
    level: float
    seeds: list
    settings: dict = field(default_factory=dict)

    def difference(self, name, metric=None):
        """Paired difference of an entry to the reference over the fresh seeds, with its bootstrap interval.

        The level is shared out among the comparisons (Bonferroni): together they are right with probability ``level``.

        Returns:
            :class:`~dlopt.statistics.Interval`; nan where a run of either diverged.
        """
        metric = metric or self.metric
        one_of("name", name, self.entries)
        a, b = self.entries[name].final(metric), self.entries[self.reference].final(metric)
        if not np.isfinite(a - b).all():
            return Interval(math.nan, math.nan, math.nan, len(a), self._each_level())
        return paired_difference(a, b, self._each_level(), method="bootstrap")

    def verdict(self, name, metric=None):
        """``"reference"``, ``"diverged"``, ``"tie"``, ``"better"`` or ``"worse"`` than the reference.

        A difference counts if the bootstrap interval and Student's t interval both exclude 0: with few seeds the first
        alone is too sure of itself. All else is a tie.
        """
        metric = metric or self.metric
        if name == self.reference:
            return "reference"
        interval = self.difference(name, metric)
        if math.isnan(interval.mean):
            return "diverged"
        a, b = self.entries[name].final(metric), self.entries[self.reference].final(metric)
        if not (interval.excludes(0.0) and paired_difference(a, b, self._each_level()).excludes(0.0)):
            return "tie"
        return "better" if (interval.mean < 0) == metric.endswith("loss") else "worse"

    def _each_level(self):
        return 1 - (1 - self.level) / max(1, len(self.entries) - 1)

    def curves(self, name, metric="val_loss"):
        """``(steps, Interval of arrays)`` of an entry: the mean over seeds and its 95% band at each evaluation."""
        entry = self.entries[one_of("name", name, self.entries)]
        return entry.eval_step, mean_interval(entry.evaluations[one_of("metric", metric, entry.evaluations)])

    def rows(self):
        """One dict per entry: verdict, difference, test value, chosen rate, steps and seconds to target."""
        return [self._row(entry) for entry in self.entries.values()]

    def _row(self, entry):
        values = entry.final(self.metric)
        finite = np.isfinite(values).all()
        steps = entry.steps_to(*self.target)
        reached = int(np.isfinite(steps).sum())
        typical = float(np.quantile(np.where(np.isnan(steps), np.inf, steps), 0.5, method="lower"))
        return {
            "entry": entry.name,
            "verdict": self.verdict(entry.name),
            "difference": None if entry.name == self.reference else self.difference(entry.name),
            self.metric: mean_interval(values) if finite else None,
            "lr": entry.lr,
            "edge": entry.edge,
            "rates tried": len(entry.tuning),
            "steps to target": typical,
            "reached": f"{reached}/{len(steps)}",
            "seconds to target": typical * entry.seconds_per_step,
            "ms per step": 1e3 * entry.seconds_per_step,
        }

    def table(self, style="markdown"):
        """The result as ``"markdown"`` text, or as ``"rows"`` (list of dicts).

        ``steps to target`` is the median over seeds, the earlier of two; ``never`` where most runs do not reach it.
        The text has two significant digits of an interval's width, and a column ``edge`` only if a choice lies on one.
        """
        rows = self.rows()
        if one_of("style", style, ("markdown", "rows")) == "rows":
            return rows
        head = [name for name in rows[0] if name != "edge" or any(row["edge"] for row in rows)]
        titles = [name.replace("_", " ") for name in head]
        lines = [titles, ["---"] * len(head), *([_cell(row[name]) for name in head] for row in rows)]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

    def __str__(self):
        return self.table()


def _cell(value):
    if value is None:
        return "–"
    if isinstance(value, Interval):
        return "diverged" if math.isnan(value.mean) else _short(value)
    if isinstance(value, float):
        return "never" if math.isinf(value) else f"{value:.3g}"
    return str(value)


def _short(interval):
    """``0.018 [0.003, 0.031]``: two significant digits of the width; a line may break before the bracket only."""
    width = interval.high - interval.low
    decimals = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 4
    mean, low, high = (f"{x:.{decimals}f}".replace("-", "−") for x in interval)
    return f"{mean} [{low},\N{NO-BREAK SPACE}{high}]"
