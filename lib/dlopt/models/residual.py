"""Deep stacks of equal blocks: plain, and residual with activation before or after the sum."""

from torch import nn

from dlopt.checks import one_of, whole
from dlopt.models.dense import activation as activation_layer
from dlopt.models.dense import seeded
from dlopt.normalization import normalization as normalization_layer

KINDS = ("plain", "pre", "post")


class ResidualBlock(nn.Module):
    r"""One block of a stack, x [n, width, ...] -> the same shape.

    ``"plain"``: :math:`\phi(N(Wx))`; ``"post"`` (original ResNet): :math:`\phi(x + N(Wx))`;
    ``"pre"``: :math:`x + W\phi(N(x))`, whose skip path is the identity from end to end.

    Args:
        layer: the map W, width to width.
        norm, act: modules N and phi.
        kind: one of ``KINDS``.
        scale: factor on the branch.
    """

    def __init__(self, layer, norm, act, kind, scale=1.0):
        super().__init__()
        self.layer, self.norm, self.act = layer, norm, act
        self.kind, self.scale = kind, scale

    def forward(self, x):
        """[n, width, ...] -> [n, width, ...]."""
        if self.kind == "pre":
            return x + self.scale * self.layer(self.act(self.norm(x)))
        branch = self.norm(self.layer(x))
        return self.act(branch if self.kind == "plain" else x + self.scale * branch)


def _check(kind, depth, width):
    one_of("kind", kind, KINDS)
    return whole("depth", depth), whole("width", width)


def residual_mlp(d_in, width, depth, d_out, *, kind="pre", normalization=None, activation="relu", branch_scale=None,
                 init="he", seed=0):  # fmt: skip
    """Stack of ``depth`` equal dense blocks between an input and an output layer, [n, d_in] -> [n, d_out].

    Args:
        d_in, width, depth, d_out: sizes; inputs with more axes are flattened.
        kind: ``"plain"``, ``"pre"`` or ``"post"`` (see ``ResidualBlock``).
        normalization: None, ``"batch"``, ``"layer"`` or ``"group"``, once per block.
        activation: one of ``dlopt.models.ACTIVATIONS``.
        branch_scale: factor on each branch; None: ``depth ** -0.5``, which keeps the variance of the sum bounded at any
            depth (plain blocks have none).
        init, seed: as for ``mlp``.

    Source: He et al. (2016a), arXiv:1512.03385 (post); (2016b), arXiv:1603.05027 (pre).
    """
    depth, width = _check(kind, depth, width)
    scale = depth**-0.5 if branch_scale is None else branch_scale

    def make():
        def block():
            norm = normalization_layer(normalization, width)
            return ResidualBlock(nn.Linear(width, width), norm, activation_layer(activation), kind, scale)

        blocks = nn.Sequential(*(block() for _ in range(depth)))
        first, last = nn.Linear(whole("d_in", d_in), width), nn.Linear(width, whole("d_out", d_out))
        return nn.Sequential(nn.Flatten(), first, blocks, activation_layer(activation), last)

    return seeded(make, init, seed)


def residual_cnn(side=28, channels=1, d_out=10, *, width=16, depth=8, kind="pre", normalization="batch",
                 branch_scale=1.0, init="he", seed=0):  # fmt: skip
    """Stack of ``depth`` equal 3 x 3 convolution blocks, images [n, channels, side, side] -> [n, d_out].

    First a convolution to ``width`` maps and 2 x 2 max pooling, then the blocks, then the mean over space and a linear
    layer: deeper only means more blocks.

    Args:
        side: image side in pixels, >= 4.
        channels, d_out: sizes.
        width: maps per block; depth: number of blocks.
        kind, normalization, branch_scale: as for ``residual_mlp`` (the default factor is 1).
        init, seed: as for ``mlp``.
    """
    depth, width = _check(kind, depth, width)
    whole("side", side, low=4)

    def make():
        def block():
            layer = nn.Conv2d(width, width, 3, padding=1, bias=normalization != "batch")
            return ResidualBlock(layer, normalization_layer(normalization, width), nn.ReLU(), kind, branch_scale)

        stem = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(2))
        blocks, head = nn.Sequential(*(block() for _ in range(depth))), nn.Linear(width, d_out)
        return nn.Sequential(stem, blocks, nn.ReLU(), nn.AvgPool2d(side // 2), nn.Flatten(), head)

    return seeded(make, init, seed)
