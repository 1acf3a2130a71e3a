"""A real problem whose optimum is known to machine precision: softmax regression with an L2 term, as a finite sum."""

import numpy as np
import torch
from torch.nn.functional import one_hot

from dlopt.checks import positive, whole
from dlopt.scale import generator


class SoftmaxRegression:
    r"""Cross-entropy of a linear classifier plus an L2 term: smooth, strongly convex, a mean over N examples.

    .. math:: F(W) = \frac1N \sum_{i=1}^N \Big( -\log \mathrm{softmax}(x_i W)_{y_i} \Big) + \frac{\lambda}{2} \|W\|^2

    Everything is float64, and any number S of weight matrices is evaluated at once.

    Args:
        x: inputs, [N, d]; a column of ones is added, so the bias is a row of W.
        y: class numbers, [N].
        l2: :math:`\lambda > 0`, the modulus of strong convexity.

    Attributes:
        smoothness: a bound L on the largest Hessian eigenvalue, :math:`\lambda_{\max}(X^\top X/N)/2 + \lambda`.
        shape: of one W, (d + 1, classes).
        n: N.
    """

    def __init__(self, x, y, l2):
        if len(x) == 0 or len(x) != len(y):
            raise ValueError(f"x and y must have the same length >= 1, got {len(x)} and {len(y)}")
        x = x.flatten(1).double()
        self.x, self.y = torch.cat([x, x.new_ones(len(x), 1)], 1), y
        self.targets = one_hot(y).double()
        self.l2, self.n = positive("l2", l2), len(x)
        self.shape = (self.x.shape[1], self.targets.shape[1])
        self.smoothness = torch.linalg.eigvalsh(self.x.T @ self.x / self.n)[-1].item() / 2 + l2

    def value(self, w):
        """F at ``w`` [..., d + 1, classes], shape [...]."""
        log_p = torch.log_softmax(self.x @ w, -1)
        return -(self.targets * log_p).sum(-1).mean(-1) + self.l2 / 2 * w.square().sum((-1, -2))

    def gradient(self, w, index=None):
        """Gradient at ``w`` [S, d + 1, classes], of all examples or of the minibatches ``index`` [S, B]."""
        x, targets = (self.x, self.targets) if index is None else (self.x[index], self.targets[index])
        return x.mT @ (torch.softmax(x @ w, -1) - targets) / x.shape[-2] + self.l2 * w

    def accuracy(self, w, x, y):
        """Share of ``x`` [n, d] that ``w`` [..., d + 1, classes] puts into its class ``y`` [n]."""
        x = torch.cat([x.flatten(1).double(), x.new_ones(len(x), 1).double()], 1)
        return ((x @ w).argmax(-1) == y).double().mean(-1)

    def minimum(self, tolerance=1e-10, limit=50_000):
        """The minimizer and the minimum, by Nesterov's method until the gradient's norm is at most ``tolerance``.

        Raises:
            RuntimeError: the tolerance was not reached in ``limit`` steps.
        """
        root = (self.smoothness / self.l2) ** 0.5
        mu, v = (root - 1) / (root + 1), torch.zeros(1, *self.shape, dtype=torch.float64, device=self.x.device)
        w = v
        for _ in range(whole("limit", limit)):
            v = mu * v - self.gradient(w + mu * v) / self.smoothness
            w = w + v
            if self.gradient(w).norm() <= tolerance:
                return w[0], self.value(w[0]).item()
        norm = self.gradient(w).norm()
        raise RuntimeError(f"gradient norm must fall to {tolerance:g}, reached {norm:g}; raise l2 (now {self.l2})")


def descend(problem, *, epochs, lr=None, momentum=0.0):
    r"""Gradient descent (or Nesterov's method) with the whole sum: one gradient of N examples an epoch.

    Args:
        problem: a :class:`SoftmaxRegression`.
        epochs: number of steps.
        lr: step size; None: 1/L.
        momentum: of the look-ahead form; ``"nesterov"`` takes :math:`(\sqrt\kappa-1)/(\sqrt\kappa+1)` with
            :math:`\kappa=L/\lambda`.

    Returns:
        W after 0 ... ``epochs`` epochs, [epochs + 1, d + 1, classes].
    """
    root = (problem.smoothness / problem.l2) ** 0.5
    mu = (root - 1) / (root + 1) if momentum == "nesterov" else float(momentum)
    lr = 1 / problem.smoothness if lr is None else positive("lr", lr)
    w = torch.zeros(problem.shape, dtype=torch.float64, device=problem.x.device)
    v, path = torch.zeros_like(w), [w]
    for _ in range(whole("epochs", epochs)):
        v = mu * v - lr * problem.gradient((w + mu * v)[None])[0]
        w = w + v
        path.append(w)
    return torch.stack(path)


