"""``RuleEngine``: the hyper-parameters and states of K models under one rule, and their common update."""

import copy
import shutil

import torch

from dlopt.checks import non_negative, positive
from dlopt.ensemble.steppers import stepper
from dlopt.rules import check_hyperparameters, hyperparameters, initial_state

DECAYS = ("weight_decay", "l2")


class RuleEngine:
    """What an ensemble knows about its rule.

    Args:
        rule: the rule.
        shapes: name -> shape of one member's parameter.
        K: number of members.
        hyper: name -> number, or K numbers; also ``weight_decay`` and ``l2``.
        clip_norm: None, or the longest gradient of a member.
        compile: compile the update.

    Attributes:
        lr: learning rates, [K], float64.
        values: name -> number, or list of K numbers where the members differ.
    """

    def __init__(self, rule, shapes, K, hyper, clip_norm=None, compile=False):
        self.rule, self.shapes, self.K, self.compile = rule, shapes, K, compile
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        columns = {name: _column(name, value, K) for name, value in hyper.items()}
        for k in range(K):
            for name in DECAYS:
                non_negative(name, columns[name][k] if name in columns else 0.0)
            check_hyperparameters(rule, **{name: v[k] for name, v in columns.items() if name not in DECAYS})
        self._check_shapes()
        values = {**hyperparameters(rule), **dict.fromkeys(DECAYS, 0.0)}
        values |= {name: v[0] if all(u == v[0] for u in v) else v for name, v in columns.items()}
        lr = values.pop("lr")
        self.lr = torch.tensor(lr if isinstance(lr, list) else [lr] * K, dtype=torch.float64)
        self.values = values

    @staticmethod
    def check_compiler(device):
        """Refuse to compile for a CPU where there is no C++ compiler."""
        if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
            raise RuntimeError("compile=True needs a C++ compiler, none was found; use compile=False")

    def _check_shapes(self):
        if not self.rule.any_shape:
            for name, shape in self.shapes.items():
                if len(shape) < 2:
                    raise ValueError(
                        f"{self.rule.__name__} needs parameters with >= 2 dimensions, {name} has shape {list(shape)}; "
                        "freeze it with requires_grad_(False) or use another rule"
                    )

    def members(self, rows):
        """The engine of the members ``rows`` (a slice)."""
        part = copy.copy(self)
        part.lr = self.lr[rows]
        part.K = len(part.lr)
        part.values = {name: v[rows] if isinstance(v, list) else v for name, v in self.values.items()}
        return part

    def rates(self, factors):
        """Learning rates [K, T], float64, from factors [K, T]."""
        return self.lr[:, None] * factors

    def pieces(self, matrix):
        """The views [K, *shape] of each parameter's columns of a matrix [K, P]."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        return [part.view(len(matrix), *shape) for part, shape in zip(matrix.split(sizes, 1), self.shapes.values())]

    def initial_state(self, theta):
        """The state of all members before the first update: a list of tensors with K rows, changed in place later."""
        places = [theta] if self.rule.elementwise else self.pieces(theta)
        states = [s for place in places for s in initial_state(self.rule, place[0]).values()]
        return [s.expand(self.K, *s.shape).clone() for s in states]

    def update(self, network, loss, state, rates):
        """The update of all members.

        Args:
            network: the stacked models.
            loss: loss of one member.
            state: of all members, from ``initial_state``.
            rates: learning rates [K, T].

        Returns:
            ``f(x, y, t, i) -> losses [K]``: one update in place, with step count ``t`` and the rates of column ``i``.
        """
        gradient = torch.zeros_like(network.theta)
        pieces, step = self.pieces(gradient), stepper(self, network.theta, gradient, state, rates)
        differentiate = self._compiled_gradient(network, loss) if self.compile else self._gradient(network, loss)

        def update(x, y, t, i):
            losses, grads = differentiate(x, y)
            with torch.no_grad():
                torch._foreach_copy_(pieces, grads)
                if self.clip_norm is not None:
                    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
                    gradient.mul_((self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
                step(t, i)
            return losses

        return update

    def _gradient(self, network, loss):
        def gradient(x, y):
            losses = network.losses(loss, x, y)
            grads = torch.autograd.grad(losses.sum(), network.leaves, allow_unused=True)
            network.follow()
            for name, grad in zip(self.shapes, grads):
                if grad is None:
                    raise ValueError(f"parameter {name} has no influence on the loss; freeze it: requires_grad_(False)")
            return losses.detach(), grads

        return gradient

    def _compiled_gradient(self, network, loss):
        def total(leaves, fixed, x, y):
            parameters = dict(zip(self.shapes, leaves))
            losses, buffers = network.functional_losses(loss, x, y, parameters, fixed)
            return losses.sum(), (losses, buffers)

        if loss not in network.compiled:  # compiled once, also for the parts of an ensemble and for later runs
            network.compiled[loss] = torch.compile(torch.func.grad(total, has_aux=True), dynamic=False)
        differentiated = network.compiled[loss]

        def gradient(x, y):
            with torch.no_grad():
                leaves = [leaf.detach() for leaf in network.leaves]
                grads, (losses, network.pending) = differentiated(leaves, network.fixed, x, y)
                network.follow()
            return losses, grads

        return gradient


def _column(name, value, K):
    """``value`` as a list of K numbers."""
    value = value.tolist() if hasattr(value, "tolist") else value
    values = list(value) if isinstance(value, (list, tuple, range)) else [value] * K
    if len(values) != K:
        raise ValueError(f"{name} must be one number or {K} of them, got {len(values)}")
    return values
