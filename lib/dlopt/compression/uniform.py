"""Uniform quantization: int8 after training, and training that sees the rounding."""

import copy

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from dlopt.checks import whole
from dlopt.compression.pruning import prunable


def symmetric_scale(w, bits, per_channel=True):
    r"""Step of a symmetric uniform quantizer, :math:`\Delta = \max|w| / (2^{b-1}-1)`.

    Args:
        w: weights, the first axis runs over output channels.
        bits: b, 2 ... 16.
        per_channel: one step per output channel (shape [d_out, 1, ...]) instead of one for all (0-d).

    Returns:
        The step, positive; 1 where all weights are zero.
    """
    levels = 2 ** (_bits(bits) - 1) - 1
    top = w.abs().flatten(1).amax(1).view(-1, *[1] * (w.ndim - 1)) if per_channel else w.abs().amax()
    return torch.where(top > 0, top / levels, torch.ones_like(top))


def quantize(w, scale, bits):
    """Whole numbers in -(2^(b-1) - 1) ... 2^(b-1) - 1 nearest to ``w / scale`` (as floats; ``* scale`` undoes it)."""
    levels = 2 ** (_bits(bits) - 1) - 1
    return (w / scale).round().clamp(-levels, levels) + 0.0  # no -0.0


class RoundStraightThrough(torch.autograd.Function):
    """Rounding forward, the identity backward: the straight-through estimator.

    Source: Bengio, Leonard and Courville (2013), arXiv:1308.3432.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        """[...] -> the nearest whole numbers."""
        return x.round()

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept: the gradient does not look at the values."""

    @staticmethod
    def backward(ctx, grad):
        """The gradient of the rounded values, handed on as it is."""
        return grad


class FakeQuantize(nn.Module):
    r"""Parametrization of a weight by its rounded self, :math:`\hat w = \Delta\,\mathrm{round}(w / \Delta)`.

    Forward, the layer computes with rounded weights. Backward, rounding counts as the identity, so that the small
    steps of the optimizer add up in w until a weight crosses to the next level.

    Args:
        bits: 2 ... 16.
        per_channel: as in `symmetric_scale`; the step follows the weights.
    """

    def __init__(self, bits, per_channel=True):
        super().__init__()
        self.bits, self.per_channel = _bits(bits), per_channel

    def forward(self, w):
        """The rounded weight."""
        scale = symmetric_scale(w.detach(), self.bits, self.per_channel)
        levels = 2 ** (self.bits - 1) - 1
        return RoundStraightThrough.apply(w / scale).clamp(-levels, levels) * scale

    def right_inverse(self, w):
        """What is stored when a weight is assigned."""
        return w


def fake_quantize(model, bits, per_channel=True):
    """Let a model train with rounded weights (quantization-aware training): each weight gets a `FakeQuantize`.

    Returns:
        The model, changed in place; `dlopt.compression.bake` leaves the rounded weights in it.
    """
    for layer in prunable(model).values():
        parametrize.register_parametrization(layer, "weight", FakeQuantize(bits, per_channel))
    return model


def round_weights(model, bits, per_channel=True):
    """A copy of a model whose weights are rounded to ``bits`` (biases are not): post-training quantization of weights.

    Args:
        model: module without parametrizations; not changed.
        bits, per_channel: as in `symmetric_scale`.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for layer in prunable(model).values():
            scale = symmetric_scale(layer.weight, bits, per_channel)
            layer.weight.copy_(quantize(layer.weight, scale, bits) * scale)
    return model


class Int8Linear(nn.Module):
    r"""A linear layer in whole numbers: int8 weights, uint8 inputs, int32 sums, one multiplication at the end.

    .. math:: y = s_x s_w \big( W_q (x_q - z) \big) + b, \qquad x_q = \mathrm{clip}(\mathrm{round}(x / s_x) + z, 0, 255)

    Args:
        layer: ``nn.Linear``.
        low, high: range of its inputs, from calibration.
    """

    def __init__(self, layer, low, high):
        super().__init__()
        low, high = min(0.0, float(low)), max(0.0, float(high))  # zero must be exact: padding and ReLU produce it
        scale_w = symmetric_scale(layer.weight.detach(), 8)
        self.register_buffer("weight", quantize(layer.weight.detach(), scale_w, 8).to(torch.int8))
        self.register_buffer("scale_w", scale_w.flatten())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.scale_x = (high - low) / 255 or 1.0
        self.zero = round(-low / self.scale_x)

    def forward(self, x):
        """[n, d_in] -> [n, d_out], float32 on both sides."""
        x_q = (x / self.scale_x).round().add(self.zero).clamp(0, 255).sub(self.zero).to(torch.int32)
        total = x_q @ self.weight.to(torch.int32).T if x.device.type == "cpu" else \
            (x_q.double() @ self.weight.double().T)
        y = total.to(self.scale_w.dtype) * (self.scale_x * self.scale_w)
        return y if self.bias is None else y + self.bias


class Int8Conv2d(Int8Linear):
    """A convolution in whole numbers, as `Int8Linear`, over the patches of its input."""

    def __init__(self, layer, low, high):
        super().__init__(layer, low, high)
        self.options = {"kernel_size": layer.kernel_size, "stride": layer.stride, "padding": layer.padding,
                        "dilation": layer.dilation}
        self.shape = tuple(self.weight.shape)
        self.weight = self.weight.flatten(1)

    def forward(self, x):
        """[n, c, h, w] -> [n, d_out, h', w']."""
        (kh, kw), (sh, sw), (ph, pw), (dh, dw) = self.options.values()
        h = (x.shape[2] + 2 * ph - dh * (kh - 1) - 1) // sh + 1
        w = (x.shape[3] + 2 * pw - dw * (kw - 1) - 1) // sw + 1
        patches = functional.unfold(x, (kh, kw), (dh, dw), (ph, pw), (sh, sw)).transpose(1, 2).flatten(0, 1)
        return super().forward(patches).view(len(x), h * w, -1).transpose(1, 2).reshape(len(x), -1, h, w)


@torch.no_grad()
def quantize_int8(model, calibration):
    """Post-training quantization: a copy of a model whose linear and convolutional layers compute in whole numbers.

    Args:
        model: ``nn.Sequential``; not changed.
        calibration: inputs [n, ...], from the training set: they set the range of every layer's inputs.

    Returns:
        ``nn.Sequential`` with `Int8Linear` and `Int8Conv2d` layers.
    """
    layers, x = [], calibration
    for layer in copy.deepcopy(model).eval():
        low, high = x.amin(), x.amax()
        x = layer(x)
        kind = {nn.Linear: Int8Linear, nn.Conv2d: Int8Conv2d}.get(type(layer))
        layers.append(layer if kind is None else kind(layer, low, high))
    return nn.Sequential(*layers)


def _bits(bits):
    if not 2 <= whole("bits", bits) <= 16:
        raise ValueError(f"bits must be in 2 ... 16, got {bits}")
    return int(bits)
