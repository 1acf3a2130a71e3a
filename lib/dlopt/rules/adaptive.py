"""Rules with one learning rate per coordinate: AdaGrad, RMSProp, AdaDelta."""

from dlopt.rules.contract import rule


@rule
def adagrad(g, G, *, t, lr=0.01, eps=1e-10):
    r"""Divide by the root of the sum of all squared gradients so far.

    .. math:: G_t = G_{t-1} + g_t^2, \quad \Delta_t = -\eta\, \frac{g_t}{\sqrt{G_t} + \epsilon}

    Args:
        g: gradient, any shape; the state ``G`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size in units of the parameter, >= 0: the first step moves every coordinate by ``lr``.
        eps: added to the root, >= 0 (the survey adds it under the root: ``adagrad_eps_inside``).

    Returns:
        The step to add to the parameters, and the new ``G``.

    Source: Duchi, Hazan and Singer (2011). Same as ``torch.optim.Adagrad`` without its ``lr_decay``.
    """
    G = G + g**2
    return -lr * g / (G**0.5 + eps), G


@rule
def rmsprop(g, v, *, t, lr=0.01, rho=0.99, eps=1e-8):
    r"""Divide by the root of a decaying average of the squared gradients.

    .. math:: v_t = \rho v_{t-1} + (1-\rho)\, g_t^2, \quad \Delta_t = -\eta\, \frac{g_t}{\sqrt{v_t} + \epsilon}

    The average starts at zero and is not corrected for it: the first step is ``lr / sqrt(1 - rho)`` long, ten times
    ``lr`` at the default.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size in units of the parameter, >= 0.
        rho: decay of the average, in [0, 1); it remembers ``1 / (1 - rho)`` steps. The sources write 0.9.
        eps: added to the root, >= 0 (two sources add it under the root, one omits it: ``rmsprop_eps_inside``).

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: Tieleman and Hinton (2012), lecture 6e. Same as ``torch.optim.RMSprop`` (not centered, no momentum).
    """
    v = rho * v + (1 - rho) * g**2
    return -lr * g / (v**0.5 + eps), v


@rule
def adadelta(g, v, d, *, t, lr=1.0, rho=0.9, eps=1e-6):
    r"""Scale the gradient by the root mean square of past steps over that of past gradients.

    .. math:: v_t = \rho v_{t-1} + (1-\rho)\, g_t^2, \quad
              x_t = -\frac{\sqrt{d_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t, \quad
              d_t = \rho d_{t-1} + (1-\rho)\, x_t^2, \quad \Delta_t = \eta\, x_t

    ``eps`` sets the first step, about ``sqrt(eps / (1 - rho))``: it is a learning rate in disguise.

    Args:
        g: gradient, any shape; the states ``v`` (squared gradients) and ``d`` (squared steps) have the same shape and
            start at zero.
        t: step count, from 1 (unused).
        lr: factor on the step, >= 0; the paper has none (1).
        rho: decay of both averages, in [0, 1).
        eps: added under both roots, >= 0.

    Returns:
        The step to add to the parameters, and the new ``v`` and ``d``.

    Source: Zeiler (2012), Algorithm 1, arXiv:1212.5701. Same as ``torch.optim.Adadelta``.
    """
    v = rho * v + (1 - rho) * g**2
    x = -((d + eps) ** 0.5) / (v + eps) ** 0.5 * g
    d = rho * d + (1 - rho) * x**2
    return lr * x, v, d
