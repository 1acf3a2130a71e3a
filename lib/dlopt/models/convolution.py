"""Convolutional networks for small images."""

from torch import nn

from dlopt.checks import whole
from dlopt.models.dense import activation as activation_layer
from dlopt.models.dense import seeded
from dlopt.normalization import normalization as normalization_layer


def lenet5(side=28, channels=1, d_out=10, *, activation="relu", init="he", seed=0):
    """LeNet-5 in its usual modern form, images [n, channels, side, side] -> [n, d_out].

    Two 5 x 5 convolutions (6 and 16 maps) with 2 x 2 max pooling, then layers of 120 and 84 units. At 28 pixels the
    first convolution pads by 2, as the original did by drawing 28-pixel digits on 32 pixels: 61,706 parameters.

    Args:
        side: image side in pixels, >= 16 (8-pixel images: use ``lenet``).
        activation: the original used tanh.
        init, seed: as for ``mlp``.

    Source: LeCun, Bottou, Bengio and Haffner (1998), section II (there with learned subsampling and sparse C3).
    """
    side = whole("side", side, low=16)
    final = (side // 2 - 4) // 2

    def make():
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2), activation_layer(activation), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), activation_layer(activation), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(16 * final * final, 120), activation_layer(activation),
            nn.Linear(120, 84), activation_layer(activation), nn.Linear(84, d_out),
        )  # fmt: skip

    return seeded(make, init, seed)


def lenet5_caffe(d_out=10, *, init="he", seed=0):
    """The LeNet-5 of the compression literature, images [n, 1, 28, 28] -> [n, d_out]; 431,080 parameters.

    Two 5 x 5 convolutions (20 and 50 maps) with 2 x 2 max pooling and no activation between them, then 500 rectified
    units. Seven times as large as the network of 1998, almost all of it in the first dense layer.

    Args:
        init, seed: as for ``mlp``.

    Source: the LeNet example that ships with Caffe (Jia et al., 2014, arXiv:1408.5093).
    """
    def make():
        return nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, d_out),
        )  # fmt: skip

    return seeded(make, init, seed)


def lenet(side=8, channels=1, d_out=10, *, widths=(8, 16), hidden=64, activation="relu", init="he", seed=0):
    """A LeNet-style net for small images (``digits`` has 8 pixels), [n, channels, side, side] -> [n, d_out].

    Two 3 x 3 convolutions, each followed by 2 x 2 max pooling, then one hidden layer.

    Args:
        side: image side in pixels, >= 4.
        widths: maps of the two convolutions.
        hidden: units of the hidden layer.
        activation, init, seed: as for ``mlp``.
    """
    side, (a, b) = whole("side", side, low=4), widths

    def make():
        return nn.Sequential(
            nn.Conv2d(channels, a, 3, padding=1), activation_layer(activation), nn.MaxPool2d(2),
            nn.Conv2d(a, b, 3, padding=1), activation_layer(activation), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(b * (side // 4) ** 2, hidden), activation_layer(activation), nn.Linear(hidden, d_out),
        )  # fmt: skip

    return seeded(make, init, seed)


def small_cnn(side=28, channels=1, d_out=10, *, widths=(16, 32), normalization="batch", init="he", seed=0):
    """Small CNN with normalization, [n, channels, side, side] -> [n, d_out]; the reference CNN of the book.

    Per width: 3 x 3 convolution, normalization, ReLU, 2 x 2 max pooling; then one linear layer.

    Args:
        side: image side in pixels, at least ``2 ** len(widths)``.
        widths: number of maps per stage.
        normalization: None, ``"batch"``, ``"layer"`` or ``"group"``.
        init, seed: as for ``mlp``.
    """
    side = whole("side", side, low=2 ** len(widths))

    def make():
        net, inputs = nn.Sequential(), channels
        for k, width in enumerate(widths, start=1):
            net.add_module(f"conv{k}", nn.Conv2d(inputs, width, 3, padding=1, bias=normalization != "batch"))
            net.add_module(f"norm{k}", normalization_layer(normalization, width))
            net.add_module(f"act{k}", nn.ReLU())
            net.add_module(f"pool{k}", nn.MaxPool2d(2))
            inputs = width
        net.add_module("flatten", nn.Flatten())
        net.add_module("linear", nn.Linear(inputs * (side >> len(widths)) ** 2, d_out))
        return net

    return seeded(make, init, seed)
