"""Rules as some sources print them, kept runnable so that the reader can see what the misprint does.

None of these is recommended. Each names the erratum of the ledger that it belongs to.
"""

from dlopt.checks import finite
from dlopt.rules.contract import rule


@rule
def adam_eps_inside(g, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    r"""Adam with ``eps`` under the root (erratum E1, as the survey prints it).

    .. math:: \Delta_t = -\eta\, \frac{\hat m_t}{\sqrt{\hat v_t + \epsilon}}

    The denominator is at least the root of ``eps``, 1e-4 by default: coordinates of smaller gradients hardly move.

    Args:
        g: gradient, any shape; the states ``m`` and ``v`` have the same shape and start at zero.
        t: step count, from 1.
        lr: step size in units of the parameter, >= 0.
        beta1, beta2: decay of the averages, in [0, 1).
        eps: added under the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``m`` and ``v``.

    Source: erratum E1; right is :func:`dlopt.rules.adam.adam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return -lr * m_hat / (v_hat + eps) ** 0.5, m, v


@rule
def adam_uncorrected(g, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    r"""Adam without the correction for the zero start of its averages.

    .. math:: \Delta_t = -\eta\, \frac{m_t}{\sqrt{v_t} + \epsilon}

    The first step is ``(1 - beta1) / sqrt(1 - beta2)`` times ``lr``, 3.2 times at the default.

    Args:
        g: gradient, any shape; the states ``m`` and ``v`` have the same shape and start at zero.
        t: step count, from 1 (unused).
        lr: step size in units of the parameter, >= 0.
        beta1, beta2: decay of the averages, in [0, 1).
        eps: added to the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``m`` and ``v``.

    Source: what Kingma and Ba (2015), section 3, correct; right is :func:`dlopt.rules.adam.adam`.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    return -lr * m / (v**0.5 + eps), m, v


@rule
def adagrad_eps_inside(g, G, *, t, lr=0.01, eps=1e-10):
    r"""AdaGrad with ``eps`` under the root (erratum E2, as the survey prints it).

    .. math:: G_t = G_{t-1} + g_t^2, \quad \Delta_t = -\eta\, \frac{g_t}{\sqrt{G_t + \epsilon}}

    Args:
        g: gradient, any shape; the state ``G`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size in units of the parameter, >= 0.
        eps: added under the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``G``.

    Source: erratum E2; right is :func:`dlopt.rules.adaptive.adagrad`.
    """
    G = G + g**2
    return -lr * g / (G + eps) ** 0.5, G


@rule
def rmsprop_eps_inside(g, v, *, t, lr=0.01, rho=0.9, eps=1e-8):
    r"""RMSProp with ``eps`` under the root (erratum E3, as the survey and the Copenhagen lecture print it).

    .. math:: v_t = \rho v_{t-1} + (1-\rho)\, g_t^2, \quad \Delta_t = -\eta\, \frac{g_t}{\sqrt{v_t + \epsilon}}

    With ``eps=0`` it is the Pilani lecture's form, which divides zero by zero where a gradient was never anything else.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size in units of the parameter, >= 0.
        rho: decay of the average, in [0, 1).
        eps: added under the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: erratum E3; right is :func:`dlopt.rules.adaptive.rmsprop`.
    """
    v = rho * v + (1 - rho) * g**2
    return -lr * g / (v + eps) ** 0.5, v


@rule(ranges={"lr": finite})
def adadelta_printed(g, v, d, *, t, lr=1.0, rho=0.95, eps=1e-6):
    r"""AdaDelta as the Pilani lecture lists it: uphill, and without the numerator (erratum E4).

    .. math:: v_t = \rho v_{t-1} + (1-\rho)\, g_t^2, \quad x_t = \frac{g_t}{\sqrt{v_t} + \epsilon}, \quad
              d_t = \rho d_{t-1} + (1-\rho)\, x_t^2, \quad \Delta_t = \eta\, x_t

    The average ``d`` is kept and never used; the step climbs. A negative ``lr`` sets the sign right, which leaves
    RMSProp with a rate of one.

    Args:
        g: gradient, any shape; the states ``v`` and ``d`` have the same shape and start at zero.
        t: step count, from 1 (unused).
        lr: factor on the step; the listing has none (1), -1 mends its sign.
        rho: decay of both averages, in [0, 1).
        eps: added to the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``v`` and ``d``.

    Source: erratum E4; right is :func:`dlopt.rules.adaptive.adadelta`.
    """
    v = rho * v + (1 - rho) * g**2
    x = g / (v**0.5 + eps)
    d = rho * d + (1 - rho) * x**2
    return lr * x, v, d
