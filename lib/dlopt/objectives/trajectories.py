"""The toy engine: a rule driven along an objective with exact (or deliberately inexact) gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dlopt.checks import non_negative, positive, whole
from dlopt.rules import check_hyperparameters, initial_state


@dataclass(frozen=True)
class Trajectory:
    """What a run of the toy engine visited.

    Attributes:
        positions: ``[T+1, ..., n]``: the start, then the point after every ``record_every``-th step.
        values: ``[T+1, ...]``: the objective there.
        steps: ``[T+1]``: the number of steps taken when each was recorded.
    """

    positions: Tensor
    values: Tensor
    steps: Tensor

    @property
    def final(self):
        """The last point, ``[..., n]``."""
        return self.positions[-1]


def trajectory(objective, rule, start=None, steps=100, *, transform=None, record_every=1, **hyper):
    r"""Run :math:`\theta_{t+1} = \theta_t + \mathrm{rule}(\nabla f(\theta_t))` and record where it went.

    Args:
        objective: an `Objective`.
        rule: an update rule of `dlopt.rules`.
        start: point ``[n]`` or a batch of independent starts ``[..., n]``; the objective's own start if None. The run
            keeps the dtype of a tensor; anything else becomes float64.
        steps: number of steps, >= 0.
        transform: None, or a function ``transform(g, t)`` whose result the rule gets in place of the exact gradient g,
            with t from 0: `noisy`, `clipped`, or your own.
        record_every: record every so many steps (the start is always recorded).
        **hyper: hyper-parameters of the rule, e.g. ``lr=0.1``; a tensor broadcastable with the points runs a batch
            with different values.

    Returns:
        A `Trajectory`. A run that overflows is recorded as it is (inf or nan): divergence is a result here.

    Raises:
        ValueError: a hyper-parameter out of its range or unknown to the rule, a rule that is not elementwise, no start,
            a start of the wrong dimension.
    """
    whole("steps", steps, low=0), whole("record_every", record_every)
    if not rule.elementwise:
        raise ValueError(f"rule must be elementwise, got {rule.__name__}, which needs matrices")
    check_hyperparameters(rule, **hyper)
    theta = _start(objective, start)
    state = list(initial_state(rule, theta).values())
    positions, values, recorded = [], [], []
    for t in range(steps + 1):
        value, g = objective.value_and_grad(theta)
        if t % record_every == 0:
            positions.append(theta), values.append(value), recorded.append(t)
        if t < steps:
            g = g if transform is None else transform(g, t)
            step, *state = rule(g, *state, t=t + 1, **hyper)
            theta = theta + step
    return Trajectory(torch.stack(positions), torch.stack(values), torch.tensor(recorded))


def newton(objective, start=None, steps=10, *, damping=0.0, absolute=False):
    r"""Newton's method, :math:`\theta_{t+1} = \theta_t - H(\theta_t)^{-1} \nabla f(\theta_t)`, with exact Hessians.

    The step leads to the stationary point of the local quadratic model, whatever kind of point that is: at a saddle it
    is attracted along the directions of negative curvature too.

    Args:
        objective, start, steps: as in `trajectory`.
        damping: added to the diagonal of H (of :math:`|H|` with ``absolute``), >= 0.
        absolute: replace every eigenvalue by its absolute value, which makes the step a descent direction and saddles
            repel (saddle-free Newton).

    Returns:
        A `Trajectory`.

    Source: Nocedal and Wright (2006), chapter 3; saddle-free: Dauphin et al. (2014), arXiv:1406.2572.
    """
    whole("steps", steps, low=0), non_negative("damping", damping)
    theta = _start(objective, start)
    positions, values = [theta], [objective(theta)]
    for _ in range(steps):
        g, h = objective.grad(theta), objective.hessian(theta)
        if absolute:
            size, basis = torch.linalg.eigh((h + h.mT) / 2)
            h = basis * size.abs()[..., None, :] @ basis.mT
        h = h + damping * torch.eye(objective.dimension, dtype=h.dtype, device=h.device)
        theta = theta - torch.linalg.solve(h, g)
        positions.append(theta), values.append(objective(theta))
    return Trajectory(torch.stack(positions), torch.stack(values), torch.arange(steps + 1))


def noisy(sigma, seed=0):
    """A transform that adds independent N(0, sigma^2) to every coordinate of the gradient at every step.

    Args:
        sigma: standard deviation >= 0 in units of the gradient, or a tensor broadcastable with it.
        seed: seed of its own generator (on the CPU, so that the run is the same on every device).
    """
    rng = torch.Generator().manual_seed(seed)
    if not torch.is_tensor(sigma):
        non_negative("sigma", sigma)
    return lambda g, t: g + sigma * torch.randn(g.shape, generator=rng, dtype=g.dtype).to(g.device)


def clipped(max_norm):
    r"""A transform that shortens a gradient longer than ``max_norm``: :math:`g \min(1, c / \|g\|)`.

    Args:
        max_norm: c > 0, or a tensor broadcastable with the gradient's norm ``[..., 1]`` (inf: never clip).

    Source: Pascanu, Mikolov and Bengio (2013), Algorithm 1, arXiv:1211.5063.
    """
    if not torch.is_tensor(max_norm):
        positive("max_norm", max_norm)
    return lambda g, t: g * (max_norm / g.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)


def _start(objective, start):
    if start is None:
        start = objective.start
    if start is None:
        raise ValueError(f"{objective.name} has no start of its own; pass start=...")
    start = start if torch.is_tensor(start) else torch.as_tensor(start, dtype=torch.float64)
    return objective._points(start).detach()
