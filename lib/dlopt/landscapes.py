"""Random landscapes in one dimension, with all their basins known: for counting who leaves a local minimum."""

import numpy as np

from dlopt.checks import non_negative, positive, whole
from dlopt.rules import check_hyperparameters, state_names

FREQUENCIES = (0.5, 3.0)  # radians per unit of x
GRID = 0.02  # spacing at which basins are found; the shortest wave has more than a hundred points


class RandomLandscapes:
    r"""``n`` random landscapes, each a sum of waves in a wide bowl, scaled to a largest curvature of 1.

    .. math:: f(x) = s\,\Big( \tfrac{c}{2} x^2 + \sum_{k} \frac{a_k}{\omega_k} \sin(\omega_k x + \phi_k) \Big),
              \qquad \max_x |f''(x)| = 1

    with Gaussian :math:`a_k`, uniform :math:`\omega_k` in [0.5, 3] and uniform phases. As L = 1, a rate is in units of
    1/L.

    Args:
        n: number of landscapes.
        seed: seed of its own generator.
        waves: terms of the sum.
        half_width: starts lie in [-half_width, half_width]; basins are known on three times this interval.
        bowl: c > 0.

    Attributes:
        starts: one random start for each landscape, [n].
        maxima: positions of the local maxima, ascending, [n, M], padded by inf.
        floors: lowest value within each basin, [n, M + 1]; basin j lies between the maxima j - 1 and j.
    """

    def __init__(self, n, seed, *, waves=12, half_width=6.0, bowl=0.02):
        rng = np.random.default_rng(seed)
        shape = (whole("n", n), whole("waves", waves))
        self.n, self.half_width, self.bowl = n, positive("half_width", half_width), positive("bowl", bowl)
        self.omega = rng.uniform(*FREQUENCIES, shape)
        self.phase = rng.uniform(0, 2 * np.pi, shape)
        self.amplitude = rng.standard_normal(shape)
        self.starts = rng.uniform(-half_width, half_width, n)
        self.scale = np.ones(n)
        grid = np.arange(-3 * half_width, 3 * half_width, GRID)[:, None]
        values, slopes = self.value(grid), self.gradient(grid)
        self.scale = 1 / np.abs(self.curvature(grid)).max(0)
        self._find_basins(grid[:, 0], values * self.scale, slopes)

    def value(self, x):
        """f at ``x`` [..., n] (or [..., 1]), one column for each landscape."""
        waves = np.einsum("...nk,nk->...n", np.sin(self._angles(x)), self.amplitude / self.omega)
        return self.scale * (0.5 * self.bowl * np.square(x) + waves)

    def gradient(self, x):
        """f' at ``x`` [..., n]."""
        waves = np.einsum("...nk,nk->...n", np.cos(self._angles(x)), self.amplitude)
        return self.scale * (self.bowl * np.asarray(x) + waves)

    def curvature(self, x):
        """f'' at ``x`` [..., n]."""
        waves = np.einsum("...nk,nk->...n", np.sin(self._angles(x)), self.amplitude * self.omega)
        return self.scale * (self.bowl - waves)

    def basin(self, x):
        """Number of the basin in which each ``x`` [..., n] lies: how many maxima are to its left."""
        return (np.asarray(x)[..., None] > self.maxima).sum(-1)

    def floor(self, basin):
        """Lowest value in the basins ``basin`` [..., n], one column for each landscape."""
        return self.floors[np.arange(self.n), basin]

    def _angles(self, x):
        return self.omega * np.asarray(x)[..., None] + self.phase

    def _find_basins(self, grid, values, slopes):
        tops = (slopes[:-1] > 0) & (slopes[1:] <= 0)
        self.maxima = np.full((self.n, max(1, tops.sum(0).max())), np.inf)
        for i in range(self.n):
            left = np.flatnonzero(tops[:, i])
            rise, fall = slopes[left, i], slopes[left + 1, i]
            self.maxima[i, : len(left)] = grid[left] + GRID * rise / (rise - fall)
        self.floors = np.full((self.n, self.maxima.shape[1] + 1), np.inf)
        labels = np.concatenate([np.zeros((1, self.n), int), tops.cumsum(0)])
        np.minimum.at(self.floors, (np.arange(self.n)[None], labels), values)


def descend(landscapes, rule, *, steps, lr, noise=0.0, seed=0, **hyper):
    """Run a rule from the start of every landscape, at several rates at once.

    Args:
        landscapes: a `RandomLandscapes`.
        rule: an elementwise rule of `dlopt.rules`.
        steps: number of steps.
        lr: rates [R], in units of 1/L; or [R, 1].
        noise: standard deviation of Gaussian noise on every gradient. All rates and rules with the same seed see the
            same noise.
        seed: seed of the noise.
        **hyper: other hyper-parameters of the rule, numbers.

    Returns:
        The last points [R, n].

    Raises:
        ValueError: hyper-parameters that the rule refuses.
    """
    rates = np.reshape(lr, (-1, 1)).astype(float)
    for rate in rates[:, 0]:
        check_hyperparameters(rule, lr=rate, **hyper)
    rng, x = np.random.default_rng(seed), np.tile(landscapes.starts, (len(rates), 1))
    state, sigma = [np.zeros_like(x) for _ in state_names(rule)], non_negative("noise", noise)
    for t in range(1, whole("steps", steps) + 1):
        g = landscapes.gradient(x)
        if sigma:
            g = g + sigma * rng.standard_normal(landscapes.n)
        step, *state = rule(g, *state, t=t, lr=rates, **hyper)
        x = x + step
    return x


def escapes(landscapes, final):
    """Who left the basin of the start, and how much deeper the basin of the end is.

    Args:
        landscapes: a `RandomLandscapes`.
        final: last points [R, n].

    Returns:
        ``(left, gain)``: booleans [R, n]; depths [R, n], positive where the new basin is deeper, 0 where it is the old.
    """
    home, end = landscapes.basin(landscapes.starts), landscapes.basin(final)
    return end != home, landscapes.floor(home) - landscapes.floor(end)
