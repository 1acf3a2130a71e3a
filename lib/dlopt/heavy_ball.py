"""Momentum on a parabola, where every answer is known: the two roots, their regimes, the best settings, the steps."""

from typing import NamedTuple

import numpy as np

from dlopt.checks import in_half_open, non_negative, one_of, positive, whole
from dlopt.rules import momentum, nesterov, sgd, state_names

METHODS = ("gradient descent", "heavy ball", "nesterov")
RULES = dict(zip(METHODS, (sgd, momentum, nesterov)))


class Setting(NamedTuple):
    """A rate, a momentum, and the factor by which they shrink the worst coordinate's error per step."""

    lr: float
    mu: float
    factor: float


def characteristic(curvature, *, lr, mu=0.0, method="heavy ball"):
    r"""Coefficients of the polynomial :math:`z^2 - p z + q` whose roots govern one coordinate of a quadratic.

    .. math:: \text{heavy ball: } p = 1 + \mu - \eta\lambda,\ q = \mu; \qquad
              \text{Nesterov: } p = (1+\mu)(1-\eta\lambda),\ q = \mu (1-\eta\lambda)

    Gradient descent is either with :math:`\mu = 0`.

    Args:
        curvature: :math:`\lambda`, a number or an array.
        lr, mu: rate and momentum of `dlopt.rules.momentum` and `dlopt.rules.nesterov`; numbers or arrays.
        method: one of ``METHODS``.

    Returns:
        ``(p, q)``, float64 arrays of the arguments' common shape.
    """
    one_of("method", method, METHODS)
    a, mu = np.broadcast_arrays(np.multiply(lr, curvature, dtype=float), np.asarray(mu, dtype=float))
    if method == "nesterov":
        return (1 + mu) * (1 - a), mu * (1 - a)
    return (1 - a, 0 * a) if method == "gradient descent" else (1 + mu - a, mu.copy())


def roots(curvature, *, lr, mu=0.0, method="heavy ball"):
    r"""The two eigenvalues of the 2x2 recursion, larger modulus first.

    An error :math:`c_t` that starts along an eigenvector is multiplied by its root at each step. Arguments as for
    :func:`characteristic`.

    Returns:
        Complex array ``[..., 2]``.
    """
    p, q = characteristic(curvature, lr=lr, mu=mu, method=method)
    root = np.sqrt((p * p - 4 * q).astype(complex))
    pair = np.stack([(p + root) / 2, (p - root) / 2], -1)
    return np.take_along_axis(pair, np.argsort(-np.abs(pair), axis=-1, kind="stable"), -1)


def regime(curvature, *, lr, mu=0.0, method="heavy ball"):
    """What one coordinate does: ``"creeps"``, ``"oscillates"``, ``"alternates"`` or ``"diverges"``.

    It creeps if the root that decides in the long run is positive, alternates in sign at each step if that root is
    negative, oscillates if the roots are complex, and diverges if a modulus is 1 or more. Numbers only.
    """
    first, _ = roots(float(curvature), lr=float(lr), mu=float(mu), method=method)
    if abs(first) >= 1:
        return "diverges"
    return "oscillates" if abs(first.imag) > 1e-12 else "creeps" if first.real >= 0 else "alternates"


def tuned(low, high, method="heavy ball"):
    r"""The best setting for all curvatures in ``[low, high]``, with :math:`\kappa = L/m`.

    .. math:: \text{gradient descent: } \eta = \frac{2}{L+m},\ \frac{\kappa-1}{\kappa+1}; \qquad
              \text{heavy ball: } \eta = \frac{4}{(\sqrt L+\sqrt m)^2},\ \sqrt\mu = \frac{\sqrt\kappa-1}{\sqrt\kappa+1}

    and for Nesterov's method the customary :math:`\eta = 1/L`, :math:`\mu = (\sqrt\kappa-1)/(\sqrt\kappa+1)`, whose
    factor is :math:`1 - 1/\sqrt\kappa`.

    Args:
        low, high: smallest and largest curvature, ``0 < low <= high``.
        method: one of ``METHODS``.

    Returns:
        A `Setting`.

    Source: Polyak (1964); Nesterov (2004), section 2.2; Lessard, Recht and Packard (2016), table 1, arXiv:1408.3595.
    """
    one_of("method", method, METHODS)
    if positive("low", low) > high:
        raise ValueError(f"high must be at least low, got {high} < {low}")
    small, large = low**0.5, high**0.5
    ratio = (large - small) / (large + small)
    if method == "gradient descent":
        return Setting(2 / (high + low), 0.0, (high - low) / (high + low))
    if method == "heavy ball":
        return Setting(4 / (large + small) ** 2, ratio**2, ratio)
    return Setting(1 / high, ratio, 1 - small / large)


