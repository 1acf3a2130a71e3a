"""``sweep``: a grid of hyper-parameters, each point over several seeds, in one run."""

import itertools
from dataclasses import dataclass, field

import numpy as np

from dlopt.checks import one_of
from dlopt.ensemble.engine import Ensemble
from dlopt.scale import seeds as default_seeds


@dataclass
class Sweep:
    """The result of a sweep; G grid points, S seeds, T updates, E evaluations.

    Attributes:
        grid: name -> values, as given.
        points: the G combinations, dicts name -> value; the last name of ``grid`` varies fastest.
        seeds: the S seeds.
        loss: mini-batch loss before each update, [G, S, T].
        eval_step: updates done at each evaluation, [E].
        evaluations: name -> [G, S, E]: ``val_loss``, ``val_accuracy``, ...
        seconds: wall-clock time for all G * S runs together, evaluation left out.
    """

    grid: dict
    points: list
    seeds: list
    loss: np.ndarray
    eval_step: np.ndarray
    evaluations: dict = field(default_factory=dict)
    seconds: float = 0.0

    def __getitem__(self, name):
        """``sweep["loss"]`` [G, S, T], ``sweep["val_accuracy"]`` [G, S, E]."""
        return self.loss if name == "loss" else self.evaluations[one_of("curve", name, self.evaluations)]

    @property
    def diverged(self):
        """Which runs' loss became nan or infinite, [G, S]."""
        return ~np.isfinite(self.loss).all(axis=2)

    def final(self, name):
        """Last value of a curve, [G, S]; ``"loss"`` is the mean over the last tenth of the updates."""
        values = self[name]
        return values[..., -max(1, values.shape[2] // 10) :].mean(2) if name == "loss" else values[..., -1]

    def scores(self, metric="val_loss"):
        """Mean over seeds of the last value, [G], as a cost: lower is better, a diverged run makes it infinite."""
        values = self.final(metric)
        cost = values if metric.endswith("loss") else -values
        return np.where(np.isfinite(cost).all(1) & ~self.diverged.any(1), np.nan_to_num(cost).mean(1), np.inf)

    def best(self, metric="val_loss"):
        """The grid point with the best mean over seeds, chosen on the validation split.

        Args:
            metric: a curve; names that end in ``loss`` are minimized, others maximized.

        Returns:
            ``(index, point)``: position on the grid axis, and the dict of hyper-parameters.

        Raises:
            ValueError: unknown metric, or every point has a diverged run.
        """
        scores = self.scores(metric)
        if not np.isfinite(scores).any():
            raise ValueError("no grid point has all its runs finite; extend the grid to lower learning rates")
        index = int(np.argmin(scores))
        return index, self.points[index]

    def edge(self, metric="val_loss", name="lr"):
        """On which edge of the grid the optimum lies: ``"low"``, ``"high"``, or None if inside.

        An optimum on the edge says that the grid was too short, not where the optimum is. A grid of one value has no
        inside: the answer is ``"low"``.
        """
        values = sorted(set(self.grid[one_of("name", name, self.grid)]))
        best = self.best(metric)[1][name]
        return "low" if best == values[0] else "high" if best == values[-1] else None


def sweep(make_model, data, rule, *, grid, seeds=None, loss, steps=None, epochs=None, batch_size=32, schedule=None,
          evaluate_every=None, evaluate_on=("val",), metrics=None, hyper=None, clip_norm=None, device=None, chunk=None,
          compile=False, progress=False, replacement=False):  # fmt: skip
    """Train every combination of the grid with every seed, all at once.

    Args:
        make_model: ``make_model(seed=...)`` -> ``nn.Module``.
        data: ``Dataset`` or ``(x, y)``.
        rule: a rule or its name.
        grid: name -> list of values: hyper-parameters of the rule, ``weight_decay``, ``l2``.
        seeds: whole numbers, the same for every grid point; None: five, shifted by ``DLOPT_SEED``.
        hyper: hyper-parameters that all points share.
        loss, clip_norm, device, compile: as for :class:`Ensemble`.
        steps, epochs, batch_size, schedule, evaluate_every, evaluate_on: as for :meth:`Ensemble.train`.
        metrics, progress, replacement, chunk: as for :meth:`Ensemble.train`.

    Returns:
        :class:`Sweep`.

    Raises:
        ValueError: an empty grid, no seeds, a name both in ``grid`` and ``hyper``, and what ``Ensemble`` refuses.
    """
    seeds = default_seeds(5) if seeds is None else list(seeds)
    grid = {name: _values(name, values) for name, values in grid.items()}
    if not grid or not seeds:
        raise ValueError(f"grid and seeds must not be empty, got {len(grid)} names and {len(seeds)} seeds")
    if twice := set(grid) & set(hyper or {}):
        raise ValueError(f"{', '.join(twice)} must stand in grid or in hyper, got both")
    points = [dict(zip(grid, combination)) for combination in itertools.product(*grid.values())]
    columns = {name: [point[name] for point in points for _ in seeds] for name in grid}
    ensemble = Ensemble(make_model, seeds=seeds * len(points), rule=rule, hyper={**(hyper or {}), **columns}, loss=loss,
                        clip_norm=clip_norm, device=device, compile=compile)  # fmt: skip
    history = ensemble.train(data, steps=steps, epochs=epochs, batch_size=batch_size, schedule=schedule,
                             evaluate_every=evaluate_every, evaluate_on=evaluate_on, metrics=metrics, chunk=chunk,
                             progress=progress, replacement=replacement)  # fmt: skip
    shape = (len(points), len(seeds), -1)
    evaluations = {name: values.reshape(shape) for name, values in history.evaluations.items()}
    loss_array = history.loss.reshape(len(points), len(seeds), history.loss.shape[1])
    return Sweep(grid, points, seeds, loss_array, history.eval_step, evaluations, history.seconds)


def _values(name, values):
    values = list(values)
    if not values or len(set(values)) != len(values):
        raise ValueError(f"grid of {name} must hold different values, at least one, got {values}")
    return values
