"""``race``: tune every entry with the same budget, run the chosen rates on fresh seeds, compare in pairs."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlopt.checks import one_of, positive, whole
from dlopt.ensemble import Ensemble, sweep
from dlopt.optimizers import Optimizer
from dlopt.race.result import EntryResult, RaceResult
from dlopt.rules import RULES, hyperparameters
from dlopt.scale import seeds as book_seeds
from dlopt.training import train

ALL = "all entries"
MOST_EXTENSIONS = 4  # times the grid is extended before an optimum on its edge is reported as such
TIMED_STEPS, TIMED_ROUNDS = 30, 3


@dataclass
class Entry:
    """One contestant.

    Args:
        rule: a rule or its name.
        lr: the learning rates to try, all > 0; None: seven, half a decade apart, around the rule's default.
        hyper: other hyper-parameters of the rule, ``weight_decay``, ``l2``; held fixed.
        schedule: ``f(t)``, factor on the learning rate.
        clip_norm: longest gradient.
    """

    rule: Callable | str
    lr: list | None = None
    hyper: dict = field(default_factory=dict)
    schedule: Callable | None = None
    clip_norm: float | None = None

    def __post_init__(self):
        self.rule = RULES[one_of("rule", self.rule, RULES)] if isinstance(self.rule, str) else self.rule
        default = hyperparameters(self.rule)["lr"]
        half_decades = [_short(default * 10 ** (k / 2)) for k in range(-3, 4)]
        rates = half_decades if self.lr is None else self.lr
        self.lr = sorted(float(positive("each of lr", rate)) for rate in rates)
        if len(set(self.lr)) != len(self.lr) or len(self.lr) < 3:
            raise ValueError(f"lr must hold at least three different rates, got {self.lr}")

    def beyond(self, rates, edge):
        """Two more rates on an edge of ``rates``, spaced as the grid is there."""
        rates = sorted(rates)
        if edge == "low":
            ratio = rates[0] / rates[1]
            return [_short(rates[0] * ratio**2), _short(rates[0] * ratio)]
        ratio = rates[-1] / rates[-2]
        return [_short(rates[-1] * ratio), _short(rates[-1] * ratio**2)]


def race(entries, make_model, data, *, loss, steps=None, epochs=None, batch_size=32, select="val_loss", metric=None,
         reference=None, target=None, tuning_seeds=3, seeds=10, evaluate_every=None, metrics=None, level=0.95,
         device=None, path=None, progress=False):  # fmt: skip
    """Compare update rules by one protocol.

    1. Every entry tries its grid of learning rates, all grids equally long, each rate with the same tuning seeds.
    2. The rate with the best mean of ``select`` at the end of the runs is chosen, on the validation split. A choice on
       the edge of the grid extends the grid there, until it lies inside (or four times; then it is reported).
    3. Every entry runs at its chosen rate with the same fresh seeds, none of which was used in tuning.
    4. The test split is looked at for the first time. Differences to the reference are taken seed by seed, with
       bootstrap intervals at a level shared out among the comparisons. What an interval cannot tell apart is a tie.

    A rule of one's own enters like any other::

        from dlopt import data, losses, models, race, rules

        @rules.rule
        def sign_momentum(g, m, *, t, lr=1e-3, beta=0.9):
            m = beta * m + (1 - beta) * g
            return -lr * m.sign(), m

        entries = {"mine": sign_momentum, "adam": "adam"}
        result = race.race(entries, lambda seed: models.mlp([64, 32, 10], seed=seed), data.digits(),
                           loss=losses.cross_entropy, steps=200)
        print(result.table())

    Args:
        entries: name -> :class:`Entry`, rule, or name of a rule; at least two.
        make_model: ``make_model(seed=...)`` -> ``nn.Module``.
        data: ``Dataset`` with its three splits.
        loss: ``loss(prediction, target)``, a mean over examples.
        steps, epochs, batch_size, evaluate_every, metrics, device: of every run, as in ``train``.
        select: evaluation on the validation split by which rates are chosen.
        metric: evaluation on the test split that is compared; None: ``test_accuracy`` for classes, else ``test_loss``.
        reference: name of the entry the others are compared with; None: the first.
        target: ``(evaluation, value)`` for steps and seconds to target; None: the median final ``val_loss`` of the
            reference.
        tuning_seeds: how many seeds, or the seeds, for tuning (>= 1).
        seeds: how many fresh seeds, or the seeds, for the comparison (>= 5).
        level: confidence of all comparisons together.
        path: file to keep results in, written after every entry; a race with the same settings goes on from it.
        progress: show a bar.

    Returns:
        :class:`RaceResult`; ``print(result.table())``.

    Raises:
        ValueError: fewer than two entries, grids of different length, fewer than five fresh seeds, seeds shared by
            tuning and comparison, unknown names, every rate of an entry diverges, ``path`` holds another race.
    """
    entries = {name: entry if isinstance(entry, Entry) else Entry(entry) for name, entry in entries.items()}
    tuning, fresh = _seed_lists(tuning_seeds, seeds)
    _check_entries(entries)
    reference = next(iter(entries)) if reference is None else one_of("reference", reference, entries)
    names = ["loss", *(metrics if metrics is not None else ["accuracy"] if data.n_classes else [])]
    one_of("select", select, [f"val_{name}" for name in names])
    tested = [f"test_{name}" for name in names]
    metric = one_of("metric", metric or ("test_accuracy" if "test_accuracy" in tested else "test_loss"), tested)
    if target is not None:
        one_of("target", target[0], [*(f"val_{name}" for name in names), *tested])
    run = {"steps": steps, "epochs": epochs, "batch_size": batch_size, "evaluate_every": evaluate_every,
           "metrics": metrics}  # fmt: skip
    contest = _Contest(make_model, data, loss, run, select, tuning, fresh, device)
    store = _Store(path, contest.settings(entries))
    with tqdm(total=2 * len(entries) + 1, disable=not progress, unit="stage", leave=False) as bar:
        for name, entry in entries.items():
            bar.set_postfix_str(name)
            store.ensure(name, "tuning", lambda entry=entry: contest.tune(entry))
            bar.update()
            store.ensure(name, "runs", lambda name=name, entry=entry: contest.run_fresh(entry, store[name]["tuning"]))
            bar.update()
        chosen = {name: (entry, store[name]["tuning"]["lr"]) for name, entry in entries.items()}
        store.ensure(ALL, "seconds", lambda: contest.time(chosen))
        bar.update()
    seconds = store[ALL]["seconds"]
    results = {name: _result(name, entry, store[name], seconds[name]) for name, entry in entries.items()}
    target = target or ("val_loss", float(np.median(results[reference].final("val_loss"))))
    return RaceResult(results, reference, metric, tuple(target), level, fresh, store.settings)


def tune(costs_of, entry):
    """The race's choice of a learning rate, for runs that :func:`race` cannot make (a rate that follows the loss).

    Args:
        costs_of: ``costs_of(rates)`` -> dict rate -> cost on validation data, lower is better.
        entry: :class:`Entry` with the grid, which is extended while the best rate lies on its edge, four times at most.

    Returns:
        Dict: ``rates`` tried, their ``costs``, the chosen ``lr``, its ``edge`` (or None), ``extensions``.

    Raises:
        ValueError: every rate has an infinite cost.
    """
    costs, new, edge = {}, entry.lr, None
    for extension in range(MOST_EXTENSIONS + 1):
        costs |= costs_of(new)
        rates = sorted(costs)
        best = min(rates, key=costs.get)
        edge = "low" if best == rates[0] else "high" if best == rates[-1] else None
        if edge is None or extension == MOST_EXTENSIONS:
            break
        new = entry.beyond(rates, edge)
    if not np.isfinite(costs[best]):
        raise ValueError(
            f"{entry.rule.__name__} diverged at every rate tried, {rates[0]:.3g} ... {rates[-1]:.3g}; "
            "give lower ones in Entry(lr=...)"
        )
    return {"rates": rates, "costs": [costs[r] for r in rates], "lr": best, "edge": edge,
            "extensions": len(rates) - len(entry.lr)}  # fmt: skip


def _short(rate):
    return float(f"{rate:.3g}")


def _seed_lists(tuning_seeds, seeds):
    """Two disjoint lists of seeds."""
    fixed = list(tuning_seeds) if not isinstance(tuning_seeds, int) else book_seeds(whole("tuning_seeds", tuning_seeds))
    fresh = list(seeds) if not isinstance(seeds, int) else book_seeds(whole("seeds", seeds), start=1000)
    if not fixed or len(set(fresh)) < 5:
        raise ValueError(f"a race needs >= 1 tuning seed and >= 5 fresh ones, got {len(fixed)} and {len(set(fresh))}")
    if shared := sorted(set(fixed) & set(fresh)):
        raise ValueError(f"fresh seeds must not have been used in tuning, got {shared} in both")
    return fixed, fresh


def _check_entries(entries):
    if ALL in entries:
        raise ValueError(f"an entry must have another name than {ALL!r}")
    if len(entries) < 2:
        raise ValueError(f"a race needs at least two entries, got {len(entries)}")
    lengths = {name: len(entry.lr) for name, entry in entries.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"every entry must try equally many rates, got {lengths}")


class _Contest:
    """What all entries have in common."""

    def __init__(self, make_model, data, loss, run, select, tuning, fresh, device):
        self.make_model, self.data, self.loss, self.run, self.select = make_model, data, loss, run, select
        self.tuning, self.fresh, self.device = tuning, fresh, device

    def settings(self, entries):
        """All that decides the result, as plain values: to recognize a file of the same race."""
        sizes = [len(self.data.y_train), len(self.data.y_val), len(self.data.y_test)]
        return {
            "entries": {name: _plain(vars(entry)) for name, entry in entries.items()},
            "data": f"{self.data.name} {sizes}", "loss": _plain(self.loss), "run": _plain(self.run),
            "select": self.select, "tuning seeds": self.tuning, "fresh seeds": self.fresh,
            "parameters": [[name, list(p.shape)] for name, p in self.make_model(seed=self.fresh[0]).named_parameters()],
        }  # fmt: skip

    def tune(self, entry):
        """Cost of every rate tried, and the choice."""
        return tune(lambda rates: self._costs(entry, rates), entry)

    def _costs(self, entry, rates):
        found = sweep(self.make_model, self.data, entry.rule, grid={"lr": rates}, seeds=self.tuning, hyper=entry.hyper,
                      loss=self.loss, schedule=entry.schedule, clip_norm=entry.clip_norm, device=self.device,
                      **self.run)  # fmt: skip
        return dict(zip(rates, found.scores(self.select).tolist()))

    def run_fresh(self, entry, tuned):
        """Curves of the chosen rate on the fresh seeds."""
        hyper = {**entry.hyper, "lr": tuned["lr"]}
        ensemble = Ensemble(self.make_model, seeds=self.fresh, rule=entry.rule, hyper=hyper, loss=self.loss,
                            clip_norm=entry.clip_norm, device=self.device)  # fmt: skip
        history = ensemble.train(self.data, schedule=entry.schedule, evaluate_on=("val", "test"), **self.run)
        return {
            "eval_step": history.eval_step.tolist(),
            "evaluations": {name: values.tolist() for name, values in history.evaluations.items()},
            "diverged": history.diverged.tolist(),
        }

    def time(self, entries):
        """Seconds per update of a single model, entries taking turns; the least of several rounds, by name."""
        best = dict.fromkeys(entries, float("inf"))
        for _ in range(TIMED_ROUNDS):
            for name, (entry, lr) in entries.items():
                history = train(
                    self.make_model(seed=self.fresh[0]), self.data.train, loss=self.loss, steps=TIMED_STEPS,
                    optimizer=lambda p, entry=entry, lr=lr: Optimizer(p, entry.rule, lr, **entry.hyper),
                    batch_size=self.run["batch_size"], clip_norm=entry.clip_norm, device=self.device, nonfinite="stop",
                )  # fmt: skip
                if history.steps:
                    best[name] = min(best[name], float(np.median(np.diff(history.seconds, prepend=0))))
        return best


class _Store:
    """Results by entry and stage, kept in a file if there is one."""

    def __init__(self, path, settings):
        self.path, self.settings = None if path is None else Path(path), settings
        self.stages = {}
        if self.path is not None and self.path.exists():
            try:
                saved = json.loads(self.path.read_text())
                self.stages, there = saved["stages"], saved["settings"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.path} must hold a race, it does not ({error}); use another path") from None
            for name, mine in json.loads(json.dumps(settings)).items():
                if there.get(name) != mine:
                    raise ValueError(
                        f"{self.path} holds a race with other {name} ({there.get(name)}, here {mine}); use another path"
                    )

    def __getitem__(self, name):
        return self.stages[name]

    def ensure(self, name, stage, make):
        """The result of a stage: as saved, else made and saved."""
        have = self.stages.setdefault(name, {})
        if stage not in have:
            have[stage] = make()
            self._save()

    def _save(self):
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps({"settings": self.settings, "stages": self.stages}))
        os.replace(part, self.path)  # the file is always whole


def _plain(value):
    """Plain values; functions by name."""
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return getattr(value, "__qualname__", repr(value)) if callable(value) else value


def _result(name, entry, stages, seconds):
    tuned, runs = stages["tuning"], stages["runs"]
    return EntryResult(
        name, entry.rule.__name__, dict(zip(tuned["rates"], tuned["costs"])), tuned["lr"], tuned["edge"],
        tuned["extensions"], np.array(runs["eval_step"], dtype=int),
        {key: np.array(values) for key, values in runs["evaluations"].items()}, np.array(runs["diverged"]), seconds,
    )  # fmt: skip
