"""How a rule is applied to K models at once: by groups of equal members, by columns, or by ``vmap``."""

from functools import cache

import torch
from torch.func import vmap

from dlopt.optimizers.kernels import is_fixed, kernel
from dlopt.optimizers.tracing import Untraceable, split_functional, trace
from dlopt.rules import hyperparameters, state_names

GROUP_FROM = 16_384  # parameters of a group from which on its own pass over memory costs less than the calls it takes


def stepper(engine, theta, gradient, state, rates):
    """The cheapest way to apply the engine's rule.

    Args:
        engine: rule, hyper-parameters, flags.
        theta, gradient: [K, P]; ``theta`` and the tensors in ``state`` are changed in place.
        state: the rule's state, in its order, K rows each (per parameter, if the rule is not elementwise).
        rates: learning rates, [K, T], float64.

    Returns:
        ``step(t, i)``: one step with step count ``t`` and the learning rates of column ``i``.
    """
    if not engine.rule.elementwise:
        return PerParameter(engine, theta, gradient, state, rates)
    groups = _equal_rows(engine, rates)
    few = theta.numel() >= GROUP_FROM * len(groups)
    if engine.compile or theta.device.type != "cpu" or not few:
        try:
            return Columns(engine, theta, gradient, state, rates)
        except Untraceable:
            pass
    if theta.device.type == "cpu":
        return Grouped(engine, theta, gradient, state, rates, groups)
    return Mapped(engine, theta, gradient, state, rates)


def _flags(engine):
    decays = {name: engine.values[name] for name in ("l2", "weight_decay")}
    return {name: isinstance(value, list) or value != 0 for name, value in decays.items()}


def _fixed(engine):
    """The hyper-parameters that are no numbers (flags, names): part of the program, so the same for all members."""
    defaults = hyperparameters(engine.rule)
    fixed = {n: engine.values[n] for n, default in defaults.items() if n != "lr" and is_fixed(default)}
    for name, value in fixed.items():
        if isinstance(value, list):
            raise ValueError(f"{name} must be the same for all members, got {value}; train one ensemble for each")
    return fixed


def _equal_rows(engine, rates):
    """Runs of members with equal hyper-parameters and rates, as slices."""
    def settings(k):
        return [value[k] for value in engine.values.values() if isinstance(value, list)]

    starts = [0]
    for k in range(1, len(rates)):
        if settings(k) != settings(k - 1) or not torch.equal(rates[k], rates[k - 1]):
            starts.append(k)
    return [slice(low, high) for low, high in zip(starts, [*starts[1:], len(rates)])]


class Grouped:
    """Members that share all numbers are one vector, updated by the in-place program of the torch adapter.

    The arithmetic is exactly that of ``dlopt.optimizers.Optimizer`` on one model.
    """

    def __init__(self, engine, theta, gradient, state, rates, groups):
        fixed = _fixed(engine)
        self.kernel = kernel(engine.rule, "eager", tuple(fixed.items()), **_flags(engine))
        names = state_names(engine.rule)
        vectors = [s for name, s in zip(names, state) if name not in engine.rule.scalar_state]
        scalars = [s for name, s in zip(names, state) if name in engine.rule.scalar_state]
        self.groups = []
        for rows in groups:
            lr = rates[rows.start].tolist()
            numbers = [_of_member(engine.values.get(name), rows.start) for name in self.kernel.hyper]
            place = [list(self.kernel.hyper).index("lr"), lr]
            memory = (theta[rows].view(-1), gradient[rows].view(-1), [s[rows].view(-1) for s in vectors])
            self.groups.append((place, numbers, memory, [s[rows] for s in scalars]))

    def __call__(self, t, i):
        for (place, lr), numbers, (theta, g, vectors), scalars in self.groups:
            numbers[place] = lr[i]
            coefficients, new = self.kernel.coefficients(t, *numbers, *[s[0].item() for s in scalars])
            known_to_the_rule = self.kernel.run(theta, g, vectors, coefficients)
            for s, value in zip(scalars, (known_to_the_rule if new is None else new) or ()):
                s.fill_(float(value))


@cache
def _split(rule, fixed, compile, **flags):
    """Scalar and vector part of a rule, made (and compiled) once a process."""
    scalar_part, vector_part = split_functional(trace(rule, dict(fixed), **flags))
    return scalar_part, torch.compile(vector_part, dynamic=False, fullgraph=True) if compile else vector_part


