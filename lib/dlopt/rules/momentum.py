"""Gradient descent, momentum in the conventions of the literature, Nesterov's momentum."""

from dlopt.rules.contract import RULES, rule


@rule
def sgd(g, *, t, lr=0.01):
    r"""Go down the gradient.

    .. math:: \Delta_t = -\eta\, g_t

    Called gradient descent when ``g`` is the full gradient, stochastic gradient descent when it is an estimate.

    Args:
        g: gradient, any shape.
        t: step count, from 1 (unused).
        lr: step size in units of parameter per gradient, >= 0.

    Returns:
        The step to add to the parameters, in a tuple of one.

    Source: Cauchy (1847); Robbins and Monro (1951). Same as ``torch.optim.SGD``.
    """
    return (-lr * g,)


gd = RULES["gd"] = sgd


@rule
def momentum(g, v, *, t, lr=0.01, mu=0.9):
    r"""Sum the gradients with decay and go down the sum (heavy ball; PyTorch's convention).

    .. math:: v_t = \mu v_{t-1} + g_t, \quad \Delta_t = -\eta\, v_t

    Under a constant gradient the step grows to ``lr / (1 - mu)`` times the gradient.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0; it acts on the whole sum, so that a drop of the rate is felt at once.
        mu: decay of the sum, in [0, 1]; it remembers ``1 / (1 - mu)`` steps.

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: Polyak (1964). Same as ``torch.optim.SGD(momentum=mu)``, up to the sign of ``v`` the Berlin lecture's form.
    """
    v = mu * v + g
    return -lr * v, v


@rule
def momentum_velocity(g, v, *, t, lr=0.01, mu=0.9):
    r"""Heavy ball with the rate inside: ``v`` is the step itself.

    .. math:: v_t = \mu v_{t-1} - \eta\, g_t, \quad \Delta_t = v_t

    At a constant rate the same iterates as :func:`momentum`. After a drop of the rate the old velocity lives on for
    ``1 / (1 - mu)`` steps, where :func:`momentum` shrinks it at once.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape, is in units of the parameter and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the velocity, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: Polyak (1964); Sutskever et al. (2013); so in the survey and in the Copenhagen lecture.
    """
    v = mu * v - lr * g
    return v, v


@rule
def momentum_displacement(g, v, *, t, lr=0.01, mu=0.9):
    r"""Heavy ball with the rate inside and the sign outside: ``v`` is subtracted.

    .. math:: v_t = \mu v_{t-1} + \eta\, g_t, \quad \Delta_t = -v_t

    The state has the opposite sign of :func:`momentum_velocity`; the iterates are the same, whatever the schedule.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the sum, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: the Pilani lecture; Qian (1999).
    """
    v = mu * v + lr * g
    return -v, v


@rule
def momentum_descent(g, v, *, t, lr=0.01, mu=0.9):
    r"""Sum the negative gradients with decay and go along the sum.

    .. math:: v_t = \mu v_{t-1} - g_t, \quad \Delta_t = \eta\, v_t

    The state has the opposite sign of :func:`momentum`; the iterates are the same, whatever the schedule.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the sum, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: the Berlin lecture.
    """
    v = mu * v - g
    return lr * v, v


@rule
def momentum_averaged(g, v, *, t, lr=0.01, mu=0.9):
    r"""Average the gradients instead of summing them.

    .. math:: v_t = \mu v_{t-1} + (1-\mu)\, g_t, \quad \Delta_t = -\eta\, v_t

    With the rate of :func:`momentum` its steps are ``1 - mu`` times as long: ten times shorter at ``mu = 0.9``.

    Args:
        g: gradient, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the average, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: the first moment of Kingma and Ba (2015). ``torch.optim.SGD(momentum=mu, dampening=mu)`` differs in its
    first step, which it takes undamped.
    """
    v = mu * v + (1 - mu) * g
    return -lr * v, v


@rule
def nesterov(g, v, *, t, lr=0.01, mu=0.9):
    r"""Nesterov's momentum, re-centred: the parameters are the points at which the gradient is taken.

    .. math:: v_t = \mu v_{t-1} + g_t, \quad \Delta_t = -\eta\, (g_t + \mu v_t)

    With :math:`\theta_t = \phi_t - \eta\mu v_t`, where :math:`\phi_t` are the iterates of the look-ahead form
    (:func:`nesterov_velocity`), the two forms are the same method at a constant rate.

    Args:
        g: gradient at the present parameters, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the sum, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: Nesterov (1983), as in ``torch.optim.SGD(momentum=mu, nesterov=True)``.
    """
    v = mu * v + g
    return -lr * (g + mu * v), v


@rule
def nesterov_velocity(g, v, *, t, lr=0.01, mu=0.9):
    r"""Nesterov's momentum, re-centred, with the rate inside the velocity.

    .. math:: v_t = \mu v_{t-1} - \eta\, g_t, \quad \Delta_t = -\mu v_{t-1} + (1+\mu)\, v_t

    The parameters are the look-ahead points :math:`\theta_t = \phi_t + \mu v_t` of the original form
    :math:`v_t = \mu v_{t-1} - \eta \nabla f(\phi_{t-1} + \mu v_{t-1}),\ \phi_t = \phi_{t-1} + v_t`, under any schedule
    of the rate. See :func:`lookahead`.

    Args:
        g: gradient at the present parameters, any shape; the state ``v`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0.
        mu: decay of the velocity, in [0, 1].

    Returns:
        The step to add to the parameters, and the new ``v``.

    Source: Sutskever et al. (2013), section 2; re-centred by Bengio, Boulanger-Lewandowski and Pascanu (2013).
    """
    v_before = v
    v = mu * v - lr * g
    return -mu * v_before + (1 + mu) * v, v


def lookahead(theta, v, *, mu=0.9):
    r"""Where Nesterov's original form takes its gradient: :math:`\theta + \mu v`.

    One step of that form is :func:`momentum_velocity` with the gradient taken there instead of at ``theta``::

        step, v = momentum_velocity(grad(lookahead(theta, v, mu=mu)), v, t=t, lr=lr, mu=mu)

    Args:
        theta: parameters, any shape.
        v: velocity in units of the parameter, same shape.
        mu: decay of the velocity, in [0, 1].

    Source: Nesterov (1983); Sutskever et al. (2013).
    """
    return theta + mu * v
