"""Muon: momentum whose step has all its singular values made nearly equal, one matrix at a time."""

import torch

from dlopt.checks import one_of
from dlopt.rules.contract import rule

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients: steep at 0, so that small singular values rise fast
LENGTHS = ("spectral", "adam", "none")


@rule(elementwise=False)
def muon(g, m, *, t, lr=1e-3, mu=0.95, eps=1e-7, ns_steps=5, nesterov=True, length="spectral", precision=None):
    r"""Average the gradients, replace the singular values of the average by about one, and step.

    .. math:: m_t = \mu m_{t-1} + (1-\mu)\, g_t, \quad n_t = \mu m_t + (1-\mu)\, g_t, \quad
              \Delta_t = -\eta \sqrt{\max(1, \text{rows} / \text{columns})}\; \mathrm{NS}(n_t)

    where NS is :func:`orthogonalize`. A rule for the hidden matrices of a network; its vectors and its first
    and last layer belong to another optimizer.

    Args:
        g: gradient with at least two dimensions; those after the first are flattened into columns: a convolution is a
            matrix (out, in * height * width). The state ``m`` has the same shape and starts at zero.
        t: step count, from 1 (unused).
        lr: step size, >= 0: the largest singular value of the step is about ``lr`` times the root factor.
        mu: decay of the average, in [0, 1].
        eps: smallest norm that is divided by, >= 0.
        ns_steps: Newton-Schulz iterations, a whole number >= 1.
        nesterov: whether the present gradient enters once more (``n``), else the average ``m`` is used.
        length: factor on ``lr``: ``"spectral"`` as above; ``"adam"`` is ``0.2 * sqrt(max(rows, columns))``, which gives
            the step the root mean square that Adam's usually has; ``"none"`` is 1.
        precision: dtype of the iteration; None keeps the gradient's. PyTorch always uses ``torch.bfloat16``.

    Returns:
        The step to add to the parameters, and the new ``m``.

    Raises:
        ValueError: ``g`` has fewer than two dimensions, or ``length`` is unknown.

    Source: Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/; ``length="adam"`` from Liu et al. (2025),
    arXiv:2502.16982. Same as ``torch.optim.Muon`` with ``precision=torch.bfloat16``, which takes matrices only.
    """
    if g.dim() < 2:
        raise ValueError(f"muon needs a gradient with >= 2 dimensions, got {g.dim()}; use adam for vectors")
    one_of("length", length, LENGTHS)
    m = mu * m + (1 - mu) * g
    n = (mu * m + (1 - mu) * g if nesterov else m).flatten(1)
    rows, columns = n.shape
    factor = {"spectral": max(1, rows / columns) ** 0.5, "adam": 0.2 * max(rows, columns) ** 0.5, "none": 1.0}[length]
    direction = orthogonalize(n, steps=ns_steps, eps=eps, precision=precision)
    return -lr * factor * direction.view(g.shape), m


def orthogonalize(matrix, *, steps=5, eps=1e-7, coefficients=QUINTIC, precision=None):
    r"""Push the singular values of a matrix towards one by an odd polynomial, without computing them.

    .. math:: X_0 = M / \|M\|_F, \quad X_{k+1} = a X_k + (b A + c A^2) X_k, \quad A = X_k X_k^\top

    Each singular value :math:`\sigma` becomes :math:`a\sigma + b\sigma^3 + c\sigma^5`; the singular vectors stay. With
    the default coefficients, five steps bring every value between 1/200 and 1 into the band [0.68, 1.16]; more steps do
    not converge to one.

    Args:
        matrix: the matrix M, [rows, columns].
        steps: number of iterations, >= 1.
        eps: smallest norm that is divided by, >= 0.
        coefficients: the polynomial's a, b, c.
        precision: dtype of the iteration; None keeps the matrix's.

    Returns:
        The matrix with changed singular values, in the shape and dtype of ``matrix``.

    Source: Jordan et al. (2024); the iteration is that of Schulz (1933), with other coefficients.
    """
    a, b, c = coefficients
    X = matrix.to(precision or matrix.dtype)
    X = X.T if matrix.shape[0] > matrix.shape[1] else X  # the smaller Gram matrix
    X = X / torch.linalg.vector_norm(X).clamp(min=eps)
    for _ in range(steps):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    X = X.T if matrix.shape[0] > matrix.shape[1] else X
    return X.to(matrix.dtype)