class Columns:
    """All members in one pass: the numbers of the rule, which differ by member, are columns [K, 1].

    What depends on no coordinate (``1 - beta1**t``) is computed on vectors of K numbers in float64.
    """

    def __init__(self, engine, theta, gradient, state, rates):
        flags = _flags(engine)
        fixed = tuple(_fixed(engine).items())
        self.scalar_part, self.vector_part = _split(engine.rule, fixed, engine.compile, **flags)
        names = state_names(engine.rule)
        self.vectors = [s for name, s in zip(names, state) if name not in engine.rule.scalar_state]
        self.scalars = [s for name, s in zip(names, state) if name in engine.rule.scalar_state]
        self.theta, self.gradient, self.rates = theta, gradient, rates.T.contiguous().to(theta.device)  # [T, K]
        hyper = [name for name in hyperparameters(engine.rule) if name not in _fixed(engine)][1:]
        hyper += [name for name, on in flags.items() if on]
        self.hyper = [_column(engine.values[name], theta.device) for name in hyper]
        self.as_tensors = engine.compile

    def __call__(self, t, i):
        handed, new = self.scalar_part(t, self.rates[i], *self.hyper, *self.scalars)
        like = self.theta
        if self.as_tensors:  # a number would be compiled in, and compiled again when it changes
            wide = {"dtype": torch.float64, "device": like.device}
            handed = [c if torch.is_tensor(c) else torch.full((1,), c, **wide) for c in handed]
        columns = [c.to(like.dtype).unsqueeze(1) if torch.is_tensor(c) else c for c in handed]
        self.vector_part(like, self.gradient, *self.vectors, columns)
        for scalar, value in zip(self.scalars, new):
            scalar.copy_(value if torch.is_tensor(value) else torch.tensor(value))


class Mapped:
    """The rule as it stands, mapped over members by ``vmap``: for rules that cannot be recorded."""

    def __init__(self, engine, theta, gradient, state, rates):
        self.theta, self.gradient, self.state = theta, gradient, state
        self.apply = _mapped(engine, rates.to(theta.device))

    def __call__(self, t, i):
        self.apply(self.theta, self.gradient, self.state, t, i)


class PerParameter:
    """Rules that need each parameter in its own shape, mapped over members."""

    def __init__(self, engine, theta, gradient, state, rates):
        n = len(state_names(engine.rule))
        places = zip(engine.pieces(theta), engine.pieces(gradient))
        self.places = [(p, g, state[n * j : n * (j + 1)]) for j, (p, g) in enumerate(places)]
        self.apply = _mapped(engine, rates.to(theta.device))

    def __call__(self, t, i):
        for theta, gradient, state in self.places:
            self.apply(theta, gradient, state, t, i)


def _mapped(engine, rates):
    """``apply(theta, g, state, t, i)`` in place; numbers that differ arrive in the rule as 0-d float64 tensors."""
    flags = _flags(engine)
    numbers = {name: v for name, v in engine.values.items() if flags.get(name, True)}
    shared = {name: v for name, v in numbers.items() if not isinstance(v, list)}
    varied = {name: _column(v, rates.device) for name, v in numbers.items() if isinstance(v, list)}

    def one(theta, g, state, hyper, t):
        hyper = {**shared, **hyper}
        decay, l2 = hyper.pop("weight_decay", None), hyper.pop("l2", None)
        g = g if l2 is None else g + l2 * theta
        step, *state = engine.rule(g, *state, t=t, **hyper)
        theta = theta if decay is None else theta * (1 - hyper["lr"] * decay)
        return theta + step, tuple(state)

    def apply(theta, g, state, t, i):
        hyper = {**varied, "lr": rates[:, i]}
        new_theta, new = vmap(lambda *a: one(*a, t))(theta.detach(), g, tuple(state), hyper)
        theta.copy_(new_theta)
        for old, value in zip(state, new):
            old.copy_(value)

    return apply


def _of_member(value, k):
    return value[k] if isinstance(value, list) else value


def _column(value, device):
    return torch.tensor(value, dtype=torch.float64, device=device) if isinstance(value, list) else value
