"""Stochastic gradient descent where every answer is known: many independent chains on a noisy quadratic."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dlopt.checks import finite, non_negative, positive, whole
from dlopt.statistics import mean_interval


@dataclass(frozen=True)
class Chains:
    """What chains of noisy gradient descent did, one row a schedule.

    Attributes:
        steps: recorded step counts t, ascending, shape [R].
        values: x_t of every chain at those steps, shape [schedules, R, chains].
        decades: upper ends 10, 100, ... of the decades of t that were run, shape [D].
        largest: largest ``abs(x_t)`` of every chain within each decade, shape [schedules, D, chains].
        averages: the mean of x_1 ... x_t of every chain at the recorded steps, shape [schedules, R, chains].
    """

    steps: np.ndarray
    values: np.ndarray
    decades: np.ndarray
    largest: np.ndarray
    averages: np.ndarray

    @property
    def mean_square(self):
        """Average of x_t**2 over the chains, shape [schedules, R]."""
        return (self.values**2).mean(-1)


def run_chains(schedules, *, steps, chains, seed, curvature=1.0, noise=1.0, start=1.0, record=10,
               gradient=None):  # fmt: skip
    r"""Run :math:`x_t = x_{t-1} - \gamma_t\,(\lambda x_{t-1} + \sigma \xi_t)` with independent standard normal noise.

    Args:
        schedules: functions of t = 1, 2, ... that return the step size :math:`\gamma_t`; or arrays of length ``steps``.
        steps: number of steps, >= 10.
        chains: independent chains for each schedule. All schedules see the same noise, so that differences are paired.
        seed: seed of the noise.
        curvature: :math:`\lambda > 0`.
        noise: :math:`\sigma \ge 0`, standard deviation of the gradient.
        start: :math:`x_0`.
        record: how many steps are recorded in each decade, spaced evenly in log t.
        gradient: another gradient ``f'(x)``, elementwise on arrays, in place of :math:`\lambda x`.

    Returns:
        A :class:`Chains`.

    Raises:
        ValueError: an argument out of its range, or a step size that is negative or not finite.
    """
    steps, chains = whole("steps", steps, low=10), whole("chains", chains)
    positive("curvature", curvature), non_negative("noise", noise), finite("start", start)
    slope = gradient or (lambda x: curvature * x)
    rates = np.stack([step_sizes(schedule, steps) for schedule in schedules])
    recorded = np.unique(np.geomspace(1, steps, record * int(np.log10(steps)) + 1).round().astype(int))
    decades = 10 ** np.arange(1, int(np.log10(steps) + 1e-9) + 1)
    x, rng = np.full((len(rates), chains), float(start)), np.random.default_rng(seed)
    total, peak = np.zeros_like(x), np.zeros_like(x)
    values, largest, averages = [], [], []
    for t in range(1, steps + 1):
        if t % 1000 == 1:
            xi = noise * rng.standard_normal((min(1000, steps - t + 1), chains))
        x -= rates[:, t - 1, None] * (slope(x) + xi[(t - 1) % 1000])
        total += x
        np.maximum(peak, np.abs(x), out=peak)
        if t == recorded[len(values)]:
            values.append(x.copy())
            averages.append(total / t)
        if len(largest) < len(decades) and t == decades[len(largest)]:
            largest.append(peak)
            peak = np.zeros_like(x)
    return Chains(recorded, np.stack(values, 1), decades, np.stack(largest, 1), np.stack(averages, 1))


def step_sizes(schedule, steps):
    """The step sizes of t = 1..steps as an array, checked.

    Args:
        schedule: a function of t, or an array-like of length ``steps``.
        steps: number of steps.
    """
    rates = [schedule(t) for t in range(1, steps + 1)] if isinstance(schedule, Callable) else schedule
    rates = np.asarray(rates, dtype=float)
    if rates.shape != (steps,):
        raise ValueError(f"a schedule must give one step size for each of {steps} steps, got shape {rates.shape}")
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        bad = int(np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))[0])
        raise ValueError(f"step sizes must be finite and >= 0, got {rates[bad]} at t = {bad + 1}")
    return rates


def expected_square(schedule, *, steps, curvature=1.0, noise=1.0, start=1.0):
    r"""The exact :math:`\mathbb{E}\,x_t^2` for t = 1..steps, by its recursion.

    .. math:: \mathbb{E}\,x_t^2 = (1 - \gamma_t \lambda)^2\; \mathbb{E}\,x_{t-1}^2 + \gamma_t^2 \sigma^2

    Args:
        schedule, steps, curvature, noise, start: as in :func:`run_chains`.

    Returns:
        Array of shape [steps].
    """
    square, squares = float(start) ** 2, []
    for rate in step_sizes(schedule, steps):
        square = (1 - rate * curvature) ** 2 * square + (rate * noise) ** 2
        squares.append(square)
    return np.array(squares)


def decay_exponent(losses, steps, *, since, groups=10, level=0.95):
    r"""The exponent p of :math:`\mathbb{E}\,\ell_t \approx C\,t^{p}`, by least squares on logs, with its interval.

    Args:
        losses: values >= 0 of every chain at the recorded steps, shape [R, chains].
        steps: the recorded steps, [R].
        since: steps below this one are left out.
        groups: the chains are divided into this many groups; each gives one independent estimate.
        level: of the t interval over the groups.

    Returns:
        A ``statistics.Interval``.

    Raises:
        ValueError: fewer than two recorded steps are left, or a group's mean is not positive.
    """
    kept = np.asarray(steps) >= since
    if kept.sum() < 2:
        raise ValueError(f"at least two recorded steps must be >= since, got {int(kept.sum())} with since={since}")
    means = np.stack([part.mean(1) for part in np.array_split(np.asarray(losses)[kept], groups, axis=1)])
    if not (means > 0).all():
        raise ValueError("every group's mean loss must be > 0 to have a logarithm; use fewer groups or stop earlier")
    return mean_interval(np.polyfit(np.log(np.asarray(steps)[kept]), np.log(means).T, 1)[0], level)
