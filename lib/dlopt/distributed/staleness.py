r"""What stale gradients do to gradient descent on a parabola: where it is stable, and the momentum they imply."""

import numpy as np

from dlopt.checks import positive, whole


def largest_stable_rate(tau):
    r"""The rate times curvature below which :math:`x_{t+1} = x_t - \eta\lambda\,x_{t-\tau}` tends to zero.

    .. math:: \eta\lambda < 2\sin\frac{\pi}{2(2\tau+1)}

    It is 2 without delay and about :math:`\pi/(2\tau+1)` for long ones.

    Args:
        tau: delay, a whole number >= 0.

    Source: Levin and May (1976), Theoretical Population Biology 9.
    """
    return 2 * np.sin(np.pi / (2 * (2 * whole("tau", tau, low=0) + 1)))


def delayed_descent(rate, tau, steps, start=1.0):
    """Iterates of ``x <- x - rate * x[tau steps ago]`` from a constant past, [steps + 1]."""
    x = np.full(whole("steps", steps) + tau + 1, float(start))
    for t in range(tau, steps + tau):
        x[t + 1] = x[t] - rate * x[t - tau]
    return x[tau:]


def measured_stable_rate(tau, steps=4000, precision=1e-3):
    """The largest rate at which :func:`delayed_descent` is smaller after ``steps`` steps than at half of them."""
    low, high = 0.0, 3.0
    while high - low > positive("precision", precision):
        middle = (low + high) / 2
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(delayed_descent(middle, tau, steps))
            late, middling = size[-4 * tau - 4 :].max(), size[steps // 2 : steps // 2 + 4 * tau + 4].max()
        falls = np.isfinite(late) and late <= middling
        low, high = (middle, high) if falls else (low, middle)
    return (low + high) / 2


def asynchronous_path(trace, rate, steps, start=1.0):
    r"""Gradient descent on :math:`x^2/2` with the versions of an asynchronous trace, [steps + 1]."""
    version = trace.versions[:, 0]
    if len(version) < steps:
        raise ValueError(f"the trace has {len(version)} updates, {steps} are needed; raise its until")
    x = np.full(steps + 1, float(start))
    for u in range(steps):
        x[u + 1] = x[u] - rate * x[version[u]]
    return x


def implied_momentum(workers, rate, steps, start=1.0):
    r"""The expected path of asynchronous descent with M memoryless workers: a heavy ball.

    .. math:: \Delta_{t+1} = \big(1-\tfrac1M\big)\,\Delta_t - \tfrac{\eta}{M}\lambda\,\mathbb E x_t, \qquad
              \Delta_1 = -\eta\lambda x_0

    on :math:`x^2/2` (:math:`\lambda = 1`).

    Args:
        workers: M.
        rate: :math:`\eta`.

    Returns:
        :math:`\mathbb E x_t`, [steps + 1].

    Source: Mitliagkas, Zhang, Hadjis and Ré (2016), arXiv:1605.09774, theorem 3.
    """
    mu, x, step = 1 - 1 / whole("workers", workers), [float(start)], -rate * start
    for _ in range(whole("steps", steps)):
        step = mu * step - rate / workers * x[-1]
        x.append(x[-1] + step)
    return np.array(x)
