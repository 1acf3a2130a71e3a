"""Real gradients in the order of a trace: many learning rates at once, and updates that do not wait for each other
together."""

import numpy as np
import torch

from dlopt.checks import whole
from dlopt.scale import generator

PATIENCE = 1.5


def replay_synchronous(problem, trace, lr, *, batch_size, seed, times, level=None):
    """SGD whose t-th step takes the mean of the gradients that the t-th round took.

    Args:
        problem: has ``gradient(w, index)``, ``value(w)``, ``shape`` and ``n`` as
            :class:`dlopt.finite_sums.SoftmaxRegression`.
        trace: of :func:`dlopt.distributed.simulate.synchronous`.
        lr: [G] learning rates, all replayed at once.
        batch_size: B of each worker.
        seed: of the examples drawn.
        times: [C] virtual times at which the objective is looked at, ascending.
        level: end at ``PATIENCE`` times the time at which the first rate reached this; later values are inf.

    Returns:
        The objective, [G, C]; inf or nan where a run diverged.
    """
    rates, source = _rates(lr, problem), generator(seed)
    w, found, done = _start(rates, problem), [], 0
    for stop in np.searchsorted(trace.times, times, side="right"):
        for _ in range(done, stop):
            index = torch.randint(problem.n, (1, trace.workers.shape[1] * whole("batch_size", batch_size)),
                                  generator=source)
            w = w - rates * problem.gradient(w, index)
        done = max(done, stop)
        found.append(problem.value(w))
        if _enough(found, times, level):
            break
    return _padded(found, times)


def replay_asynchronous(problem, trace, lr, *, batch_size, seed, times, level=None, rate=None, compensation=0.0,
                        momentum=0.0, together=True):
    r"""Asynchronous SGD: update u subtracts the gradient at the parameters that its worker had fetched.

    .. math:: \theta_{u+1} = \theta_u - \eta\,\rho(\tau_u)\,\tilde g_u, \qquad \tilde g_u = g_u + \lambda\,g_u\odot g_u
              \odot(\theta_u - \theta_{v_u}), \qquad g_u = \nabla \hat f(\theta_{v_u})

    Gradients of successive updates whose parameters are all known already are computed in one call.

    Args:
        problem, lr, batch_size, seed, times, level: as in :func:`replay_synchronous`.
        trace: of :func:`dlopt.distributed.simulate.asynchronous`.
        rate: :math:`\rho`, factor by staleness; None: 1.
        compensation: :math:`\lambda`.
        momentum: of a velocity on the server.
        together: False computes every gradient by itself (slow; the same numbers).

    Returns:
        The objective, [G, C].
    """
    rates, source = _rates(lr, problem), generator(seed)
    stops = np.searchsorted(trace.times, times, side="right")
    worker, version = trace.workers[:, 0], trace.versions[:, 0]
    factors = [rates * (rate(tau) if rate else 1.0) for tau in trace.staleness[:, 0]]
    fetches = _fetches(worker, version)
    w, v, found, done = _start(rates, problem), 0.0, [], 0
    held = w[:, None].repeat(1, worker.max() + 1, *[1] * len(problem.shape))  # what each worker computes on
    for stop in stops:
        while done < stop:
            end = _run(version, done, stop) if together else done + 1
            batch = torch.stack([torch.randint(problem.n, (batch_size,), generator=source) for _ in range(done, end)])
            sent = held[:, worker[done:end]]
            gradients = problem.gradient(sent, batch[None])
            for k, u in enumerate(range(done, end)):
                g = gradients[:, k]
                if compensation:
                    g = g + compensation * g * g * (w - sent[:, k])
                v = momentum * v - factors[u] * g
                w = w + v
                for m in fetches.get(u + 1, ()):
                    held[:, m] = w
            done = end
        found.append(problem.value(w))
        if _enough(found, times, level):
            break
    return _padded(found, times)


def replay_local(problem, trace, lr, *, batch_size, seed, times, local_steps, level=None):
    """Local SGD: ``local_steps`` steps on each worker's copy, then the mean of the copies.

    Args:
        problem, lr, batch_size, seed, times, level: as in :func:`replay_synchronous`.
        trace: of :func:`dlopt.distributed.simulate.local` with the same ``local_steps``.

    Returns:
        The objective at the averages, [G, C].
    """
    rates, source, M = _rates(lr, problem), generator(seed), trace.workers.shape[1]
    w, found, done = _start(rates, problem), [], 0
    for stop in np.searchsorted(trace.times, times, side="right"):
        for _ in range(done, stop):
            copies = w[:, None].repeat(1, M, *[1] * len(problem.shape))
            for _ in range(local_steps):
                index = torch.randint(problem.n, (1, M, batch_size), generator=source)
                copies = copies - rates[:, None] * problem.gradient(copies, index)
            w = copies.mean(1)
        done = max(done, stop)
        found.append(problem.value(w))
        if _enough(found, times, level):
            break
    return _padded(found, times)


def time_to(values, times, level):
    """The first of ``times`` [C] at which ``values`` [..., C] is at most ``level``; inf where it never is."""
    reached = np.asarray(values) <= level
    return np.where(reached.any(-1), np.asarray(times)[reached.argmax(-1)], np.inf)


def _enough(found, times, level):
    """Whether a rate has reached the level so long ago that rates which have not are clearly worse."""
    if level is None:
        return False
    first = next((t for t, values in zip(times, found) if (values <= level).any()), np.inf)
    return times[len(found) - 1] >= PATIENCE * first


def _padded(found, times):
    values = torch.stack(found, -1).numpy()
    return np.pad(values, ((0, 0), (0, len(times) - values.shape[1])), constant_values=np.inf)


def _rates(lr, problem):
    return torch.as_tensor(lr, dtype=torch.float64).view(-1, *[1] * len(problem.shape))


def _start(rates, problem):
    return torch.zeros(len(rates), *problem.shape, dtype=rates.dtype)


def _run(version, first, stop):
    """The end of the longest run of updates from ``first`` on whose parameters are known at ``first``."""
    later = np.flatnonzero(version[first:stop] > first)
    return first + int(later[0]) if len(later) else int(stop)


def _fetches(worker, version):
    """``{version: workers}``: who fetches which version for its next gradient."""
    found = {}
    for m, v in zip(worker.tolist(), version.tolist()):
        found.setdefault(v, []).append(m)
    return found
