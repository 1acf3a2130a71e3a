r"""Schedules: the learning rate as a function of the step, relative to its base value.

A factory checks its arguments and returns a function ``factor(t)`` of the step ``t``, counted from 0, with
:math:`\eta_t = \eta \cdot \mathrm{factor}(t)`. ``t`` may be an ``int`` (the factor is a ``float``) or a tensor of steps
(the factor is a float64 tensor). Beyond its end a schedule keeps its last value. Use one with PyTorch's own interface
as ``torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(1000))``.
"""

import math

import torch

from dlopt.checks import in_closed, in_half_open, one_of, positive, whole


def constant():
    """The factor 1 at every step."""
    return _schedule(lambda t: 1.0 + 0.0 * t)


def step_decay(every, gamma=0.1):
    r"""Multiply by ``gamma`` every so many steps: :math:`\gamma^{\lfloor t / \text{every} \rfloor}`.

    Args:
        every: steps between two drops, a whole number >= 1.
        gamma: factor of a drop, > 0.

    Same as ``torch.optim.lr_scheduler.StepLR``.
    """
    whole("every", every), positive("gamma", gamma)
    return _schedule(lambda t: gamma ** (t // every))


def milestones(steps, gamma=0.1):
    """Multiply by ``gamma`` at the given steps.

    Args:
        steps: increasing whole numbers >= 1.
        gamma: factor of a drop, > 0.

    Same as ``torch.optim.lr_scheduler.MultiStepLR``.
    """
    steps = [whole("a milestone", step) for step in steps]
    positive("gamma", gamma)
    if sorted(set(steps)) != steps:
        raise ValueError(f"milestones must increase, got {steps}")
    return _schedule(lambda t: gamma ** sum((_where(t >= step, 1.0, 0.0) for step in steps), 0.0 * t))


def exponential(gamma):
    r"""Decay by the same factor every step: :math:`\gamma^t`.

    Args:
        gamma: factor of one step, > 0. For :math:`e^{-ct}` it is ``exp(-c)``.

    Same as ``torch.optim.lr_scheduler.ExponentialLR``.
    """
    positive("gamma", gamma)
    return _schedule(lambda t: gamma ** (1.0 * t))


def inverse_time(tau=1.0):
    r"""Decay as :math:`1 / (1 + t/\tau)`, whose sum diverges and whose squares have a finite sum.

    Args:
        tau: steps after which the rate is halved, > 0.

    Source: Robbins and Monro (1951).
    """
    positive("tau", tau)
    return _schedule(lambda t: 1 / (1 + t / tau))


def inverse_sqrt(tau=1.0, warmup=0):
    r"""Decay as :math:`1/\sqrt{1 + t/\tau}` after the warmup, whose squares have an infinite sum.

    Args:
        tau: steps after which the rate has fallen by the root of 2, > 0.
        warmup: steps of linear warmup before, see :func:`with_warmup`.
    """
    positive("tau", tau)
    return with_warmup(_schedule(lambda t: 1 / (1 + t / tau) ** 0.5), warmup)


def linear(total, start=1.0, end=0.0):
    """Go from ``start`` to ``end`` on a straight line.

    Args:
        total: the step at which ``end`` is reached, a whole number >= 1.
        start, end: factors, >= 0.

    Same as ``torch.optim.lr_scheduler.LinearLR``, which defaults to 1/3 and 1 over 5 steps.
    """
    return polynomial(total, power=1.0, start=start, end=end)


def polynomial(total, power=1.0, start=1.0, end=0.0):
    r"""Go from ``start`` to ``end`` as :math:`(1 - t/T)^p`.

    Args:
        total: the step T at which ``end`` is reached, a whole number >= 1.
        power: the exponent p, > 0.
        start, end: factors, >= 0.

    Same as ``torch.optim.lr_scheduler.PolynomialLR`` for the default ``start`` and ``end``.
    """
    whole("total", total), positive("power", power), _factor("start", start), _factor("end", end)
    return _schedule(lambda t: end + (start - end) * (1 - _progress(t, total)) ** power)


def cosine(total, warmup=0, floor=0.0):
    r"""Fall along half a cosine: :math:`f + (1-f)\,\tfrac12(1 + \cos(\pi t/T))`.

    Args:
        total: length T of the run in steps, warmup included, a whole number >= 1.
        warmup: steps of linear warmup, fewer than ``total``; the cosine spans the rest.
        floor: the last factor f, in [0, 1].

    Same as ``torch.optim.lr_scheduler.CosineAnnealingLR`` up to step T (torch's then rises again).

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983.
    """
    total, warmup = _run(total, warmup)
    in_closed("floor", floor)
    return with_warmup(_schedule(lambda t: floor + (1 - floor) * _half_cosine(_progress(t, total - warmup))), warmup)


def cosine_restarts(period, floor=0.0):
    """Cosine that starts again every ``period`` steps.

    Args:
        period: steps of one descent, a whole number >= 1.
        floor: the factor at the bottom, in [0, 1].

    Same as ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`` with equal periods.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983.
    """
    whole("period", period), in_closed("floor", floor)
    return _schedule(lambda t: floor + (1 - floor) * _half_cosine((t % period) / period))


def wsd(total, warmup=0, decay=0.2, floor=0.0, shape="linear"):
    """Warm up, stay, decay: constant but for both ends, so that the length of a run need not be fixed at its start.

    Args:
        total: length of the run in steps, a whole number >= 1.
        warmup: steps of linear warmup.
        decay: share of ``total`` over which the rate falls at the end, in [0, 1].
        floor: the last factor, in [0, 1].
        shape: ``"linear"`` or ``"sqrt"``, the latter being ``1 - sqrt`` of the progress.

    Raises:
        ValueError: warmup and decay together are longer than the run.

    Source: Hu et al. (2024), arXiv:2404.06395; the shapes from Hägele et al. (2024), arXiv:2405.18392.
    """
    total, warmup = _run(total, warmup)
    in_closed("decay", decay), in_closed("floor", floor), one_of("shape", shape, ("linear", "sqrt"))
    falling = max(round(decay * total), 1)
    if warmup + decay * total > total:
        raise ValueError(f"warmup + decay must fit into the {total} steps, got {warmup} + {falling}; shorten one")
    power = 1.0 if shape == "linear" else 0.5
    begin = total - warmup - falling

    def factor(t):
        return 1 - (1 - floor) * _progress(_where(t > begin, t - begin, 0 * t), falling) ** power

    return with_warmup(_schedule(factor), warmup)


def one_cycle(total, rise=0.3, start=1 / 25, end=1 / 25e4):
    """Rise from ``start`` to 1 and fall to ``end``, both along half a cosine.

    Args:
        total: length of the run in steps, a whole number >= 3.
        rise: share of the run that rises, in (0, 1).
        start, end: first and last factor, in [0, 1].

    Same as the learning rate of ``torch.optim.lr_scheduler.OneCycleLR``, with the peak rate as base.

    Source: Smith and Topin (2019), arXiv:1708.07120.
    """
    whole("total", total, low=3), positive("rise", in_half_open("rise", rise))
    in_closed("start", start), in_closed("end", end)
    top = rise * total - 1
    if top <= 0:
        raise ValueError(f"rise must span more than one step, got {rise} of {total}; raise it above {1 / total:g}")

    def factor(t):
        up = 1 + (start - 1) * _half_cosine(_progress(t, top))
        down = end + (1 - end) * _half_cosine(_progress(_where(t > top, t - top, 0 * t), total - 1 - top))
        return _where(t <= top, up, down)

    return _schedule(factor)


def with_warmup(schedule, steps):
    """Rise linearly, ``1/steps, 2/steps, ..., 1``, and then follow another schedule from its start.

    Args:
        schedule: a schedule.
        steps: length of the warmup, a whole number >= 0.
    """
    steps = whole("warmup", steps, low=0)
    if not steps:
        return schedule
    return _schedule(lambda t: _where(t < steps, (t + 1) / steps, schedule(_where(t < steps, 0 * t, t - steps))))


def sutskever_momentum(mu_max=0.99, every=250):
    r"""A schedule of the momentum, not of the rate.

    .. math:: \mu_t = \min\left(1 - 2^{-1-\log_2(\lfloor t/250\rfloor+1)},\ \mu_{max}\right)

    Args:
        mu_max: the largest momentum, in [0, 1].
        every: steps at the same value, a whole number >= 1.

    Source: Sutskever et al. (2013), equation 5 (the Pilani lecture garbles it, erratum E15).
    """
    in_closed("mu_max", mu_max), whole("every", every)

    def mu(t):
        rising = 1 - 0.5 / (t // every + 1)
        return _where(rising < mu_max, rising, mu_max + 0 * rising)

    return _schedule(mu)


def _schedule(factor):
    """A schedule from a formula: steps before the first are refused, tensors are computed in float64."""

    def checked(t):
        if torch.is_tensor(t):
            return factor(t.to(torch.float64))
        return float(factor(whole("the step", t, low=0)))

    return checked


def _run(total, warmup):
    total, warmup = whole("total", total), whole("warmup", warmup, low=0)
    if warmup >= total:
        raise ValueError(f"warmup must be shorter than the run, got {warmup} of {total} steps; shorten it")
    return total, warmup


def _factor(name, value):
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a factor >= 0, got {value}")


def _progress(t, total):
    """``t / total``, at most 1."""
    return _where(t < total, t / total, 1.0 + 0 * t)


def _where(condition, a, b):
    """``a`` where the condition holds, else ``b``, for a step as for a tensor of steps."""
    if isinstance(condition, bool):
        return a if condition else b
    return torch.where(condition, a, b)


def _half_cosine(x):
    """From 1 at 0 down to 0 at 1."""
    return 0.5 * (1 + (torch.cos(math.pi * x) if torch.is_tensor(x) else math.cos(math.pi * x)))
