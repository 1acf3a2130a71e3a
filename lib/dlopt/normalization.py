"""Normalization layers that also work inside ``torch.func.vmap``."""

import torch
from torch import nn
from torch.nn import functional

from dlopt.checks import one_of, whole


class BatchNorm(nn.Module):
    r"""Per channel: subtract the batch's mean, divide by its standard deviation, scale and shift.

    .. math:: y = \gamma\, \frac{x - \mu_B}{\sqrt{\sigma_B^2 + \epsilon}} + \beta

    In training the statistics are those of the batch, and running averages follow them; in evaluation the running
    averages are used. Equal to ``torch.nn.BatchNorm1d/2d``, except that the running averages are *replaced* instead of
    changed in place: ``functional_call(model, tensors, x)`` writes them back into the dict ``tensors``, so that models
    with batch normalization train under ``torch.func.grad`` and ``vmap`` (read the new buffers from that dict).

    Args:
        channels: size of axis 1 of the input, [n, channels] or [n, channels, space ...].
        eps: added to the variance.
        momentum: weight of the newest batch in the running averages, in [0, 1].
        affine: learn gamma (starts at 1) and beta (starts at 0).

    Source: Ioffe and Szegedy (2015), Algorithm 1, arXiv:1502.03167.
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1, affine=True):
        super().__init__()
        self.channels, self.eps, self.momentum = whole("channels", channels), eps, momentum
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x):
        """[n, channels, ...] -> the same shape."""
        if not self.training:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        self._follow(x.detach())
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)

    def _follow(self, x):
        axes = [0, *range(2, x.ndim)]
        if x.numel() // self.channels < 2:
            raise ValueError(f"batch normalization needs at least 2 values per channel, got shape {tuple(x.shape)}")
        var, mean = torch.var_mean(x.float() if x.dtype in (torch.bfloat16, torch.float16) else x, axes)
        self.running_mean = torch.lerp(self.running_mean, mean.to(self.running_mean.dtype), self.momentum)
        self.running_var = torch.lerp(self.running_var, var.to(self.running_var.dtype), self.momentum)

    def extra_repr(self):
        """What ``print(model)`` shows."""
        return f"{self.channels}, eps={self.eps}, momentum={self.momentum}"


def _layer(channels):
    return nn.GroupNorm(1, channels)  # over all channels (and space) of one example


def _group(channels):
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def _none(channels):
    return nn.Identity()


NORMALIZATIONS = {None: _none, "batch": BatchNorm, "layer": _layer, "group": _group}


def normalization(kind, channels):
    """A layer that normalizes [n, channels, ...].

    Args:
        kind: None (identity), ``"batch"``, ``"layer"`` (one mean and variance per example) or ``"group"`` (per example
            and group of channels: 8 groups, or 4, 2, 1 if 8 does not divide the channels).
        channels: size of axis 1.

    Raises:
        ValueError: unknown kind.
    """
    return NORMALIZATIONS[one_of("normalization", kind, NORMALIZATIONS)](channels)
