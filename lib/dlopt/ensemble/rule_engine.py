"""``RuleEngine``: one update of K models by one rule."""

import copy

import torch
from torch.func import vmap

from dlopt.checks import non_negative, positive
from dlopt.rules import check_hyperparameters, hyperparameters, initial_state, state_names

DECAYS = ("weight_decay", "l2")


class RuleEngine:
    """Applies a rule to the matrix of all members' parameters.

    Elementwise rules run on the whole matrix [K, P] in one go; the others run on each parameter in its own shape,
    batched over members. A hyper-parameter that all members share stays a plain number, so that the arithmetic is that
    of a single model; one that differs is a column of K numbers.

    Args:
        rule: the rule.
        shapes: name -> shape of one member's parameter.
        K: number of members.
        hyper: name -> number, or K numbers.
        clip_norm: None, or the longest gradient of a member.
        compile: compile the update.
    """

    def __init__(self, rule, shapes, K, hyper, clip_norm=None, compile=False):
        self.rule, self.shapes, self.K = rule, shapes, K
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.compile = compile
        values = {name: _column(name, value, K) for name, value in hyper.items()}
        for name in DECAYS:
            for value in values.get(name, [0.0]):
                non_negative(name, value)
        for k in range(K):
            check_hyperparameters(rule, **{name: v[k] for name, v in values.items() if name not in DECAYS})
        defaults = hyperparameters(rule)
        self.lr = torch.tensor(values.pop("lr", [defaults["lr"]] * K), dtype=torch.float64)
        self.values = {name: v[0] if all(u == v[0] for u in v) else v for name, v in values.items()}

    def members(self, rows):
        """The engine of the members ``rows`` (a slice)."""
        part = copy.copy(self)
        part.lr, part.K = self.lr[rows], len(self.lr[rows])
        part.values = {name: v[rows] if isinstance(v, list) else v for name, v in self.values.items()}
        return part

    @property
    def direct(self):
        """Whether the rule may be called on the matrix as it stands: elementwise, and only the rate varies."""
        varied = any(isinstance(v, list) for name, v in self.values.items() if name not in DECAYS)
        return self.rule.elementwise and not self.rule.scalar_state and not varied

    def rates(self, factors):
        """Learning rates [K, T], float64, from factors [K, T]."""
        return self.lr[:, None] * factors

    # -- state ----------------------------------------------------------------------------------------------------

    def initial_state(self, theta):
        """The state of all members before the first update: a list of tensors with K rows."""
        if self.rule.elementwise:
            return [_stacked(s, self.K) if s.ndim == 0 else s for s in initial_state(self.rule, theta).values()]
        state, start = [], 0
        for shape in self.shapes.values():
            piece = theta[:, start : start + shape.numel()].view(self.K, *shape)
            one = initial_state(self.rule, piece[0])
            state += [_stacked(s, self.K) for s in one.values()]
            start += shape.numel()
        return state

    @staticmethod
    def rows_of_state(state, rows):
        """The state of some members; ``put_back`` returns it."""
        return [s[rows] for s in state]

    @staticmethod
    def put_back(state, part, rows):
        """Write the state of some members into that of all."""
        for whole, piece in zip(state, part):
            whole[rows] = piece

    # -- update ---------------------------------------------------------------------------------------------------

    def update(self, network, loss):
        """``f(state, x, y, t, lr) -> losses [K]``: one update of ``network`` and, in place, of the list ``state``."""
        theta, gradient = network.theta, torch.zeros_like(network.theta)
        views, start = [], 0
        for shape in self.shapes.values():
            views.append(gradient[:, start : start + shape.numel()].view(self.K, *shape))
            start += shape.numel()

        def update(state, x, y, t, lr):
            losses = network.losses(loss, x, y)
            grads = torch.autograd.grad(losses.sum(), network.leaves, allow_unused=True)
            with torch.no_grad():
                torch._foreach_copy_(views, _all_present(grads, self.shapes))
                self.apply(theta, gradient, state, t, lr)
            return losses.detach()

        return update

    def apply(self, theta, gradient, state, t, lr):
        """Clip, decay, step: theta [K, P] and the list ``state`` change in place."""
        column = lr.to(theta.dtype).unsqueeze(1)
        if self.clip_norm is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient *= (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        if self._has("l2"):
            gradient += self._decay("l2", theta) * theta
        if self._has("weight_decay"):
            theta *= 1 - column * self._decay("weight_decay", theta)
        if self.direct:
            step, *new = self.rule(gradient, *state, t=t, lr=column, **self._shared())
            state[:] = [s.clone() if s.data_ptr() == gradient.data_ptr() else s for s in new]
        elif self.rule.elementwise:
            step, *state[:] = self._batched(gradient, state, t, lr)
        else:
            step = self._each_parameter(gradient, state, t, lr)
        theta += step

    def _has(self, name):
        value = self.values.get(name, 0.0)
        return isinstance(value, list) or value != 0

    def _decay(self, name, theta):
        value = self.values[name]
        if not isinstance(value, list):
            return value
        return torch.tensor(value, dtype=theta.dtype, device=theta.device).unsqueeze(1)

    def _shared(self):
        return {k: v for k, v in self.values.items() if k not in DECAYS and not isinstance(v, list)}

    def _batched(self, gradient, state, t, lr):
        """The rule for each member by ``vmap``; varying hyper-parameters arrive as 0-d float64 tensors."""
        hyper = {"lr": lr.double()}
        for name, value in self.values.items():
            if isinstance(value, list) and name not in DECAYS:
                hyper[name] = torch.tensor(value, dtype=torch.float64, device=gradient.device)
        shared = self._shared()
        return vmap(lambda g, s, h: self.rule(g, *s, t=t, **h, **shared))(gradient, tuple(state), hyper)

    def _each_parameter(self, gradient, state, t, lr):
        n, steps, start = len(state_names(self.rule)), [], 0
        for i, shape in enumerate(self.shapes.values()):
            g = gradient[:, start : start + shape.numel()].view(self.K, *shape)
            step, *state[i * n : (i + 1) * n] = self._batched(g, state[i * n : (i + 1) * n], t, lr)
            steps.append(step.flatten(1))
            start += shape.numel()
        return torch.cat(steps, 1)


def _column(name, value, K):
    """``value`` as a list of K numbers."""
    value = value.tolist() if hasattr(value, "tolist") else value
    values = list(value) if isinstance(value, (list, tuple)) else [value] * K
    if len(values) != K:
        raise ValueError(f"{name} must be one number or {K} of them, got {len(values)}")
    return values


def _stacked(tensor, K):
    return tensor.expand(K, *tensor.shape).clone()


def _all_present(grads, shapes):
    for name, grad in zip(shapes, grads):
        if grad is None:
            raise ValueError(f"parameter {name} has no influence on the loss; freeze it with requires_grad_(False)")
    return grads
