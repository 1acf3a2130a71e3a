"""Weight sharing: a layer's weights take few values, found by k-means and then trained."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from dlopt.checks import whole
from dlopt.compression.pruning import Mask, prunable


class Shared(nn.Module):
    r"""Parametrization of a weight by a codebook: :math:`\theta_i = c_{k(i)}`, and exact zeros where it was pruned.

    The gradient of a centroid is the sum of the gradients of its weights,
    :math:`\partial L/\partial c_k = \sum_{i: k(i)=k} \partial L/\partial\theta_i`.

    Args:
        index: int64, the weight's shape: 0 for a weight that is zero for good, k for centroid k = 1 ... K.
    """

    def __init__(self, index):
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, codebook):
        """Centroids [K] -> the weight."""
        values = torch.cat([codebook.new_zeros(1), codebook])
        return values.gather(0, self.index.flatten()).view(self.index.shape)


def kmeans(values, K, iterations=50):
    r"""One-dimensional k-means from evenly spaced centroids (Lloyd's algorithm).

    Minimizes :math:`\sum_i (w_i - c_{k(i)})^2`: a weight goes to the nearest centroid, a centroid to the mean of its
    weights, in turn. An even start covers the few large weights, which matter most (Han et al.'s "linear" start).

    Args:
        values: [n], n >= 1.
        K: number of centroids; fewer come back where values are fewer or a cluster ran empty.
        iterations: at most.

    Returns:
        Centroids, rising, [<= K], and the index of each value's centroid, int64 [n].

    Source: Han, Mao and Dally (2016), arXiv:1510.00149.
    """
    ordered, order = values.double().sort()
    total = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    c = torch.linspace(float(ordered[0]), float(ordered[-1]), whole("K", K), dtype=torch.float64).to(values.device)
    for _ in range(iterations):
        ends = torch.searchsorted(ordered, (c[1:] + c[:-1]) / 2)
        bounds = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(ordered))])
        counts = bounds.diff()
        means = (total[bounds[1:]] - total[bounds[:-1]]) / counts.clamp(min=1)
        new = torch.where(counts > 0, means, c)
        if torch.equal(new, c):
            break
        c = new
    ends = torch.searchsorted(ordered, (c[1:] + c[:-1]) / 2)
    label = torch.searchsorted(ends, torch.arange(len(ordered), device=values.device), right=True)
    used, label = label.unique(return_inverse=True)
    index = torch.empty_like(label)
    index[order] = label
    return c[used].to(values.dtype), index


def kmeans_share(model, bits):
    """Let the surviving weights of every layer share at most ``2 ** bits`` values; what is zero stays zero.

    Args:
        model: module, plain or with masks; changed in place: each weight gets a `Shared` parametrization whose
            parameter is the codebook.
        bits: 1 ... 12.

    Returns:
        The model.

    Raises:
        ValueError: ``bits`` out of range, or a layer without any nonzero weight.
    """
    if not 1 <= whole("bits", bits) <= 12:
        raise ValueError(f"bits must be in 1 ... 12, got {bits}")
    for name, layer in prunable(model).items():
        weight = layer.weight.detach().clone()
        alive = weight != 0
        if not alive.any():
            raise ValueError(f"layer {name} has no weight left to share; prune less")
        codebook, label = kmeans(weight[alive], 2**bits)
        codebook = torch.cat([codebook, codebook.new_zeros(2**bits - len(codebook))])  # one shape for all models
        index = torch.zeros(weight.shape, dtype=torch.int64, device=weight.device)
        index[alive] = label + 1
        _replace(layer, codebook, index)
    return model


def _replace(layer, codebook, index):
    if parametrize.is_parametrized(layer, "weight"):
        if not isinstance(layer.parametrizations.weight[0], Mask):
            raise ValueError("weights must be plain or masked to be shared; call bake(model) first")
        holder = layer.parametrizations.weight
        holder[0] = Shared(index)
        holder.original = nn.Parameter(codebook)
    else:
        layer.weight = nn.Parameter(codebook)
        parametrize.register_parametrization(layer, "weight", Shared(index), unsafe=True)


def train_shared(models, data, **settings):
    """Train the codebooks (and biases) of models under `kmeans_share`; assignments do not change.

    Args:
        models: list of models of one architecture; not changed.
        data, settings: as in `dlopt.compression.retrain`.

    Returns:
        The trained models.
    """
    from dlopt.compression.together import retrain

    for model in models:
        if not any(isinstance(module, Shared) for module in model.modules()):
            raise ValueError("models must share weights; call kmeans_share(model, bits) first")
    return retrain(models, data, **settings)


def codes(layer):
    """Codebook and index of a layer under `Shared`: (values [K + 1] with zero first, int64 index), or None."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    holder = layer.parametrizations.weight
    if not isinstance(holder[0], Shared):
        return None
    codebook = holder.original.detach()
    return torch.cat([codebook.new_zeros(1), codebook]), holder[0].index
