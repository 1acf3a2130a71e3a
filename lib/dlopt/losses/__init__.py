"""Losses ``loss(prediction, target, reduction="mean")`` in torch's conventions, as plain functions.

Every function works under ``torch.func.vmap`` and ``torch.compile``; what it refuses is stated in
``dlopt.losses.validation``.
"""

from dlopt.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    kl_divergence,
    log_softmax,
    multi_margin,
    nll,
)
from dlopt.losses.regression import huber, log_cosh, mae, mse, quantile, smooth_l1
from dlopt.losses.validation import REDUCTIONS, reduce, unchecked

__all__ = [
    "REDUCTIONS",
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "log_softmax",
    "mae",
    "mse",
    "multi_margin",
    "nll",
    "quantile",
    "reduce",
    "smooth_l1",
    "unchecked",
]
