"""Structured pruning: whole units and filters, which make layers smaller, and two of any four neighbors."""

import copy

import torch
from torch import nn

from dlopt.checks import in_half_open
from dlopt.compression.measuring import two_four_mask
from dlopt.compression.pruning import prunable, set_mask
from dlopt.normalization import BatchNorm

SINGLE = (nn.Linear, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm)
TRANSPARENT = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus, nn.Identity, nn.MaxPool2d, nn.AvgPool2d,
               nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten)


def unit_norms(layer):
    """Euclidean norm of the weights that enter each unit or filter of a layer, [d_out]."""
    return layer.weight.detach().flatten(1).norm(dim=1)


def two_four_prune(model):
    """Remove two of any four neighboring weights, those of smaller magnitude: 2:4 sparsity, which some GPUs compute.

    Neighbors are entries of one row of the layer's matrix, [d_out, d_in] (kernels: [d_out, d_in k k], as a convolution
    over patches multiplies). A layer whose rows are no multiple of four stays dense.

    Args:
        model: module; changed in place: each pruned weight gets a `Mask`, one of ones in layers that stay dense.

    Returns:
        The model.

    Source: Mishra et al. (2021), arXiv:2104.08378.
    """
    for layer in prunable(model).values():
        W = layer.weight.detach().flatten(1)
        set_mask(layer, (two_four_mask(W) if W.shape[1] % 4 == 0 else torch.ones_like(W)).view(layer.weight.shape))
    return model


def shrink(model, ratio):
    r"""Remove the share ``ratio`` of every hidden layer's units or filters, those with the smallest norms.

    If unit j goes, row j of its own weight goes, and so does every column of the next layer that read it: a hidden
    layer between widths a and c loses :math:`a + c` weights (and a bias) with each unit. Nothing is masked; the
    network that is returned has smaller matrices and is faster on any hardware.

    Args:
        model: ``nn.Sequential`` of linear layers, ungrouped 2-d convolutions, batch normalizations, activations,
            pooling and flattening. It is not changed.
        ratio: in [0, 1); at least one unit of each layer is kept; the last layer keeps all.

    Returns:
        A smaller model of the same kind.

    Raises:
        ValueError: a layer of another kind, or ``ratio`` out of range.

    Source: Li, Kadav, Durdanovic, Samet and Graf (2017), arXiv:1608.08710 (filters by their norm).
    """
    in_half_open("ratio", ratio)
    if type(model) is not nn.Sequential:
        raise ValueError(f"model must be an nn.Sequential, got {type(model).__name__}; shrink its parts one by one")
    small = copy.deepcopy(model)
    layers = list(small.children())
    singles = [k for k, layer in enumerate(layers) if isinstance(layer, SINGLE)]
    _check(layers)
    norms_of = {k: unit_norms(layers[k]) for k in singles}  # of the whole layers, before any column goes
    for here, following in zip(singles, singles[1:]):
        layer, reader = layers[here], layers[following]
        norms = norms_of[here]
        count = max(1, round((1 - ratio) * len(norms)))
        keep = norms.topk(count).indices.sort().values
        _keep_outputs(layer, keep)
        for between in layers[here + 1 : following]:
            if isinstance(between, NORMS):
                _keep_features(between, keep)
        _keep_inputs(reader, keep, len(norms))
    return small


def _check(layers):
    for layer in layers:
        if not isinstance(layer, (*SINGLE, *NORMS, *TRANSPARENT)):
            raise ValueError(f"shrink knows linear, Conv2d, batch norm, activation and pooling layers; got {layer}")
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise ValueError(f"convolutions must have groups=1, got groups={layer.groups}")


def _parameter(tensor):
    return nn.Parameter(tensor.detach().clone())


def _keep_outputs(layer, keep):
    layer.weight = _parameter(layer.weight[keep])
    if layer.bias is not None:
        layer.bias = _parameter(layer.bias[keep])
    name = "out_features" if isinstance(layer, nn.Linear) else "out_channels"
    setattr(layer, name, len(keep))


def _keep_inputs(reader, keep, before):
    """Keep the columns that read the units ``keep`` of ``before``; a flattened map is a run of columns per unit."""
    if isinstance(reader, nn.Conv2d):
        reader.weight, reader.in_channels = _parameter(reader.weight[:, keep]), len(keep)
        return
    run = reader.in_features // before
    columns = (keep[:, None] * run + torch.arange(run, device=keep.device)).flatten()
    reader.weight, reader.in_features = _parameter(reader.weight[:, columns]), len(columns)


def _keep_features(norm, keep):
    setattr(norm, "channels" if isinstance(norm, BatchNorm) else "num_features", len(keep))
    for name in ("weight", "bias"):
        if getattr(norm, name) is not None:
            setattr(norm, name, _parameter(getattr(norm, name)[keep]))
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            setattr(norm, name, getattr(norm, name)[keep].clone())
