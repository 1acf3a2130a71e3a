"""Where training starts: distributions of the first weights.

Every scheme fills one weight tensor in place, from a generator that the caller hands in; the global random state is
neither read nor changed.
"""

import math

import torch

from dlopt.checks import non_negative, one_of


def fans(weight):
    """Numbers of inputs and outputs of one unit: (fan_in, fan_out).

    Args:
        weight: [out, in] or, for a convolution, [out, in, kernel ...]; the kernel's positions multiply both fans.
    """
    if weight.ndim < 2:
        raise ValueError(f"weight must have at least 2 axes (out, in), got shape {tuple(weight.shape)}")
    kernel = math.prod(weight.shape[2:])
    return weight.shape[1] * kernel, weight.shape[0] * kernel


def _gaussian(weight, std, generator):
    with torch.no_grad():
        return weight.normal_(0.0, std, generator=generator)


def zeros(weight, generator=None):
    """All weights 0: every unit of a layer stays the same for ever."""
    with torch.no_grad():
        return weight.zero_()


def constant(weight, generator=None, *, value=0.1):
    """All weights ``value``."""
    with torch.no_grad():
        return weight.fill_(value)


def normal(weight, generator, *, std=0.01):
    """Independent Gaussians with standard deviation ``std``, whatever the fan."""
    return _gaussian(weight, non_negative("std", std), generator)


def lecun(weight, generator, *, gain=1.0):
    r"""Gaussian with variance :math:`\text{gain}^2 / \text{fan}_\text{in}`: keeps the variance of a linear layer.

    Source: LeCun, Bottou, Orr and Mueller (1998), Efficient BackProp, section 4.6.
    """
    return _gaussian(weight, gain / math.sqrt(fans(weight)[0]), generator)


def he(weight, generator, *, gain=1.0):
    r"""Gaussian with variance :math:`2\,\text{gain}^2 / \text{fan}_\text{in}`: keeps the mean square through ReLU.

    Source: He, Zhang, Ren and Sun (2015), equation 10, arXiv:1502.01852.
    """
    return _gaussian(weight, gain * math.sqrt(2 / fans(weight)[0]), generator)


def glorot(weight, generator, *, gain=1.0):
    r"""Gaussian with variance :math:`2\,\text{gain}^2 / (\text{fan}_\text{in} + \text{fan}_\text{out})`.

    Source: Glorot and Bengio (2010), equation 12.
    """
    return _gaussian(weight, gain * math.sqrt(2 / sum(fans(weight))), generator)


def glorot_uniform(weight, generator, *, gain=1.0):
    r"""Uniform on :math:`\pm\,\text{gain}\sqrt{6 / (\text{fan}_\text{in} + \text{fan}_\text{out})}`: Glorot's variance.

    Source: Glorot and Bengio (2010), equation 16.
    """
    bound = gain * math.sqrt(6 / sum(fans(weight)))
    with torch.no_grad():
        return weight.uniform_(-bound, bound, generator=generator)


def fan_in_uniform(weight, generator, *, gain=1.0):
    r"""Uniform on :math:`\pm\,\text{gain}/\sqrt{\text{fan}_\text{in}}`: variance 1/(3 fan_in), the default of
    ``torch.nn.Linear``."""
    bound = gain / math.sqrt(fans(weight)[0])
    with torch.no_grad():
        return weight.uniform_(-bound, bound, generator=generator)


def orthogonal(weight, generator, *, gain=1.0):
    r"""``gain`` times a matrix with orthonormal rows or columns, uniformly distributed: norms pass unchanged.

    A convolution is treated as the matrix [out, in * kernel].

    Source: Saxe, McClelland and Ganguli (2014), arXiv:1312.6120.
    """
    rows, columns = weight.shape[0], fans(weight)[0]
    square = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(square)
    q = q * torch.sign(torch.diagonal(r))  # makes the distribution uniform
    q = q if rows >= columns else q.T
    with torch.no_grad():
        return weight.copy_(gain * q.reshape(weight.shape))


def sparse(weight, generator, *, connections=15, std=None):
    """``connections`` non-zero Gaussian inputs per unit, the others 0.

    Args:
        connections: non-zero weights per unit (at most fan_in are set).
        std: of the non-zero weights; None chooses ``sqrt(2 / connections)``, which gives He's variance of the sum.

    Source: Martens (2010), Deep learning via Hessian-free optimization, section 5 (there with std 1).
    """
    fan_in = fans(weight)[0]
    k = min(int(connections), fan_in)
    if k < 1:
        raise ValueError(f"connections must be >= 1, got {connections}")
    std = math.sqrt(2 / k) if std is None else std
    shape = (weight.shape[0], fan_in)
    chosen = torch.rand(shape, generator=generator).argsort(1)[:, :k]
    values = std * torch.randn(weight.shape[0], k, generator=generator)
    dense = torch.zeros(shape).scatter_(1, chosen, values)
    with torch.no_grad():
        return weight.copy_(dense.reshape(weight.shape))


SCHEMES = {
    f.__name__: f
    for f in (zeros, constant, normal, lecun, he, glorot, glorot_uniform, fan_in_uniform, orthogonal, sparse)
}


def scheme(init):
    """The function behind ``init``: a name in ``SCHEMES``, or a function ``f(weight, generator)`` as it is.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    return init if callable(init) else SCHEMES[one_of("init", init, SCHEMES)]


def initialize(module, init="he", generator=None, *, bias=0.0):
    """Fill every weight matrix and kernel in ``module`` by ``init`` and every bias of those layers by ``bias``.

    Layers that own a 1-d weight (normalizations) keep what their constructor set: scale 1, shift 0.

    Args:
        module: any ``torch.nn.Module``; its parameters are changed in place.
        init: name in ``SCHEMES`` or ``f(weight, generator)``.
        generator: a ``torch.Generator`` on the module's device.

    Returns:
        ``module``.
    """
    fill = scheme(init)
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if weight is None or weight.ndim < 2:
            continue
        fill(weight, generator)
        if getattr(layer, "bias", None) is not None:
            torch.nn.init.constant_(layer.bias, bias)
    return module
