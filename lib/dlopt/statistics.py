"""Intervals for what a handful of seeds can say: means, paired differences, proportions, slopes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from dlopt.checks import one_of, whole


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; unpacks as ``mean, low, high``.

    Args:
        mean: the estimate, in the units of the data (an array where the data had more than one axis).
        low, high: ends of the interval.
        n: number of independent values behind it.
        level: probability with which such intervals cover the true value, in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __iter__(self):
        return iter((self.mean, self.low, self.high))

    @property
    def bounds(self):
        """``(low, high)``."""
        return self.low, self.high

    @property
    def half_width(self):
        """Half the distance between the ends, the number behind a ± sign."""
        return (self.high - self.low) / 2

    def excludes(self, value=0.0):
        """Whether ``value`` lies outside the interval (elementwise where the interval is an array)."""
        outside = (np.asarray(value) < self.low) | (np.asarray(value) > self.high)
        return bool(outside) if np.ndim(outside) == 0 else outside

    def __str__(self):
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"


def mean_interval(x, level=0.95):
    r"""Mean of independent values with Student's t interval.

    .. math:: \bar x \pm t_{n-1,\,(1+\text{level})/2}\; \frac{s}{\sqrt n}, \qquad
              s^2 = \frac{1}{n-1}\sum_i (x_i - \bar x)^2

    Exact for normal values; with 5 seeds the factor in front of :math:`s/\sqrt n` is 2.78, not 1.96.

    Args:
        x: values, shape [n] or [n, ...]; the first axis runs over the independent repetitions (seeds). With more axes
            each column gets its own interval, as for a band around a loss curve.
        level: confidence, in (0, 1).

    Returns:
        An :class:`Interval` of floats for shape [n], of arrays of shape [...] otherwise.

    Raises:
        ValueError: fewer than two values, or one that is not finite.

    Source: Student (1908).
    """
    x = _sample("x", x, least=2)
    n = len(x)
    mean = x.mean(axis=0)
    half = stats.t.ppf((1 + _level(level)) / 2, n - 1) * x.std(axis=0, ddof=1) / np.sqrt(n)
    return _interval(mean, mean - half, mean + half, n, level)


def bootstrap_interval(x, statistic: Callable = np.mean, level=0.95, n_boot=10_000, seed=0, expand=True):
    r"""Interval of any statistic from its values on resamples of the data (percentile bootstrap).

    Draw n values with replacement ``n_boot`` times; the interval runs between two quantiles of the statistic. The plain
    percentiles :math:`\alpha/2,\ 1-\alpha/2` are too narrow for small n: with 5 values a "95%" interval covers the mean
    about 83% of the time. With ``expand`` the quantile is widened to

    .. math:: \alpha'/2 = \Phi\!\left(-\sqrt{n/(n-1)}\; t_{n-1,\,1-\alpha/2}\right)

    which gives Student's width where the values are normal and keeps the skewness that the data show.

    Args:
        x: values, shape [n] (n >= 2).
        statistic: maps a sample of shape [n] to a number; one that takes ``axis`` is called once on all resamples.
        level: confidence, in (0, 1).
        n_boot: number of resamples.
        seed: seed of the resampling: the same seed gives the same interval.
        expand: widen for small n (default); False gives the plain percentiles.

    Returns:
        An :class:`Interval` around ``statistic(x)``.

    Raises:
        ValueError: fewer than two values, one that is not finite, or ``n_boot`` < 1.

    Source: Efron (1979); the widened quantile: Hesterberg (2015), "What teachers should know about the bootstrap",
    arXiv:1411.5279.
    """
    x = _sample("x", x, least=2)
    if x.ndim != 1:
        raise ValueError(f"x must have one axis, got shape {x.shape}")
    n, tail = len(x), (1 - _level(level)) / 2
    if expand:
        tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(1 - tail, n - 1))
    draws = np.random.default_rng(seed).integers(n, size=(whole("n_boot", n_boot), n))
    low, high = np.quantile(_on_rows(statistic, x[draws]), [tail, 1 - tail])
    return _interval(statistic(x), low, high, n, level)


def paired_difference(a, b, level=0.95, method="t", n_boot=10_000, seed=0):
    r"""Mean of ``a - b`` over pairs that share what disturbs both (seed, split), with its interval.

    Pairing removes the part of the spread that the two arms have in common:
    :math:`\operatorname{var}(a-b) = \operatorname{var} a + \operatorname{var} b - 2\operatorname{cov}(a,b)`.

    Args:
        a, b: values of the two arms, shape [n]; entry i of both comes from the same seed.
        level: confidence, in (0, 1).
        method: ``"t"`` (Student's t on the differences) or ``"bootstrap"`` (:func:`bootstrap_interval` of their mean).
        n_boot, seed: of the bootstrap.

    Returns:
        An :class:`Interval` around the mean difference; it excludes 0 where the arms differ.

    Raises:
        ValueError: unequal lengths, fewer than two pairs, a value that is not finite, an unknown method.
    """
    one_of("method", method, ("t", "bootstrap"))
    a, b = _sample("a", a, least=2), _sample("b", b, least=2)
    if a.shape != b.shape:
        raise ValueError(f"a and b must pair up, got shapes {a.shape} and {b.shape}")
    if method == "t":
        return mean_interval(a - b, level)
    return bootstrap_interval(a - b, np.mean, level, n_boot, seed)


def wilson_interval(k, n, level=0.95):
    r"""Proportion of successes with Wilson's score interval, sound also for k = 0, k = n and small n.

    .. math:: \frac{\hat p + z^2/2n}{1+z^2/n} \pm \frac{z}{1+z^2/n}\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}

    Args:
        k: number of successes, a whole number in 0..n.
        n: number of trials, >= 1.
        level: confidence, in (0, 1).

    Returns:
        An :class:`Interval` whose ``mean`` is ``k / n``; the ends lie in [0, 1].

    Raises:
        ValueError: k or n no whole number, n < 1, or k > n.

    Source: Wilson (1927).
    """
    k, n = whole("k", k, low=0), whole("n", n)
    if k > n:
        raise ValueError(f"k must be at most n, got {k} of {n}")
    p, z = k / n, stats.norm.ppf((1 + _level(level)) / 2)
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if k == 0 else center - half
    return _interval(p, low, 1.0 if k == n else center + half, n, level)


def slope_interval(x, y, level=0.95):
    r"""Slope of the least-squares line through points, with Student's t interval (n - 2 degrees of freedom).

    .. math:: \hat\beta = \frac{\sum_i (x_i-\bar x)(y_i-\bar y)}{\sum_i (x_i-\bar x)^2}, \qquad
              \operatorname{se}^2 = \frac{\sum_i (y_i-\hat\alpha-\hat\beta x_i)^2}{(n-2)\sum_i (x_i-\bar x)^2}

    On logarithms of both axes the slope is the exponent of a power law. Points along one trajectory are not
    independent: fit each seed's slope and use :func:`mean_interval` over seeds for those.

    Args:
        x, y: coordinates, shape [n] each, n >= 3.
        level: confidence, in (0, 1).

    Returns:
        An :class:`Interval` around the slope, in units of y per unit of x.

    Raises:
        ValueError: fewer than three points, unequal lengths, a value that is not finite, or all x equal.
    """
    x, y = _sample("x", x, least=3), _sample("y", y, least=3)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x and y must be two lists of equal length, got shapes {x.shape} and {y.shape}")
    dx, dy = x - x.mean(), y - y.mean()
    if not np.any(dx):
        raise ValueError(f"x must hold at least two different values, got {x[0]:g} only")
    slope = dx @ dy / (dx @ dx)
    se = np.sqrt(np.sum((dy - slope * dx) ** 2) / (len(x) - 2) / (dx @ dx))
    half = stats.t.ppf((1 + _level(level)) / 2, len(x) - 2) * se
    return _interval(slope, slope - half, slope + half, len(x), level)


def _sample(name, x, least):
    """``x`` as a float64 array with at least ``least`` finite entries along its first axis."""
    x = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0 or len(x) < least:
        raise ValueError(f"{name} must hold at least {least} values, got {len(x) if x.ndim else 1}; run more seeds")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise ValueError(
            f"{name} must be finite, got {bad} of {x.size} values nan or inf; count diverged runs apart"
        )
    return x


def _level(level):
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    return level


def _on_rows(statistic, rows):
    """``statistic`` of each row, in one call where it takes ``axis``."""
    try:
        values = np.asarray(statistic(rows, axis=1), dtype=np.float64)
        if values.shape == rows.shape[:1]:
            return values
    except TypeError:
        pass
    return np.array([statistic(row) for row in rows], dtype=np.float64)


def _interval(mean, low, high, n, level):
    if np.ndim(mean) == 0:
        mean, low, high = float(mean), float(low), float(high)
    return Interval(mean, low, high, n, level)
