"""A fair comparison on the virtual clock: one grid of rates, equal time, fresh seeds at each method's best rate."""

from dataclasses import dataclass, field

import numpy as np

from dlopt.checks import one_of
from dlopt.distributed.replay import replay_asynchronous, replay_local, replay_synchronous, time_to
from dlopt.distributed.simulate import DIRECT, asynchronous, local, synchronous

KINDS = ("sync", "async", "local")


@dataclass(frozen=True)
class Method:
    """A way to use M workers.

    Attributes:
        kind: ``"sync"``, ``"async"`` or ``"local"``.
        trace: options of the trace: ``backups``, ``bound``, ``local_steps``.
        replay: options of the replay: ``rate``, ``compensation``, ``momentum``.
    """

    kind: str = "sync"
    trace: dict = field(default_factory=dict)
    replay: dict = field(default_factory=dict)

    def __post_init__(self):
        one_of("kind", self.kind, KINDS)

    def losses(self, problem, law, workers, lr, *, batch_size, seed, times, level=None,
               link=DIRECT):
        """The objective at virtual ``times`` [C] for rates ``lr`` [G], shape [G, C]; ``level`` as in the replay."""
        make = {"sync": synchronous, "async": asynchronous, "local": local}[self.kind]
        replay = {"sync": replay_synchronous, "async": replay_asynchronous, "local": replay_local}[self.kind]
        trace = make(law, workers, until=times[-1], seed=seed, link=link, **self.trace)
        shared = {"local_steps": self.trace["local_steps"]} if self.kind == "local" else {}
        options = {"seed": seed, "times": times, "level": level, **shared, **self.replay}
        return replay(problem, trace, lr, batch_size=batch_size, **options)


@dataclass(frozen=True)
class Tuned:
    """A method at its best rate.

    Attributes:
        lr: the rate with the least time on the tuning seeds.
        grid: every rate that was tried.
        tuning: mean time to the level on the tuning seeds, by rate.
        times: time to the level on each fresh seed, [S]; inf where it was not reached.
    """

    lr: float
    grid: np.ndarray
    tuning: np.ndarray
    times: np.ndarray

    @property
    def on_edge(self):
        """Whether the best rate is the smallest or the largest of the grid."""
        return self.lr in (self.grid[0], self.grid[-1])


def tuned_times(problem, law, workers, methods, *, lr, level, batch_size, tuning_seeds, seeds, times, link=DIRECT,
                extend=4):
    """Time to a level of the objective for each method, at its own best rate.

    All methods get the same grid, the same virtual time and the same seeds; a best rate on the grid's edge extends the
    grid by one rate, up to ``extend`` times.

    Args:
        problem: as in :mod:`dlopt.distributed.replay`.
        law, workers, link: of the virtual cluster.
        methods: ``{name: Method}``.
        lr: [G], a geometric grid.
        level: of the objective.
        batch_size: B of each worker.
        tuning_seeds, seeds: disjoint; the first choose the rate, the second are reported.
        times: [C] times at which the objective is looked at; the last is everybody's budget.

    Returns:
        ``{name: Tuned}``.

    Raises:
        ValueError: the two lists of seeds overlap.
    """
    if shared := set(tuning_seeds) & set(seeds):
        raise ValueError(f"tuning_seeds and seeds must be disjoint, both hold {sorted(shared)}")
    settings = {"batch_size": batch_size, "times": times, "level": level, "link": link}

    def score(method, rates, seed):
        return time_to(method.losses(problem, law, workers, rates, seed=seed, **settings), times, level)

    found = {}
    for name, method in methods.items():
        grid = np.asarray(lr, dtype=float)
        tuning = np.mean([score(method, grid, seed) for seed in tuning_seeds], 0)
        for _ in range(extend):
            best = int(np.argmin(tuning))
            if not np.isfinite(tuning[best]) or 0 < best < len(grid) - 1:
                break
            new = grid[0] ** 2 / grid[1] if best == 0 else grid[-1] ** 2 / grid[-2]
            score_new = np.mean([score(method, [new], seed)[0] for seed in tuning_seeds])
            at = 0 if best == 0 else len(grid)
            grid, tuning = np.insert(grid, at, new), np.insert(tuning, at, score_new)
        rate = float(grid[np.argmin(tuning)])
        found[name] = Tuned(rate, grid, tuning, np.array([score(method, [rate], seed)[0] for seed in seeds]))
    return found
