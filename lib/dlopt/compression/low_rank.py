"""Low rank: one linear layer becomes two thin ones."""

import torch
from torch import nn

from dlopt.checks import whole


def break_even_rank(d_out, d_in):
    r"""The rank below which two factors are smaller than the matrix: :math:`R < mn/(m+n)`.

    Args:
        d_out, d_in: shape m x n of the matrix.

    Returns:
        :math:`mn/(m+n)`, a float: ``R * (m + n)`` is less than ``m * n`` exactly if R is less than this.
    """
    m, n = whole("d_out", d_out), whole("d_in", d_in)
    return m * n / (m + n)


def truncated_svd(W, rank, X=None):
    r"""Factors of the best rank-R approximation, :math:`W_R = A B`, with the singular values shared between them.

    .. math:: W = U \Sigma V^\top, \qquad A = U_R \Sigma_R^{1/2}, \quad B = \Sigma_R^{1/2} V_R^\top

    No matrix of rank R is closer to W, in the Frobenius or in the spectral norm (Eckart, Young and Mirsky); the
    distances are :math:`(\sum_{i>R} \sigma_i^2)^{1/2}` and :math:`\sigma_{R+1}`. With inputs X the factors are
    :math:`A = U_R`, :math:`B = U_R^\top W` for the left singular vectors U of :math:`W X`, and nothing of rank R has
    less error :math:`\lVert (W - A B) X \rVert_F` on them.

    Args:
        W: [m, n].
        rank: R, in 1 ... min(m, n).
        X: None, or inputs [n, examples], one a column.

    Returns:
        A [m, R] and B [R, n].

    Raises:
        ValueError: a rank that W cannot have.
    """
    if whole("rank", rank) > min(W.shape):
        raise ValueError(f"rank must be at most {min(W.shape)}, got {rank}")
    if X is not None:
        Y = (W @ X).double()
        U = torch.linalg.eigh(Y @ Y.T)[1].flip(1)[:, :rank].to(W.dtype)
        return U, U.T @ W
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    root = S[:rank].sqrt()
    return U[:, :rank] * root, root[:, None] * Vh[:rank]


def svd_factorize(layer, rank, X=None):
    r"""A linear layer as two: :math:`y = A (B x) + b`, with the factors of `truncated_svd`.

    Args:
        layer: ``nn.Linear``, n -> m; not changed.
        rank: R, in 1 ... min(m, n).
        X: as for `truncated_svd`.

    Returns:
        ``nn.Sequential`` of ``nn.Linear(n, R, bias=False)`` and ``nn.Linear(R, m)``: ``R * (m + n)`` weights.
    """
    A, B = truncated_svd(layer.weight.detach(), rank, X)
    return _two_layers(A, B, layer.bias)


@torch.no_grad()
def factorize_layers(model, rank, skip_last=True, inputs=None):
    """A copy of a model in which every linear layer that gains by it is replaced by `svd_factorize`.

    Args:
        model: ``nn.Sequential``; not changed.
        rank: R for every layer (at most what the layer can have); or a dict name -> R.
        skip_last: leave the last layer as it is: its few outputs are the classes.
        inputs: None, or examples [n, ...] of the model's input: every layer is then approximated where its own inputs
            lie, as they are in the whole model.

    Returns:
        The new model.
    """
    linear = [name for name, layer in model.named_children() if isinstance(layer, nn.Linear)]
    chosen = linear[:-1] if skip_last else linear
    layers, h = [], inputs
    for name, layer in model.named_children():
        R = rank.get(name) if isinstance(rank, dict) else rank if name in chosen else None
        if R is not None:
            R = min(R, *layer.weight.shape)
        gains = R is not None and R < break_even_rank(*layer.weight.shape)
        layers.append(svd_factorize(layer, R, None if h is None else h.T) if gains else _copy(layer))
        h = None if h is None else layer(h)
    return nn.Sequential(*_flat(layers))


def _flat(layers):
    for layer in layers:
        yield from layer if type(layer) is nn.Sequential else [layer]


def _copy(layer):
    if isinstance(layer, nn.Linear):
        new = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        new.weight = nn.Parameter(layer.weight.detach().clone())
        if layer.bias is not None:
            new.bias = nn.Parameter(layer.bias.detach().clone())
        return new
    return layer


def _two_layers(A, B, bias):
    first = nn.Linear(B.shape[1], B.shape[0], bias=False, device="meta")
    second = nn.Linear(A.shape[1], A.shape[0], bias=bias is not None, device="meta")
    first.weight, second.weight = nn.Parameter(B.contiguous()), nn.Parameter(A.contiguous())
    if bias is not None:
        second.bias = nn.Parameter(bias.detach().clone())
    return nn.Sequential(first, second)
