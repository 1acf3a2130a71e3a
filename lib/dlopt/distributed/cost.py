r"""What communication costs on paper: the alpha-beta-gamma model, and elements sent by every kind of parallelism.

A message of n elements takes :math:`\alpha + \beta n` seconds, adding n elements :math:`\gamma n`. Messages between
different pairs of machines do not disturb each other; one machine sends one message at a time. What the model leaves
out: congestion, topology, overlap of communication with computation, protocols that change with the message's size.
"""

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from scipy.optimize import nnls

from dlopt.checks import non_negative, positive, whole


@dataclass(frozen=True)
class Network:
    """Latency ``alpha`` (s), time per element sent ``beta`` (s) and per element added ``gamma`` (s), all >= 0."""

    alpha: float
    beta: float
    gamma: float = 0.0

    def __post_init__(self):
        for name in ("alpha", "beta", "gamma"):
            non_negative(name, getattr(self, name))

    def message(self, n):
        """Seconds for one message of ``n`` elements."""
        return self.alpha + self.beta * n


def ring_time(network, n, k):
    r"""Ring all-reduce: :math:`2(k-1)(\alpha + \beta n/k) + (k-1)\gamma n/k`."""
    k = whole("k", k)
    return 2 * (k - 1) * network.message(n / k) + (k - 1) * network.gamma * n / k


def tree_time(network, n, k):
    r"""All-reduce up and down a binary tree: :math:`\lceil\log_2 k\rceil\,(2(\alpha + \beta n) + \gamma n)`."""
    return ceil(log2(whole("k", k))) * (2 * network.message(n) + network.gamma * n)


def server_time(network, n, workers, servers=1):
    r"""One synchronous round with the vector on S servers: :math:`2M(\alpha + \beta n/S) + M\gamma n/S`.

    A server receives from M workers one after the other and answers them one after the other; a worker's own link is
    the bottleneck if :math:`S > M`.
    """
    M, S = whole("workers", workers), whole("servers", servers)
    busiest = max(M * network.message(n / S), S * network.message(n / S))
    return 2 * busiest + M * network.gamma * n / S


def ring_elements(n, k):
    r"""Elements that each rank sends in a ring all-reduce, :math:`2n(k-1)/k`; exact where k divides n."""
    return 2 * n * (whole("k", k) - 1) / k


def tree_elements(n, k):
    """Elements that the busiest rank (the root) sends in :func:`dlopt.distributed.collectives.tree_all_reduce`."""
    return ceil(log2(whole("k", k))) * n


def server_elements(n, workers, servers=1):
    """Elements that one server sends in one round: its share of the vector to every worker."""
    return whole("workers", workers) * n / whole("servers", servers)


def fit_network(n, seconds):
    r"""Least squares for :math:`\alpha, \beta \ge 0` from measured times of single messages.

    The squares are of relative errors, since the times span decades.

    Args:
        n: elements of each message, [T], at least two different sizes.
        seconds: its time, [T].

    Returns:
        A `Network` with ``gamma = 0``.
    """
    n, seconds = np.asarray(n, dtype=float), np.asarray(seconds, dtype=float)
    if len(np.unique(n)) < 2:
        raise ValueError(f"a fit needs messages of at least two sizes, got {len(np.unique(n))}")
    scale = n.max()
    columns = np.stack([np.ones_like(n), n / scale], 1) / seconds[:, None]
    alpha, beta = nnls(columns, np.ones_like(n))[0]
    return Network(float(alpha), float(beta / scale))


@dataclass(frozen=True)
class Layer:
    """What decides how a layer is best split.

    Attributes:
        name: its name.
        parameters: number of weights and biases.
        inputs, outputs: activations per example that enter and leave it.
        flops: multiply-adds per example, forward.
    """

    name: str
    parameters: int
    inputs: int
    outputs: int
    flops: int


def convolution(name, c_in, c_out, kernel, side, stride=1, padding=None, groups=1):
    """The :class:`Layer` of a square convolution on ``side`` x ``side`` images."""
    padding = kernel // 2 if padding is None else padding
    out = (side + 2 * padding - kernel) // stride + 1
    weights = c_in // groups * kernel**2 * c_out
    return Layer(name, weights + c_out, c_in * side**2, c_out * out**2, weights * out**2)


def dense(name, d_in, d_out):
    """The :class:`Layer` of an affine map."""
    return Layer(name, d_in * d_out + d_out, d_in, d_out, d_in * d_out)


def data_parallel_elements(layer, k):
    """Elements that each rank sends in a step if the layer is replicated: a ring all-reduce of its gradient."""
    return ring_elements(layer.parameters, k)


def tensor_parallel_elements(layer, k, batch_size):
    r"""Elements that each rank sends in a step if the layer's outputs are split over k ranks.

    Each rank needs the inputs of the whole batch: an all-gather forward, a reduce-scatter of their gradients backward,
    each of :math:`(k-1)/k` times inputs x global batch. The parameters stay where they are.

    Args:
        layer: a :class:`Layer`.
        k: number of ranks.
        batch_size: global batch, the sum over the ranks.
    """
    return 2 * batch_size * layer.inputs * (whole("k", k) - 1) / k


def break_even_batch(layer):
    """The global batch below which splitting the layer sends less than replicating it: parameters / inputs."""
    return layer.parameters / layer.inputs


def pipeline_elements(boundary, batch_size):
    """Elements that cross one boundary between stages: activations forward and their gradients backward."""
    return 2 * boundary * batch_size


def pipeline_bubble(stages, microbatches):
    r"""Share of time that a stage of GPipe or 1F1B idles, :math:`(S-1)/(S-1+m)`, for equal stages.

    Source: Huang et al. (2019), arXiv:1811.06965.
    """
    S, m = whole("stages", stages), whole("microbatches", microbatches)
    return (S - 1) / (S - 1 + m)


def cluster_step(network, *, gpus, per_node, parameters, flops, batch_size, flops_per_second, intra=None):
    r"""A data-parallel step on a cluster, on paper: computing, then a two-level all-reduce.

    .. math:: t = \frac{6\,\text{flops}\cdot B}{k\,F} + t_\text{ring}(n, p; \text{inside a node})
              + t_\text{ring}(n/p, k/p; \text{between nodes})

    The factor is 2 operations per multiply-add times 3 for forward and backward. The backward pass is assumed not to
    overlap with communication, every GPU to reach the same fraction of its peak, and every node to have one link per
    GPU into a network without congestion.

    Args:
        network: between nodes, per GPU.
        gpus: k; a multiple of ``per_node``.
        per_node: p.
        parameters: n.
        flops: multiply-adds per example, forward.
        batch_size: global batch B.
        flops_per_second: F, what one GPU really does.
        intra: network inside a node; None: as between nodes.

    Returns:
        ``{"compute": s, "communicate": s, "efficiency": share of the time spent computing}``.
    """
    k, p = whole("gpus", gpus), whole("per_node", per_node)
    if k % p:
        raise ValueError(f"gpus must be a multiple of per_node = {p}, got {k}")
    compute = 6 * flops * batch_size / (k * positive("flops_per_second", flops_per_second))
    communicate = ring_time(intra or network, parameters, p) + ring_time(network, parameters / p, k // p)
    return {"compute": compute, "communicate": communicate, "efficiency": compute / (compute + communicate)}
