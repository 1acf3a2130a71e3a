r"""How long a gradient takes: laws of random computing times, and the times at which the fastest N of M are done.

A synchronous round lasts as long as the N-th smallest of M independent times,
:math:`\mathbb E\,T_{(N:M)}`; these order statistics are what backup workers buy.
"""

from dataclasses import dataclass
from math import comb, inf

import numpy as np
from scipy.special import betaincc

from dlopt.checks import in_closed, non_negative, one_of, positive, whole

LAWS = ("constant", "exponential", "occasional", "pareto")


@dataclass(frozen=True)
class Law:
    r"""A law of computing times :math:`T = \text{base} + D`, in seconds.

    Attributes:
        kind: of the delay D. ``"constant"``: 0. ``"exponential"``: with mean ``delay``. ``"occasional"``: ``delay``
            with probability ``chance``, else 0. ``"pareto"``: Lomax with mean ``delay`` and tail exponent ``shape``.
        base: what every gradient takes, > 0.
        delay: >= 0.
        chance: in [0, 1].
        shape: > 1; the smaller, the heavier the tail.
        most: longest time of a ``"pareto"`` law, at which a computation is started again elsewhere and done; > base.
    """

    kind: str = "exponential"
    base: float = 1.0
    delay: float = 1.0
    chance: float = 0.1
    shape: float = 2.5
    most: float = inf

    def __post_init__(self):
        one_of("kind", self.kind, LAWS)
        positive("base", self.base), non_negative("delay", self.delay), in_closed("chance", self.chance)
        if self.shape <= 1:
            raise ValueError(f"shape must be > 1, or the mean is infinite; got {self.shape}")
        if self.most <= self.base or self.kind != "pareto" and self.most < inf:
            raise ValueError(f"most must be > base = {self.base:g} and belongs to kind 'pareto', got {self.most:g}")

    @property
    def mean(self):
        """Expected time."""
        if self.most < inf:
            return self.expected_round(1)
        return self.base + {"constant": 0.0, "occasional": self.chance * self.delay}.get(self.kind, self.delay)

    def sample(self, rng, size):
        """Independent times of shape ``size`` from a NumPy generator."""
        if self.kind == "exponential":
            return self.base + self.delay * rng.exponential(size=size)
        if self.kind == "occasional":
            return self.base + self.delay * (rng.random(size) < self.chance)
        if self.kind == "pareto":
            return np.minimum(self.base + self.delay * (self.shape - 1) * rng.pareto(self.shape, size), self.most)
        return np.full(size, float(self.base))

    def expected_round(self, workers, needed=None):
        r"""Expected time until ``needed`` of ``workers`` that started together are done.

        .. math:: \mathbb E\,T_{(N:M)} = \text{base} + \text{delay}\sum_{i=M-N+1}^{M}\tfrac1i
                  \quad\text{(exponential)}, \qquad
                  \text{base} + \text{delay}\;P(\text{more than } M-N \text{ are delayed})\quad\text{(occasional)}

        Args:
            workers: M.
            needed: N, 1 ... M; None: all, the expected maximum.

        Returns:
            Seconds; for ``"pareto"`` the exact product of Gamma functions, or an integral where ``most`` is finite.
        """
        M = whole("workers", workers)
        N = M if needed is None else whole("needed", needed)
        if N > M:
            raise ValueError(f"needed must be <= workers = {M}, got {N}")
        if self.kind == "exponential":
            return self.base + self.delay * sum(1 / i for i in range(M - N + 1, M + 1))
        if self.kind == "occasional":
            p, spare = self.chance, M - N
            fine = sum(comb(M, k) * p**k * (1 - p) ** (M - k) for k in range(spare + 1))
            return self.base + self.delay * (1 - fine)
        if self.kind == "pareto":
            scale, power = self.delay * (self.shape - 1), 1 / self.shape
            if self.most < inf:  # the integral of P(T > t); F of an order statistic is an incomplete beta function
                d = np.linspace(0, self.most - self.base, 200_001)
                return self.base + np.trapezoid(betaincc(N, M - N + 1, 1 - (1 + d / scale) ** -self.shape), d)
            # E U^(-power) for the uniform order statistic: product of j / (j - power) over j = M-N+1 ... M
            return self.base + scale * (np.prod([j / (j - power) for j in range(M - N + 1, M + 1)]) - 1)
        return float(self.base)


def fit_exponential(times):
    r"""The shifted exponential law of measured times, by maximum likelihood with the bias of the base removed.

    .. math:: \widehat{\text{delay}} = \frac{n}{n-1}(\bar T - T_{\min}), \qquad
              \widehat{\text{base}} = T_{\min} - \widehat{\text{delay}}/n

    Args:
        times: [n], n >= 2, not all equal.
    """
    times = np.asarray(times, dtype=float)
    n = whole("number of times", len(times), low=2)
    delay = n / (n - 1) * (times.mean() - times.min())
    return Law("exponential", base=float(max(times.min() - delay / n, 1e-12)), delay=float(delay))
