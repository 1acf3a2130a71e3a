"""The twelve contestants of the book's races: their rules, their settings, and where their rates are searched."""

from dataclasses import dataclass, field

import numpy as np

from dlopt.checks import one_of
from dlopt.race.protocol import Entry
from dlopt.rules import adam, muon, rule


@rule(elementwise=False, any_shape=True)
def muon_adam(g, m, v, *, t, lr=1e-3):
    r"""Muon for matrices and convolutions, Adam for vectors; Muon's steps are as long as Adam's: one rate serves both.

    .. math:: \Delta_t = \begin{cases} \text{muon}(g_t), \text{ as long as Adam's} & g_t \text{ a matrix or a kernel}\\
              \text{adam}(g_t) & g_t \text{ a vector or a number} \end{cases}

    Args:
        g: gradient of one parameter, any shape; ``m``, ``v`` have the same shape and start at zero.
        t: step count, from 1.
        lr: step size, as Adam's.

    Returns:
        The step to add, and the new ``m`` and ``v`` (``v`` unused by Muon).

    Source: Jordan et al. (2024); the length of the steps: Liu et al. (2025), arXiv:2502.16982.
    """
    if g.dim() < 2:
        return adam(g, m, v, t=t, lr=lr)
    step, m = muon(g, m, t=t, lr=lr, length="adam")
    return step, m, v


@dataclass(frozen=True)
class Contestant:
    """A rule at its defaults, but for ``hyper``; ``lr`` is the rate around which its own is searched."""

    rule: object
    lr: float = 0.01
    hyper: dict = field(default_factory=dict)

    def rates(self, below, above, per_decade):
        """Rates from ``below`` decades under ``lr`` to ``above`` decades over it, spaced alike."""
        return list(self.lr * 10 ** (np.arange(-round(below * per_decade), round(above * per_decade) + 1) / per_decade))


TWELVE = {
    "Adam": Contestant("adam"), "SGD": Contestant("sgd", 1.0), "momentum": Contestant("momentum", 0.1),
    "Nesterov": Contestant("nesterov", 0.1), "AdaGrad": Contestant("adagrad", 0.1), "RMSProp": Contestant("rmsprop"),
    "AdaDelta": Contestant("adadelta", 10.0), "NAdam": Contestant("nadam"), "RAdam": Contestant("radam"),
    "AdamW": Contestant("adamw", hyper={"weight_decay": 0.1}), "Lion": Contestant("lion", 1e-3),
    "Muon": Contestant(muon_adam),
}  # fmt: skip
"""Name -> :class:`Contestant`."""

GRID = (0.1, 0.3, 1, 3)  # times Contestant.lr: four rates, half a decade apart


def entries(*names):
    """Entries of a race: the named contestants of ``TWELVE`` (default: all), each with four rates half a decade apart.

    Raises:
        ValueError: a name that is not in ``TWELVE``.
    """
    chosen = {one_of("name", name, TWELVE): TWELVE[name] for name in names or TWELVE}
    return {name: Entry(c.rule, lr=[c.lr * f for f in GRID], hyper=dict(c.hyper)) for name, c in chosen.items()}


def places(result, metric=None, evaluation=-1, among=None, of=None):
    """The reference's place among the entries, seed by seed: 1 if no other has a smaller value.

    Args:
        result: a ``RaceResult``.
        metric: a loss, of the fresh runs; None: the race's own.
        evaluation: which evaluation, as an index; -1 is the end of the runs.
        among: names of the entries it is compared with; None: all.
        of: whose place; None: the reference's.

    Returns:
        [S] floats, 1 ... number of rivals + 1; a rival with the same value counts half a place, one that diverged none.

    Raises:
        ValueError: unknown names, or a metric that is not a loss.
    """
    metric = metric or result.metric
    if not metric.endswith("loss"):
        raise ValueError(f"metric must be a loss, of which less is better, got {metric!r}")
    of = one_of("of", of or result.reference, result.entries)
    rivals = [one_of("among", name, result.entries) for name in among or result.entries if name != of]
    ours = result.entries[of].evaluations[metric][:, evaluation]
    theirs = np.array([result.entries[name].evaluations[metric][:, evaluation] for name in rivals])
    return 1 + (theirs < ours).sum(0) + 0.5 * (theirs == ours).sum(0)
