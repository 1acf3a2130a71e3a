"""Eigenvalues and spectral density of a symmetric operator that is only known by its products."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dlopt.checks import one_of, positive, whole
from dlopt.curvature.products import HessianOperator


@dataclass(frozen=True)
class Tridiagonal:
    r"""The result of Lanczos: :math:`Q^T A Q = T` with T tridiagonal.

    Attributes:
        alpha: diagonal of T, ``[..., m]``.
        beta: off-diagonal of T, ``[..., m-1]``, >= 0.
        basis: the orthonormal columns of Q as rows, ``[..., m, n]``.
    """

    alpha: Tensor
    beta: Tensor
    basis: Tensor

    def eigh(self):
        """Ritz values ``[..., m]`` in ascending order and the eigenvectors of T in columns ``[..., m, m]``."""
        t = torch.diag_embed(self.alpha)
        t = t + torch.diag_embed(self.beta, offset=1) + torch.diag_embed(self.beta, offset=-1)
        return torch.linalg.eigh(t)


def lanczos(matvec, start, steps, seed=0):
    r"""Lanczos' recurrence with full re-orthogonalization (twice at every step).

    .. math:: \beta_j q_{j+1} = A q_j - \alpha_j q_j - \beta_{j-1} q_{j-1}, \qquad \alpha_j = q_j^T A q_j

    Without re-orthogonalization rounding lets converged eigenvalues come back as copies; with it ``Q`` stays
    orthonormal to machine precision at a cost of O(m n) per step. When an invariant subspace is found (beta = 0) the
    recurrence goes on from a random vector orthogonal to it, so repeated eigenvalues are found too.

    Args:
        matvec: the symmetric map, ``[..., n] -> [..., n]``.
        start: first vector ``[n]``, or a batch of independent ones ``[..., n]``; normalized here.
        steps: m, number of products; at most n.
        seed: seed of the vectors drawn after an invariant subspace.

    Returns:
        A `Tridiagonal`. Extreme Ritz values converge first; always from inside the spectrum.

    Raises:
        ValueError: steps > n, a start that is zero or not finite, or products that are not finite.
    """
    n = start.shape[-1]
    if whole("steps", steps) > n:
        raise ValueError(f"steps must be at most the dimension {n}, got {steps}")
    norm = start.norm(dim=-1, keepdim=True)
    if not (norm.isfinite() & (norm > 0)).all():
        raise ValueError("start must be finite and not zero")
    rng = torch.Generator().manual_seed(seed)
    q = start / norm
    basis, alpha, beta = [q], [], []
    for j in range(steps):
        w = matvec(q)
        alpha.append((q * w).sum(-1))
        if j + 1 == steps:
            break
        q, length = _next(w, torch.stack(basis, dim=-2), rng)
        basis.append(q), beta.append(length)
    if not torch.stack(alpha).isfinite().all():
        raise ValueError("matvec must return finite numbers; the point at which the Hessian is taken has diverged")
    off = torch.stack(beta, -1) if beta else start.new_zeros(*start.shape[:-1], 0)
    return Tridiagonal(torch.stack(alpha, -1), off, torch.stack(basis, -2))


def _next(w, basis, rng):
    """The next basis vector and its beta: the part of w outside the basis, or a fresh vector where none is left."""
    scale = w.norm(dim=-1)
    w = _outside(w, basis)
    beta = w.norm(dim=-1)
    exhausted = beta <= 10 * torch.finfo(w.dtype).eps * w.shape[-1] ** 0.5 * scale
    if exhausted.any():
        fresh = torch.randn(w.shape, generator=rng, dtype=torch.float64).to(w)
        w = torch.where(exhausted[..., None], _outside(fresh, basis), w)
    q = w / w.norm(dim=-1, keepdim=True)
    return q, torch.where(exhausted, torch.zeros_like(beta), beta)


def _outside(w, basis):
    for _ in range(2):  # once leaves errors of the size of the cancellation; twice is enough (Kahan)
        w = w - torch.einsum("...m,...mn->...n", torch.einsum("...mn,...n->...m", basis, w), basis)
    return w


def top_eigenvalues(loss_fn, params, k=1, *, steps=None, which="largest", seed=0, vectors=False):
    """The k extreme eigenvalues of a loss's Hessian, by Lanczos.

    Args:
        loss_fn, params: as in `HessianOperator`.
        k: how many, >= 1.
        steps: products spent, by default ``max(4 k, 40)`` (at most n). On a 2,410-parameter network 20 steps give the
            first five to 15 digits and 40 the first ten; `n` steps are exact.
        which: ``"largest"`` or ``"smallest"`` (algebraically), or ``"magnitude"``.
        seed: seed of the random start.
        vectors: also return the Ritz vectors.

    Returns:
        Eigenvalues ``[k]``, the extreme one first; with ``vectors`` also ``[k, n]`` orthonormal rows.

    Raises:
        ValueError: k > n or steps < k, and what `HessianOperator` refuses.
    """
    one_of("which", which, ("largest", "smallest", "magnitude"))
    operator = HessianOperator(loss_fn, params)
    if whole("k", k) > operator.n:
        raise ValueError(f"k must be at most the number of parameters {operator.n}, got {k}")
    steps = min(max(4 * k, 40), operator.n) if steps is None else steps
    if steps < k:
        raise ValueError(f"steps must be at least k = {k}, got {steps}")
    found = lanczos(operator, operator.random_vector(seed), steps, seed=seed)
    values, rotation = found.eigh()
    key = {"largest": -values, "smallest": values, "magnitude": -values.abs()}[which]
    order = key.argsort()[:k]
    return (values[order], rotation[:, order].T @ found.basis) if vectors else values[order]


@dataclass(frozen=True)
class SpectralDensity:
    """Density of the eigenvalues of an n x n operator, smoothed.

    Attributes:
        grid: where it was evaluated, ``[g]``.
        density: ``[g]``; integrates to 1 over the real line.
        nodes, weights: the quadrature itself, ``[probes, m]``; weights of each probe sum to 1.
    """

    grid: Tensor
    density: Tensor
    nodes: Tensor
    weights: Tensor

    def fraction_below(self, threshold=0.0):
        """Estimated fraction of eigenvalues below ``threshold`` for each probe, ``[probes]``."""
        return (self.weights * (self.nodes < threshold)).sum(-1)


def spectral_density(loss_fn, params, *, probes=10, steps=40, width=None, points=400, seed=0):
    r"""The Hessian's spectral density by stochastic Lanczos quadrature.

    For a random unit vector v, :math:`v^T \phi(H)\, v` has mean :math:`\frac1n \mathrm{tr}\,\phi(H)`; Lanczos from v
    with eigenpairs :math:`(\tau_i, u_i)` of T estimates it by :math:`\sum_i (u_i)_1^2\, \phi(\tau_i)`. Here phi is a
    Gaussian of standard deviation ``width`` around each grid point.

    Args:
        loss_fn, params: as in `HessianOperator`.
        probes: number of random vectors; the error falls like ``1 / sqrt(probes n)``.
        steps: Lanczos steps per probe, at most n.
        width: smoothing, in units of the eigenvalues; 1% of the spectrum's range if None.
        points: grid size; the grid extends four widths beyond the Ritz values.
        seed: seed of the probes.

    Source: Golub and Meurant (2010); Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159.
    """
    whole("points", points, low=2)
    operator = HessianOperator(loss_fn, params)
    start = operator.random_vector(seed, batch=(whole("probes", probes),))
    nodes, rotation = lanczos(operator, start, steps, seed=seed).eigh()
    weights = rotation[..., 0, :] ** 2
    span = float(nodes.max() - nodes.min())
    width = (0.01 * span or 1e-3) if width is None else positive("width", width)
    grid = torch.linspace(float(nodes.min()) - 4 * width, float(nodes.max()) + 4 * width, points).to(nodes)
    bumps = torch.exp(-0.5 * ((grid[:, None, None] - nodes) / width) ** 2) / (width * (2 * torch.pi) ** 0.5)
    return SpectralDensity(grid, (bumps * weights).sum(-1).mean(-1), nodes, weights)
