"""Adam and its descendants: AMSGrad, AdamW, NAdam, RAdam, and Lion."""

import torch

from dlopt.rules.contract import RULES, rule, where


@rule
def adam(g, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    r"""Momentum on the gradient, RMSProp on its scale, both corrected for the zero start.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2, \quad
              \Delta_t = -\eta\, \frac{m_t/(1-\beta_1^t)}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Args:
        g: gradient, any shape; the states ``m`` and ``v`` have the same shape and start at zero.
        t: step count, from 1.
        lr: step size in units of the parameter, >= 0: the first step moves every coordinate by ``lr``.
        beta1, beta2: decay of the averages, in [0, 1); they remember ``1 / (1 - beta)`` steps.
        eps: added to the root, >= 0, as in Kingma and Ba (the survey adds it under the root: ``adam_eps_inside``).

    Returns:
        The step to add to the parameters, and the new ``m`` and ``v``.

    Source: Kingma and Ba (2015), Algorithm 1, arXiv:1412.6980. Same as ``torch.optim.Adam``.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return -lr * m_hat / (v_hat**0.5 + eps), m, v


adamw = RULES["adamw"] = adam
"""AdamW's rule is Adam's: the decay is the engine's, ``theta`` scaled by ``1 - lr * weight_decay`` before the step."""


@rule
def amsgrad(g, m, v, v_max, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    r"""Adam with the largest second moment so far in the denominator, which therefore never shrinks.

    .. math:: m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2, \quad
              \hat v_t = \max(\hat v_{t-1}, v_t), \quad
              \Delta_t = -\eta\, \frac{m_t/(1-\beta_1^t)}{\sqrt{\hat v_t/(1-\beta_2^t)} + \epsilon}

    Args:
        g: gradient, any shape; the states ``m``, ``v`` and ``v_max`` have the same shape and start at zero.
        t: step count, from 1.
        lr: step size in units of the parameter, >= 0.
        beta1, beta2: decay of the averages, in [0, 1).
        eps: added to the root, >= 0.

    Returns:
        The step to add to the parameters, and the new ``m``, ``v`` and ``v_max``.

    Source: Reddi, Kale and Kumar (2018), Algorithm 2, which has no bias correction; with it, as here, the same as
    ``torch.optim.Adam(amsgrad=True)``.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    v_max = torch.maximum(v_max, v)
    m_hat, v_hat = m / (1 - beta1**t), v_max / (1 - beta2**t)
    return -lr * m_hat / (v_hat**0.5 + eps), m, v, v_max


@rule(scalar_state="mu_product", initial={"mu_product": 1.0})
def nadam(g, m, v, mu_product, *, t, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3):
    r"""Adam with Nesterov's look-ahead in the first moment, under a warmed-up momentum.

    .. math:: \mu_t = \beta_1 \left(1 - \tfrac12\, 0.96^{\,t\psi}\right), \quad
              m_t = \beta_1 m_{t-1} + (1-\beta_1)\, g_t, \quad v_t = \beta_2 v_{t-1} + (1-\beta_2)\, g_t^2,

    .. math:: \hat m_t = \frac{\mu_{t+1}\, m_t}{1-\prod_{i=1}^{t+1}\mu_i}
              + \frac{(1-\mu_t)\, g_t}{1-\prod_{i=1}^t\mu_i}, \quad
              \Delta_t = -\eta\, \frac{\hat m_t}{\sqrt{v_t/(1-\beta_2^t)} + \epsilon}

    Args:
        g: gradient, any shape; the states ``m`` and ``v`` have the same shape and start at zero, ``mu_product`` is one
            number per model, the product of all :math:`\mu_i` so far, and starts at one.
        t: step count, from 1.
        lr: step size in units of the parameter, >= 0.
        beta1, beta2: decay of the averages, in [0, 1).
        eps: added to the root, >= 0.
        momentum_decay: :math:`\psi`, how fast the momentum rises from ``beta1 / 2`` to ``beta1``, >= 0.

    Returns:
        The step to add to the parameters, and the new ``m``, ``v`` and ``mu_product``.

    Source: Dozat (2016). Same as ``torch.optim.NAdam``, which keeps the product in torch's default dtype: in float64
    the two agree to about 1e-10 only, unless the default dtype is float64.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    mu_product = mu_product * mu
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next / (1 - mu_product * mu_next) * m + (1 - mu) / (1 - mu_product) * g
    v_hat = v / (1 - beta2**t)
    return -lr * m_hat / (v_hat**0.5 + eps), m, v, mu_product


@rule
def radam(g, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, threshold=5.0):
    r"""Adam whose scaling is left out, and then faded in, while the second moment rests on few gradients.

    .. math:: \rho_\infty = \frac{2}{1-\beta_2} - 1, \quad
              \rho_t = \rho_\infty - \frac{2t\beta_2^t}{1-\beta_2^t}, \quad
              r_t = \sqrt{\frac{(\rho_t-4)(\rho_t-2)\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\rho_t}},

    .. math:: \Delta_t = -\eta\, \frac{m_t}{1-\beta_1^t} \cdot
              \begin{cases} r_t \sqrt{1-\beta_2^t} \,/\, (\sqrt{v_t} + \epsilon) & \rho_t > \text{threshold} \\
                            1 & \text{else} \end{cases}

    Args:
        g: gradient, any shape; the states ``m`` and ``v`` (Adam's averages) have the same shape and start at zero.
        t: step count, from 1.
        lr: step size, >= 0: of the parameter once the scaling is on, of parameter per gradient before.
        beta1, beta2: decay of the averages, in [0, 1).
        eps: added to the root, >= 0 (the survey writes none).
        threshold: the scaling is on where :math:`\rho_t` exceeds it; >= 4. The paper has 4, its authors' code and
            PyTorch 5: the first scaled step is then the sixth instead of the fifth.

    Returns:
        The step to add to the parameters, and the new ``m`` and ``v``.

    Source: Liu et al. (2020), Algorithm 2, arXiv:1908.03265. Same as ``torch.optim.RAdam``.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    scaled = rho > threshold
    rho = where(scaled, rho, rho_inf)  # any value without a negative root: it is not used
    r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
    by_scale, plain = where(scaled, r * (1 - beta2**t) ** 0.5, 0.0), where(scaled, 0.0, 1.0)
    m_hat = m / (1 - beta1**t)
    return -lr * m_hat * (by_scale / (v**0.5 + eps) + plain), m, v


@rule
def lion(g, m, *, t, lr=1e-4, beta1=0.9, beta2=0.99):
    r"""Move every coordinate by ``lr``, in the direction of the sign of an average.

    .. math:: \Delta_t = -\eta\, \mathrm{sign}(\beta_1 m_{t-1} + (1-\beta_1)\, g_t), \quad
              m_t = \beta_2 m_{t-1} + (1-\beta_2)\, g_t

    Args:
        g: gradient, any shape; the state ``m`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: length of the step in every coordinate, in units of the parameter, >= 0; a third to a tenth of Adam's.
        beta1: decay of the average whose sign is taken, in [0, 1).
        beta2: decay of the average that is kept, in [0, 1).

    Returns:
        The step to add to the parameters, and the new ``m``.

    Source: Chen et al. (2023), Algorithm 2, arXiv:2302.06675, whose weight decay is the engine's.
    """
    direction = torch.sign(beta1 * m + (1 - beta1) * g)
    m = beta2 * m + (1 - beta2) * g
    return -lr * direction, m
