"""A convolutional network without pooling: the cheapest one to train as an ensemble."""

from torch import nn

from dlopt.checks import whole
from dlopt.models.dense import seeded


def strided_cnn(side=16, channels=1, d_out=10, *, widths=(8, 16), hidden=32, init="he", seed=0):
    """Two 3 x 3 convolutions of stride 2 with ReLU, then one hidden layer; [n, channels, side, side] -> [n, d_out].

    The strides do what pooling does elsewhere, so no value is computed that is then thrown away.

    Args:
        side: image side in pixels, divisible by 4.
        channels, d_out: channels of an image, number of outputs.
        widths: maps of the two convolutions.
        hidden: units of the hidden layer.
        init, seed: as for ``mlp``.

    Raises:
        ValueError: a side that is not divisible by 4.

    Source: Springenberg et al. (2015), arXiv:1412.6806 (convolutions with strides in place of pooling).
    """
    side, (a, b) = whole("side", side, low=4), widths
    if side % 4:
        raise ValueError(f"side must be divisible by 4, got {side}; pad the images")

    def make():
        return nn.Sequential(
            nn.Conv2d(channels, a, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(b * (side // 4) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, d_out),
        )  # fmt: skip

    return seeded(make, init, seed)