def steps_to(spectrum, start, *, method, lr, mu=0.0, tolerance=1e-4, limit=200_000):
    """Steps until the distance to the minimum of a quadratic is ``tolerance`` times what it was, for good or bad.

    The rule of `dlopt.rules` runs in the quadratic's own coordinates (it commutes with rotations).

    Args:
        spectrum: curvatures ``[n]``.
        start: starting points ``[S, n]``.
        method: one of ``METHODS``.
        lr, mu: its settings.
        tolerance: in (0, 1).
        limit: steps after which the run ends.

    Returns:
        The first step count at which each start got there, ``[S]``; nan where none did.
    """
    rule = RULES[one_of("method", method, METHODS)]
    in_half_open("mu", mu), positive("lr", lr), positive("tolerance", tolerance), whole("limit", limit)
    spectrum, x = np.asarray(spectrum, dtype=float), np.array(start, dtype=float)
    target, found = tolerance * np.linalg.norm(x, axis=1), np.full(len(x), np.nan)
    state, hyper = [np.zeros_like(x) for _ in state_names(rule)], {"lr": lr} | ({} if rule is sgd else {"mu": mu})
    for t in range(1, limit + 1):
        step, *state = rule(spectrum * x, *state, t=t, **hyper)
        x = x + step
        found[np.isnan(found) & (np.sqrt(np.einsum("ij,ij->i", x, x)) <= target)] = t
        if not np.isnan(found).any():
            break
    return found


def convex_gaps(spectrum, start, *, steps, accelerate, noise=0.0, seed=0):
    r"""Height above the minimum under gradient descent or Nesterov's method for convex functions, at rate 1/L.

    .. math:: y_k = x_{k-1} + \mu_k (x_{k-1} - x_{k-2}),\quad x_k = y_k - \tfrac1L \nabla f(y_k),\quad
              \mu_k = \tfrac{k-1}{k+2} \text{ (0 for gradient descent)}

    Args:
        spectrum: curvatures >= 0, [n]; the quadratic need not be strongly convex.
        start: [S, n].
        steps: number of steps.
        accelerate: True for Nesterov's momentum.
        noise: standard deviation of Gaussian noise on every coordinate of the gradient.
        seed: seed of the noise.

    Returns:
        f(x_k) for k = 1..steps, [steps, S]. With exact gradients Nesterov's method keeps below
        :math:`2 L \|x_0\|^2 / (k+1)^2` and gradient descent below :math:`L \|x_0\|^2 / (2k)`.

    Source: Nesterov (1983); the constants as in Beck and Teboulle (2009), theorem 4.4 and 3.1.
    """
    spectrum, x = np.asarray(spectrum, dtype=float), np.array(start, dtype=float)
    lr, sigma, rng = 1 / spectrum.max(), non_negative("noise", noise), np.random.default_rng(seed)
    before, gaps = x, np.empty((whole("steps", steps), len(x)))
    for k in range(1, steps + 1):
        y = x + (k - 1) / (k + 2) * (x - before) if accelerate else x
        g = spectrum * y + (sigma * rng.standard_normal(x.shape) if sigma else 0.0)
        before, x = x, y - lr * g
        gaps[k - 1] = 0.5 * (spectrum * x * x).sum(1)
    return gaps
