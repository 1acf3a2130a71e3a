"""Hessian-vector products of a loss in its parameters, and the exact Hessian of a small model."""

import torch

from dlopt.checks import whole

MAX_EXACT = 5_000  # a dense Hessian of this size takes 200 MB in float64


class HessianOperator:
    r"""The Hessian of a loss as a linear map: :math:`v \mapsto H v = \nabla_\theta (\nabla_\theta L^T v)`.

    The gradient's graph is built once and kept, so each product costs about one more backward pass. It is the Hessian
    at the parameters' values when the operator was made.

    Args:
        loss_fn: function without arguments that returns the scalar loss; or the loss tensor itself.
        params: a tensor or an iterable of tensors with ``requires_grad`` (``model.parameters()``), on one device.

    Attributes:
        n: number of parameters in all.
        value: the loss, a detached scalar.
        gradient: the flat gradient ``[n]``, detached.

    Raises:
        ValueError: no parameters, a loss that is not a finite scalar, or one that does not depend on the parameters.
    """

    def __init__(self, loss_fn, params):
        self.params = [params] if torch.is_tensor(params) else list(params)
        if not self.params:
            raise ValueError("params must hold at least one tensor, got none")
        loss = loss_fn if torch.is_tensor(loss_fn) else loss_fn()
        if loss.numel() != 1 or not loss.isfinite().all():
            raise ValueError(f"loss must be one finite number, got shape {list(loss.shape)} and {_few(loss)}")
        if not loss.requires_grad or not all(p.requires_grad for p in self.params):
            raise ValueError("loss must depend on params with requires_grad=True; it does not require a gradient")
        grads = torch.autograd.grad(loss.reshape(()), self.params, create_graph=True, allow_unused=True)
        self._flat = torch.cat([(torch.zeros_like(p) if g is None else g).flatten()
                                for g, p in zip(grads, self.params)])
        self.n = self._flat.numel()
        self.value, self.gradient = loss.detach().reshape(()), self._flat.detach()

    def __call__(self, v):
        """``H v`` for one flat vector ``[n]`` or a batch ``[..., n]``."""
        if v.ndim == 0 or v.shape[-1] != self.n:
            raise ValueError(f"v must have shape [..., {self.n}], got {list(v.shape)}")
        if not self._flat.requires_grad:  # the loss is linear in the parameters
            return torch.zeros_like(v)
        if v.ndim == 1:
            return self._flatten(self._products(v, batched=False), ())
        rows = v.reshape(-1, self.n)
        return self._flatten(self._products(rows, batched=True), (len(rows),)).reshape(v.shape)

    def random_vector(self, seed, batch=()):
        """Standard normal vectors ``[*batch, n]`` on the parameters' device, from their own generator."""
        rng = torch.Generator().manual_seed(seed)
        return torch.randn(*batch, self.n, generator=rng, dtype=torch.float64).to(self._flat)

    def _products(self, v, batched):
        return torch.autograd.grad(self._flat, self.params, grad_outputs=v.to(self._flat), retain_graph=True,
                                   allow_unused=True, is_grads_batched=batched)

    def _flatten(self, pieces, batch):
        filled = [torch.zeros(*batch, *p.shape, dtype=p.dtype, device=p.device) if piece is None else piece
                  for piece, p in zip(pieces, self.params)]
        return torch.cat([piece.detach().reshape(*batch, -1) for piece in filled], dim=-1)


def _few(loss):
    return loss.detach().flatten()[:3].tolist()


def hvp(loss_fn, params, v):
    """One Hessian-vector product ``H v``; for many at the same point make a `HessianOperator` once.

    Args:
        loss_fn, params: as in `HessianOperator`.
        v: a flat vector ``[n]`` (or batch ``[..., n]``), or a list of tensors shaped like the parameters.

    Returns:
        ``H v``, flat, ``[..., n]``.
    """
    operator = HessianOperator(loss_fn, params)
    if not torch.is_tensor(v):
        v = torch.cat([piece.flatten() for piece in v])
    return operator(v)


def hessian(loss_fn, params, chunk=128):
    """The exact Hessian ``[n, n]``, symmetric, for at most 5,000 parameters.

    Args:
        loss_fn, params: as in `HessianOperator`.
        chunk: how many columns are computed at once.

    Raises:
        ValueError: more than 5,000 parameters (use `top_eigenvalues` or `spectral_density`).
    """
    whole("chunk", chunk)
    operator = HessianOperator(loss_fn, params)
    if operator.n > MAX_EXACT:
        raise ValueError(f"an exact Hessian must have at most {MAX_EXACT:,} parameters, got {operator.n:,}; "
                         "use top_eigenvalues or spectral_density")
    identity = torch.eye(operator.n, dtype=operator.gradient.dtype, device=operator.gradient.device)
    columns = torch.cat([operator(rows) for rows in identity.split(chunk)])
    return (columns + columns.T) / 2


def gradient_curvature(loss_fn, params):
    r"""The two numbers that decide a gradient step: :math:`g^T g` and :math:`g^T H g`.

    To second order a step of size eps along -g changes the loss by
    :math:`-\epsilon\, g^T g + \frac12 \epsilon^2 g^T H g`, which is negative exactly while
    :math:`\epsilon < 2\, g^T g / g^T H g` (for positive curvature along g).

    Returns:
        ``(g.g, g.Hg)`` as two scalar tensors.
    """
    operator = HessianOperator(loss_fn, params)
    return operator.gradient @ operator.gradient, operator.gradient @ operator(operator.gradient)
