"""Low rank for convolution kernels: CP and Tucker decompositions, and the chains of small convolutions they give."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dlopt.checks import non_negative, whole


@dataclass(frozen=True)
class Factorized:
    """A convolution as a chain of small ones, with what was lost.

    Attributes:
        layers: ``nn.Sequential`` of convolutions, in the shape of the one replaced.
        relative_error: Frobenius norm of what the decomposition misses, relative to the kernel's.
        largest_term: norm of the largest rank-1 term, relative to the kernel's. Far above 1, terms cancel each other:
            the decomposition is degenerate (CP only; nan for Tucker).
    """

    layers: nn.Sequential
    relative_error: float
    largest_term: float


def cp_factorize(conv, rank, *, l2=1e-3, iterations=100, seed=0):
    r"""A convolution as four: 1 x 1, k x 1 and 1 x k per channel, 1 x 1.

    .. math:: W_{oihw} \approx \sum_{r=1}^R a_{or}\, b_{ir}\, c_{hr}\, d_{wr}

    The kernel's ``d_out * d_in * k * k`` numbers become ``R * (d_out + d_in + 2 k)``. The factors come from alternating
    least squares (tensorly), and each term's norm is shared equally by its four factors.

    Args:
        conv: ``nn.Conv2d`` with groups = 1 and dilation 1; not changed.
        rank: R, the number of terms.
        l2: penalty on the factors, >= 0: keeps terms from growing against each other.
        iterations: sweeps of alternating least squares, at most.
        seed: of the start.

    Returns:
        `Factorized`.

    Source: Lebedev, Ganin, Rakhuba, Oseledets and Lempitsky (2015), arXiv:1412.6553.
    """
    _check(conv)
    rank, W = whole("rank", rank), conv.weight.detach()
    with _tensorly() as tl:
        weights, factors = tl.decomposition.parafac(W.double(), rank, n_iter_max=iterations, init="svd",
                                                    l2_reg=non_negative("l2", l2), random_state=seed)
    norms = [f.norm(dim=0) for f in factors]
    size = (weights.abs() * norms[0] * norms[1] * norms[2] * norms[3]) ** 0.25  # each term's norm, shared by four
    a, b, c, d = (f / n.clamp(min=1e-30) * size for f, n in zip(factors, norms))
    a = a * weights.sign()
    approximation = torch.einsum("or,ir,hr,wr->oihw", a, b, c, d)
    a, b, c, d = (f.to(W.dtype) for f in (a, b, c, d))
    (ph, pw), (sh, sw) = conv.padding, conv.stride
    layers = nn.Sequential(
        _conv(b.T[:, :, None, None]),
        _conv(c.T[:, None, :, None], stride=(sh, 1), padding=(ph, 0), groups=rank),
        _conv(d.T[:, None, None, :], stride=(1, sw), padding=(0, pw), groups=rank),
        _conv(a[:, :, None, None], bias=conv.bias),
    )
    norm = W.double().norm()
    return Factorized(layers, float((approximation - W).norm() / norm), float((size**4).max() / norm))


def tucker_factorize(conv, ranks):
    r"""A convolution as three: 1 x 1 to fewer channels, k x k between those, 1 x 1 back (Tucker-2).

    .. math:: W_{oihw} \approx \sum_{p,q} a_{op}\, G_{pqhw}\, b_{iq}

    Args:
        conv: ``nn.Conv2d`` with groups = 1; not changed.
        ranks: ``(p, q)``: channels of the core at the output and the input side; or a share in (0, 1] of each.

    Returns:
        `Factorized`.

    Source: Kim, Park, Yoo, Choi, Yang and Shin (2016), arXiv:1511.06530.
    """
    _check(conv)
    W = conv.weight.detach()
    if isinstance(ranks, float):
        if not 0 < ranks <= 1:
            raise ValueError(f"ranks must be a share in (0, 1] or a pair of whole numbers, got {ranks}")
        ranks = [max(1, round(ranks * size)) for size in W.shape[:2]]
    p, q = (whole("each of ranks", r) for r in ranks)
    if p > W.shape[0] or q > W.shape[1]:
        raise ValueError(f"ranks must be at most {tuple(W.shape[:2])}, got {(p, q)}")
    with _tensorly() as tl:
        (core, (a, b)), _ = tl.decomposition.partial_tucker(W.double(), rank=[p, q], modes=[0, 1], init="svd")
    approximation = torch.einsum("op,pqhw,iq->oihw", a, core, b)
    error = float((approximation - W).norm() / W.double().norm())
    a, b, core = (f.to(W.dtype) for f in (a, b, core))
    layers = nn.Sequential(
        _conv(b.T[:, :, None, None]), _conv(core, stride=conv.stride, padding=conv.padding),
        _conv(a[:, :, None, None], bias=conv.bias),
    )
    return Factorized(layers, error, float("nan"))


@contextmanager
def _tensorly():
    """tensorly on torch tensors, imported where it is used; its backend is put back, its warnings stay inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorly
        import tensorly.decomposition

        with tensorly.backend_context("pytorch"):
            yield tensorly


def _check(conv):
    if not isinstance(conv, nn.Conv2d) or conv.groups != 1 or conv.dilation != (1, 1):
        raise ValueError(f"conv must be an nn.Conv2d with groups=1 and dilation=1, got {conv}")
    if isinstance(conv.padding, str):
        raise ValueError(f"conv must have its padding in numbers, got {conv.padding!r}")


def _conv(weight, bias=None, **options):
    groups = options.get("groups", 1)
    made = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), bias=bias is not None,
                     device="meta", **options)
    made.weight = nn.Parameter(weight.contiguous().clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made
