"""Losses for real-valued targets; each is the negative log-likelihood of a noise law, up to constants."""

import math

import torch

from dlopt.checks import positive
from dlopt.losses.validation import finite_values, reduce, same_shape


def _residual(prediction, target):
    same_shape(prediction, target)
    finite_values("target", target)
    return target - prediction


def _positive(name, value):
    return value if isinstance(value, torch.Tensor) else positive(name, value)


def mse(prediction, target, reduction="mean"):
    r"""Squared error; its minimizer estimates the conditional mean.

    .. math:: \ell(\hat y, y) = (y - \hat y)^2

    ``"mean"`` divides by the number of *elements*, not of examples: with targets of k components the gradient is k
    times smaller than that of the mean of :math:`\lVert y - \hat y\rVert^2` over examples.

    Args:
        prediction, target: real, the same shape [n, ...].
        reduction: ``"mean"``, ``"sum"`` or ``"none"`` (one value per element).

    Returns:
        A scalar, or a tensor of the shape of ``prediction``; in squared units of the target.

    Raises:
        ValueError: shapes differ, nothing in them, a target is nan or infinite.

    Source: Gauss (1809); equal to ``torch.nn.functional.mse_loss``.
    """
    return reduce(_residual(prediction, target) ** 2, reduction)


def mae(prediction, target, reduction="mean"):
    r"""Absolute error (least absolute deviation); its minimizer estimates the conditional median.

    .. math:: \ell(\hat y, y) = |y - \hat y|

    The gradient is -1 or 1 however large the residual is, and 0 at residual 0.

    Args:
        prediction, target, reduction: as in :func:`mse`.

    Returns:
        A scalar, or a tensor of the shape of ``prediction``; in units of the target.

    Raises:
        ValueError: as :func:`mse`.

    Source: Boscovich (1757), Laplace (1774); equal to ``torch.nn.functional.l1_loss``.
    """
    return reduce(_residual(prediction, target).abs(), reduction)


def quantile(prediction, target, reduction="mean", *, q=0.5):
    r"""Quantile (pinball) loss; its minimizer estimates the conditional ``q``-quantile.

    .. math:: \ell_q(\hat y, y) = \max\bigl(q\,(y-\hat y),\ (q-1)(y-\hat y)\bigr)

    q = 1/2 is half the absolute error. At residual 0 the gradient is the middle of the subdifferential, 1/2 - q.

    Args:
        prediction, target, reduction: as in :func:`mse`.
        q: share of the targets that should lie below the prediction, in (0, 1).

    Returns:
        A scalar, or a tensor of the shape of ``prediction``; in units of the target.

    Raises:
        ValueError: as :func:`mse`, or q outside (0, 1).

    Source: Koenker and Bassett (1978), Regression quantiles.
    """
    if not isinstance(q, torch.Tensor) and not 0 < q < 1:
        raise ValueError(f"q must be in (0, 1), got {q}")
    residual = _residual(prediction, target)
    return reduce(torch.maximum(q * residual, (q - 1) * residual), reduction)


def huber(prediction, target, reduction="mean", *, delta=1.0):
    r"""Squared near zero, absolute beyond ``delta``; its gradient is the residual clipped to [-delta, delta].

    .. math:: \ell_\delta(\hat y, y) = \begin{cases} \tfrac12 r^2 & |r| \le \delta\\
              \delta\,(|r| - \tfrac12\delta) & |r| > \delta \end{cases} \qquad r = y - \hat y

    Args:
        prediction, target, reduction: as in :func:`mse`.
        delta: residual from which on errors count linearly, in units of the target, > 0.

    Returns:
        A scalar, or a tensor of the shape of ``prediction``; in squared units of the target.

    Raises:
        ValueError: as :func:`mse`, or delta not > 0.

    Source: Huber (1964), Robust estimation of a location parameter; equal to ``torch.nn.functional.huber_loss``.
    """
    _positive("delta", delta)
    size = _residual(prediction, target).abs()
    return reduce(torch.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)), reduction)


def smooth_l1(prediction, target, reduction="mean", *, beta=1.0):
    r"""Huber's loss divided by its threshold: slope 1 in the tails, curvature ``1 / beta`` at zero.

    .. math:: \ell_\beta(\hat y, y) = \tfrac1\beta\, \ell^{\text{Huber}}_{\delta=\beta}(\hat y, y)

    Args:
        prediction, target, reduction: as in :func:`mse`.
        beta: residual from which on errors count linearly, in units of the target, > 0.

    Returns:
        A scalar, or a tensor of the shape of ``prediction``; in units of the target.

    Raises:
        ValueError: as :func:`mse`, or beta not > 0.

    Source: Girshick (2015), Fast R-CNN, arXiv:1504.08083; equal to ``torch.nn.functional.smooth_l1_loss``.
    """
    return huber(prediction, target, reduction, delta=_positive("beta", beta)) / beta


def log_cosh(prediction, target, reduction="mean"):
    r"""A smooth relative of Huber's loss, without a case distinction; the gradient is the tanh of the residual.

    .. math:: \ell(\hat y, y) = \log\cosh r = |r| + \log(1 + e^{-2|r|}) - \log 2, \qquad r = y - \hat y

    The right-hand side does not overflow.

    Args:
        prediction, target, reduction: as in :func:`mse`.

    Returns:
        A scalar, or a tensor of the shape of ``prediction``.

    Raises:
        ValueError: as :func:`mse`.

    Source: Green (1990), Bayesian reconstructions from emission tomography data using a modified EM algorithm.
    """
    # r + log(1 + exp(-2r)) is even in r; both halves written with logsigmoid, whose gradient is right at r = 0 too
    residual = _residual(prediction, target)
    log_sum = -torch.nn.functional.logsigmoid(2 * residual) - torch.nn.functional.logsigmoid(-2 * residual)
    return reduce(0.5 * log_sum - math.log(2), reduction)
