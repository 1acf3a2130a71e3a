"""Programs that run one update on vectors: eager in place, compiled, or with every number on the device.

A kernel is made once for a rule and its flags and then shared by all optimizers of the process.
"""

from functools import cache

import torch

from dlopt.optimizers.inplace import InPlace
from dlopt.optimizers.tracing import Untraceable, split_functional, trace, update_function
from dlopt.rules.contract import hyperparameters, state_names

CHUNK = 262_144
"""Elements that the eager form works on at a time on a CPU, so that scratch stays small and in cache."""

HALF = (torch.bfloat16, torch.float16)


@cache
def kernel(rule, mode, fixed=(), maximize=False, l2=False, weight_decay=False):
    """The program of a rule.

    Args:
        rule: a rule.
        mode: ``"eager"``, ``"compiled"``, ``"capturable"`` (numbers are 0-d tensors on the device, nothing is read
            back) or ``"captured"`` (the last two together).
        fixed: pairs of name and value of the hyper-parameters that are no numbers.
        maximize, l2, weight_decay: as in :func:`dlopt.optimizers.tracing.update_function`.

    Returns:
        A :class:`Kernel`.
    """
    flags = {"maximize": maximize, "l2": l2, "weight_decay": weight_decay}
    try:
        if not rule.elementwise:
            raise Untraceable(f"{rule.__name__} is not elementwise")
        recorded = trace(rule, dict(fixed), **flags)
    except Untraceable:
        return PlainKernel(rule, dict(fixed), flags)
    return InPlaceKernel(recorded) if mode == "eager" else FunctionalKernel(recorded, mode)


def is_fixed(default):
    """Whether a hyper-parameter with this default is part of the program (a flag, a name) rather than a number."""
    return isinstance(default, bool) or not isinstance(default, (int, float))


class Kernel:
    """One update.

    Attributes:
        hyper: names of the hyper-parameters that ``coefficients`` takes between ``t`` and the scalar states, in order.
        chunked: whether vectors on a CPU should come in pieces of at most ``CHUNK`` elements.
    """

    chunked = False

    def coefficients(self, *numbers):
        """What depends on no coordinate: ``(coefficients, new scalar states)``."""
        raise NotImplementedError

    def run(self, theta, g, states, coefficients):
        """Overwrite ``theta`` and ``states``; return the scalar states if only the rule itself knew them."""
        raise NotImplementedError


class PlainKernel(Kernel):
    """Calls the rule as it stands, for rules that cannot be recorded or that need each parameter's own shape."""

    def __init__(self, rule, fixed, flags):
        self.update = update_function(rule, **flags)
        self.fixed, self.scalar_states, self.states = fixed, rule.scalar_state, state_names(rule)
        self.hyper = [name for name in hyperparameters(rule) if name not in fixed]
        self.hyper += [name for name in ("l2", "weight_decay") if flags[name]]

    def coefficients(self, *numbers):
        """The numbers by name, and None: the rule itself computes the new scalar states."""
        return dict(zip(("t", *self.hyper, *self.scalar_states), numbers)), None

    def run(self, theta, g, states, coefficients):
        states, wide = list(states), torch.promote_types(theta.dtype, torch.float32)
        numbers = {name: coefficients[name] for name in ("t", *self.hyper)}
        inputs = [coefficients[n] if n in self.scalar_states else states.pop(0) for n in self.states]
        vectors = [x for n, x in zip(self.states, inputs) if n not in self.scalar_states]
        new_theta, *new = self.update(theta.to(wide), g.to(wide), *inputs, **numbers, **self.fixed)
        theta.copy_(new_theta)
        results = dict(zip(self.states, new))
        for vector, result in zip(vectors, [results[n] for n in self.states if n not in self.scalar_states]):
            vector.copy_(result)
        return [results[n] for n in self.scalar_states]


class InPlaceKernel(Kernel):
    """The in-place form on plain numbers, a cache-sized chunk at a time."""

    def __init__(self, recorded):
        form = InPlace(recorded)
        self.chunked = form.n_passes > 1
        self.hyper = recorded.scalars[1:]
        self.coefficients, self._vectors = form.scalars, form.vectors.forward
        self.code, self.n_scratch, self._scratch = form.vectors.code, form.n_scratch, {}

    def run(self, theta, g, states, coefficients):
        if theta.dtype in HALF:
            wide = theta.float()
            self.run(wide, g.float(), states, coefficients)
            theta.copy_(wide)
            return
        self._vectors(theta, g, *states, self._scratch_like(theta), coefficients)

    def _scratch_like(self, theta):
        n, key = theta.numel(), (theta.numel(), theta.dtype, theta.device)
        if not self.n_scratch:
            return ()
        if theta.device.type != "cpu" or n > CHUNK:
            return [torch.empty_like(theta) for _ in range(self.n_scratch)]
        if key not in self._scratch:
            whole = (CHUNK, *key[1:])
            if whole not in self._scratch:
                self._scratch[whole] = list(theta.new_empty(self.n_scratch, CHUNK))
            self._scratch[key] = [vector[:n] for vector in self._scratch[whole]]
        return self._scratch[key]


class FunctionalKernel(Kernel):
    """The update as written, in one compiled loop over memory or with every number on the device."""

    def __init__(self, recorded, mode):
        self.hyper = recorded.scalars[1:]
        self._scalars, self._vectors = split_functional(recorded)
        self.mode = mode
        if mode in ("compiled", "captured"):  # each generated function is code of its own: no recompile limit is shared
            self._vectors = torch.compile(self._vectors, dynamic=True, fullgraph=True)

    def run(self, theta, g, states, coefficients):
        if theta.dtype not in HALF:
            self._vectors(theta, g, *states, coefficients)
            return
        wide = theta.float()
        self._vectors(wide, g.float(), *states, coefficients)
        theta.copy_(wide)

    def coefficients(self, *numbers):
        values, new = self._scalars(*numbers)
        if self.mode == "capturable":
            return values, new
        if self.mode == "compiled":
            return torch.tensor(values, dtype=torch.float64), new
        t = numbers[0]  # filled on the device: a copy from the host could not be captured
        values = [v.to(t.dtype) if torch.is_tensor(v) else t.new_full((), v) for v in values]
        return (torch.stack(values) if values else t.new_empty(0)), new