def stochastic_descend(problem, rates, *, epochs, batch_size, seeds, replacement=False):
    """Minibatch gradient descent from zero, one run a seed, all at once.

    Args:
        problem: a :class:`SoftmaxRegression`.
        rates: ``rates(t)``, the step size of update t = 1, 2, ...
        epochs: passes over the data; the examples left over by whole batches are dropped.
        batch_size: 1 ... N; or a function of the epoch (from 0) for batches that grow.
        seeds: of the order in which examples are drawn.
        replacement: draw every example independently instead of by a new permutation each epoch.

    Returns:
        W after 0 ... ``epochs`` epochs, [seeds, epochs + 1, d + 1, classes].
    """
    n, size_of = problem.n, batch_size if callable(batch_size) else lambda epoch: batch_size
    sources = [generator(seed) for seed in seeds]

    def draw(source):
        return torch.randint(n, (n,), generator=source) if replacement else torch.randperm(n, generator=source)

    w, t = torch.zeros(len(sources), *problem.shape, dtype=torch.float64, device=problem.x.device), 0
    path = [w]
    for epoch in range(whole("epochs", epochs)):
        if (size := whole("batch_size", size_of(epoch))) > n:
            raise ValueError(f"batch_size must be <= {n}, the number of examples, got {size}")
        orders = torch.stack([draw(g) for g in sources])
        for index in orders.to(problem.x.device)[:, : n - n % size].split(size, 1):
            t += 1
            w = w - float(rates(t)) * problem.gradient(w, index)
        path.append(w)
    return torch.stack(path, 1)


def first_below(curves, level):
    """For each row of ``curves`` [S, T] the first column with a value <= ``level``, as float; inf if there is none."""
    reached = np.asarray(curves) <= level
    return np.where(reached.any(-1), reached.argmax(-1).astype(float), np.inf)


def steps_to_levels(problem, levels, *, lr, batch_size, seeds, limit, checks=200):
    """How many minibatch steps (examples drawn with replacement) lie between zero and given values of F.

    All rates and seeds run at once. F is computed every ``limit // checks`` steps: the resolution of the answer.

    Args:
        problem: a :class:`SoftmaxRegression`.
        levels: values of F to reach, [V].
        lr: constant step sizes, [G].
        batch_size: 1 or more.
        seeds: [S]; the same seeds draw the same examples for every rate.
        limit: steps after which a run gives up.
        checks: number of looks at F.

    Returns:
        Steps, float64 array [V, G, S]; inf where a level was not reached.
    """
    rates, sources = torch.as_tensor(lr, dtype=torch.float64), [generator(seed) for seed in seeds]
    size, every = whole("batch_size", batch_size), max(1, whole("limit", limit) // whole("checks", checks))
    w = torch.zeros(len(rates), len(sources), *problem.shape, dtype=torch.float64)
    found = np.full((len(levels), len(rates), len(sources)), np.inf)
    for step in range(1, limit + 1):
        index = torch.stack([torch.randint(problem.n, (size,), generator=g) for g in sources])
        w = w - rates[:, None, None, None] * problem.gradient(w, index)
        if step % every == 0:
            value = problem.value(w).numpy()
            for row, level in zip(found, levels):
                row[(value <= level) & np.isinf(row)] = step
            if np.isfinite(found).all():
                break
    return found


def tuned_steps(problem, levels, batch_sizes, *, factors, tuning_seeds, seeds, budget, least=200):
    """Steps to given levels with the step size tuned for every batch size and level.

    The rate with the fewest steps on ``tuning_seeds`` (mean; infinite if a run fails) is counted on ``seeds``.

    Args:
        problem, levels: as in :func:`steps_to_levels`.
        batch_sizes: [K].
        factors: step sizes in units of 1/L, [G].
        tuning_seeds, seeds: two disjoint lists of seeds.
        budget: examples after which a run gives up (but not before ``least`` steps).
        least: see ``budget``.

    Returns:
        The steps [V, K, S] and the chosen factors [V, K].

    Raises:
        ValueError: the two lists of seeds overlap.
    """
    if shared := set(tuning_seeds) & set(seeds):
        raise ValueError(f"tuning_seeds and seeds must be disjoint, both hold {sorted(shared)}")
    steps = np.full((len(levels), len(batch_sizes), len(seeds)), np.inf)
    chosen, factors = np.zeros(steps.shape[:2]), np.asarray(factors, dtype=float)
    for j, size in enumerate(batch_sizes):
        settings = {"batch_size": size, "limit": max(least, budget // size)}
        tuning = steps_to_levels(problem, levels, lr=factors / problem.smoothness, seeds=tuning_seeds, **settings)
        chosen[:, j] = factors[tuning.mean(2).argmin(1)]
        for factor in set(chosen[:, j]):
            found = steps_to_levels(problem, levels, lr=[factor / problem.smoothness], seeds=seeds, **settings)[:, 0]
            steps[chosen[:, j] == factor, j] = found[chosen[:, j] == factor]
    return steps, chosen
