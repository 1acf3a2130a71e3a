"""Linear model, multilayer perceptron, autoencoder."""

import torch
from torch import nn

from dlopt.checks import one_of, whole
from dlopt.initialization import initialize
from dlopt.normalization import normalization
from dlopt.scale import generator

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}


def activation(name):
    """A layer for one of ``ACTIVATIONS``."""
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]()


def seeded(module_factory, init, seed, bias=0.0):
    """The module that ``module_factory()`` makes, with weights drawn by ``init`` from a generator of its own.

    What the constructors of torch's layers draw from the global random state is undone.
    """
    with torch.random.fork_rng(devices=[]):
        module = module_factory()
    return initialize(module, init, generator(whole("seed", seed, low=0)), bias=bias)


def linear(d_in, d_out, *, bias=True, init="lecun", seed=0):
    """One affine map, [n, d_in] -> [n, d_out]; inputs with more axes are flattened first.

    Args:
        d_in, d_out: sizes, >= 1.
        bias: learn an offset (starts at 0).
        init: name in ``dlopt.initialization.SCHEMES`` or ``f(weight, generator)``; ``"zeros"`` is harmless here.
        seed: of the initial weights.
    """
    return mlp([d_in, d_out], bias=bias, init=init, seed=seed)


def mlp(sizes, activation="relu", init="he", normalization=None, *, bias=True, seed=0):
    """Multilayer perceptron, [n, sizes[0]] -> [n, sizes[-1]]; inputs with more axes are flattened first.

    Each hidden layer is linear, then (optional) normalization, then activation; the last layer is linear.

    Args:
        sizes: widths from input to output, at least two.
        activation: one of ``ACTIVATIONS``.
        init: name in ``dlopt.initialization.SCHEMES`` or ``f(weight, generator)``, for all layers.
        normalization: None, ``"batch"``, ``"layer"`` or ``"group"``.
        bias: learn offsets (they start at 0); layers before a normalization have none, it would be subtracted again.
        seed: of the initial weights.

    Returns:
        ``nn.Sequential`` with layers ``flatten``, ``linear1``, ``norm1``, ``act1``, ..., ``linearL``.
    """
    sizes = [whole("each of sizes", size) for size in sizes]
    if len(sizes) < 2:
        raise ValueError(f"sizes must have at least an input and an output width, got {sizes}")
    return seeded(lambda: _stack(sizes, activation, normalization, bias), init, seed)


def _stack(sizes, act, norm, bias):
    net, last = nn.Sequential(), len(sizes) - 1
    net.add_module("flatten", nn.Flatten())
    for k, (d_in, d_out) in enumerate(zip(sizes[:-1], sizes[1:]), start=1):
        hidden = k < last
        net.add_module(f"linear{k}", nn.Linear(d_in, d_out, bias=bias and not (hidden and norm == "batch")))
        if hidden and norm is not None:
            net.add_module(f"norm{k}", normalization(norm, d_out))
        if hidden:
            net.add_module(f"act{k}", activation(act))
    return net


def lenet_300_100(d_in=784, d_out=10, *, activation="relu", init="he", seed=0):
    """LeNet-300-100: an MLP with hidden layers of 300 and 100 units, the standard small net of pruning papers.

    Source: LeCun, Bottou, Bengio and Haffner (1998), section III.
    """
    return mlp([d_in, 300, 100, d_out], activation, init, seed=seed)


class Autoencoder(nn.Module):
    """``decoder(encoder(x))`` in the shape of ``x``; ``.encoder`` and ``.decoder`` are MLPs on vectors."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x):
        """[n, ...] -> [n, ...], the reconstruction."""
        return self.decoder(self.encoder(x)).view(x.shape)


def autoencoder(sizes, *, activation="relu", init="he", seed=0):
    """Symmetric autoencoder: ``sizes`` from the input to the code, and the same widths back.

    Args:
        sizes: e.g. ``[784, 128, 16]``: code of 16 numbers; the code and the output are linear.
        activation: one of ``ACTIVATIONS``, in the other layers.
        init, seed: as for ``mlp``.
    """
    sizes = list(sizes)
    with torch.random.fork_rng(devices=[]):
        net = Autoencoder(mlp(sizes, activation, init), mlp(sizes[::-1], activation, init))
    return initialize(net, init, generator(whole("seed", seed, low=0)))
