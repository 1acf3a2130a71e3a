"""What is minimized: a function of a point with its domain, its known minima, gradient and Hessian."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from dlopt.checks import non_negative


@dataclass(frozen=True)
class Objective:
    """A scalar function of a point in R^n, with what is known about it.

    Args:
        name: short name for tables and legends.
        f: maps points ``[..., n]`` to values ``[...]``; must be differentiable by autograd.
        dimension: n.
        minima: known minima ``[k, n]``, or None where none is known in closed form.
        domain: the box ``((low, high), ...)`` per axis in which pictures are drawn, or None.
        start: a customary starting point ``[n]``, or None.

    Calling it checks the last axis: a ``ValueError`` names the dimension expected and the shape received.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    dimension: int
    minima: Tensor | None = None
    domain: tuple | None = None
    start: Tensor | None = None

    def __call__(self, x):
        """Values ``[...]`` at the points ``x [..., n]``."""
        return self.f(self._points(x))

    def grad(self, x):
        """Gradients ``[..., n]`` at the points ``x [..., n]``, by one backward pass for all of them."""
        return self.value_and_grad(x)[1]

    def value_and_grad(self, x):
        """Values ``[...]`` and gradients ``[..., n]`` from one forward and one backward pass."""
        x = self._points(x).detach().requires_grad_()
        value = self.f(x)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    def hvp(self, x, v):
        r"""Hessian-vector products :math:`\nabla^2 f(x)\,v`, ``[..., n]``, by differentiating :math:`\nabla f(x)^T v`.

        Args:
            x: points ``[..., n]``.
            v: directions ``[..., n]``, of the same shape.
        """
        return self._products(x, v.expand_as(x)[None])[0]

    def hessian(self, x, chunk=64):
        """Hessians ``[..., n, n]`` at the points ``x [..., n]``: one Hessian-vector product per column.

        Args:
            x: points.
            chunk: number of columns computed at once; memory grows with it.
        """
        x = self._points(x)
        columns = torch.eye(self.dimension, dtype=x.dtype, device=x.device)
        columns = columns.view(-1, *[1] * (x.ndim - 1), self.dimension).expand(-1, *x.shape)
        h = torch.cat([self._products(x, some) for some in columns.split(chunk)])
        return h.movedim(0, -1)

    def _products(self, x, vs):
        """Products with directions ``vs [k, ..., n]`` at the same points ``x [..., n]``."""
        x = self._points(x).detach().requires_grad_()
        g = torch.autograd.grad(self.f(x).sum(), x, create_graph=True)[0]
        if not g.requires_grad:  # f is linear, so its Hessian is zero
            return torch.zeros_like(vs)
        if len(vs) == 1:
            return torch.autograd.grad(g, x, vs[0])[0][None]
        return torch.autograd.grad(g, x, vs, is_grads_batched=True)[0]

    def _points(self, x):
        x = torch.as_tensor(x, dtype=None if torch.is_tensor(x) and x.is_floating_point() else torch.float64)
        if x.ndim == 0 or x.shape[-1] != self.dimension:
            raise ValueError(f"{self.name} takes points of shape [..., {self.dimension}], got {list(x.shape)}")
        return x


def flat_parameters(model):
    """A copy of a model's parameters as one vector ``[n]``, in the order of ``named_parameters()``."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def from_model(model, loss, x, y, *, l2=0.0, name="network"):
    r"""The training loss of a network as an objective of its flat parameter vector.

    .. math:: f(\theta) = L(\mathrm{model}_\theta(x), y) + \frac{\lambda}{2} \|\theta\|^2

    Every method of `Objective` then works on the network, and a batch of parameter vectors ``[K, n]`` is K networks
    evaluated at once by ``torch.func.vmap``.

    Args:
        model: ``nn.Module`` without buffers that change in the forward pass (no batch norm in training mode).
        loss: ``loss(prediction, target)`` returning a scalar.
        x, y: the data on which the loss is computed, on the model's device.
        l2: lambda >= 0; a positive one gives classification losses a minimum at a finite point.
        name: name of the objective.

    Returns:
        The objective; its ``start`` is the model's current parameters (a copy: the model itself is never changed).

    Raises:
        ValueError: the model has no parameters.
    """
    non_negative("l2", l2)
    parameters = {key: p.detach() for key, p in model.named_parameters()}
    if not parameters:
        raise ValueError(f"model must have parameters, got {type(model).__name__} with none")
    sizes = [p.numel() for p in parameters.values()]

    def one(theta):
        pieces = theta.split(sizes)
        named = {key: piece.view_as(p) for (key, p), piece in zip(parameters.items(), pieces)}
        return loss(functional_call(model, named, (x,)), y)

    def f(theta):
        value = one(theta) if theta.ndim == 1 else vmap(one)(theta.flatten(0, -2)).unflatten(0, theta.shape[:-1])
        return value + 0.5 * l2 * (theta**2).sum(-1) if l2 else value

    return Objective(name, f, sum(sizes), start=flat_parameters(model))
