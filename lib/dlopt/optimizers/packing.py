"""Where parameters and state live: small parameters of a group side by side in one vector, large ones where they are.

A kernel costs a few microseconds a call however short its vectors are, so the many small parameters of a network are
moved into one vector; each parameter then is a view of its part. A large parameter gains nothing from that and would
have its gradient copied once more, so it stays in its own memory, and its gradient is read from where autograd left it.
So do parameters that share their memory with something else. The values of ``state`` are views in the shapes of the
parameters.
"""

import torch

from dlopt.optimizers.kernels import CHUNK
from dlopt.rules.contract import state_names

PACK_BELOW = {"cpu": 65_536, "cuda": 4_194_304}
"""Number of elements from which on a parameter stays where it is; on a GPU, starting a kernel costs more."""


class Clock:
    """The step count and the scalar states, shared by all parameters that have taken the same steps.

    Attributes:
        t: number of steps taken; an ``int``, or a 0-d tensor if it lives on the device.
        scalars: the scalar states, in the order of the rule; numbers or 0-d tensors likewise.
    """

    __slots__ = ("t", "scalars")

    def __init__(self, t, scalars):
        self.t, self.scalars = t, list(scalars)

    @classmethod
    def on(cls, device, t, scalars):
        """A clock whose values are tensors on a device."""
        t, *scalars = (torch.tensor(float(value), dtype=torch.float64, device=device) for value in (t, *scalars))
        return cls(t, scalars)

    def set(self, scalars):
        """Store the new scalar states; tensors keep their memory, which a CUDA graph may have recorded."""
        for i, value in enumerate(scalars):
            if torch.is_tensor(self.scalars[i]):
                self.scalars[i].copy_(value)
            else:
                self.scalars[i] = float(value)

    def split(self):
        """A clock that shows the same and goes its own way."""
        copied = [value.clone() if torch.is_tensor(value) else value for value in (self.t, *self.scalars)]
        return Clock(copied[0], copied[1:])

    def numbers(self, names):
        """Plain numbers by name, ``t`` first."""
        return {"t": int(self.t), **{name: float(value) for name, value in zip(names, self.scalars)}}


class Slot:
    """One parameter's place.

    Attributes:
        parameter: the parameter.
        theta: its memory as a vector (in its own shape for rules that need that).
        states: the state vectors, in the order of the rule.
        gradient: the part of the gradient vector, in the parameter's shape; None if its gradient is read in place.
        clock: its :class:`Clock`.
    """

    def __init__(self, parameter, theta, states, gradient=None):
        self.parameter, self.theta, self.states, self.gradient, self.clock = parameter, theta, states, gradient, None


class Pack:
    """The parameters of one group on one device and of one dtype.

    Args:
        parameters: the parameters, in order.
        rule: the rule whose state they carry.
        state: the optimizer's ``state``; what it holds for these parameters is taken over, and it then holds views.
        pack_below: elements from which on a parameter is not moved.
        on_device: whether step counts live on the device.
    """

    def __init__(self, parameters, rule, state, *, pack_below, on_device):
        self.rule, self.state, self.on_device = rule, state, on_device
        self.names = [name for name in state_names(rule) if name not in rule.scalar_state]
        self.dtype = torch.promote_types(parameters[0].dtype, torch.float32)
        packed = _packable(parameters, pack_below) if rule.elementwise else []
        self.packed = self._pack(packed) if len(packed) > 1 else []
        in_place = [p for p in parameters if not any(p is slot.parameter for slot in self.packed)]
        self.slots = self.packed + [self._leave(p) for p in in_place]
        self._take_over_state()
        self.parameters = [slot.parameter for slot in self.slots]
        self.addresses = [p.data_ptr() for p in self.parameters]
        self.plan = self.planned_for = self.chunk = None

    def is_current(self):
        """Whether every parameter still lives where it was put."""
        return [p.data_ptr() for p in self.parameters] == self.addresses

    # binding

    def _pack(self, parameters):
        sizes = [p.numel() for p in parameters]
        self.theta = _as_one_vector(parameters)
        if self.theta is None:
            self.theta = torch.cat([_flat(p.data) for p in parameters])
            for p, part in zip(parameters, self.theta.split(sizes)):
                p.data = _shaped(part, p)
        self.gradient = torch.empty_like(self.theta)
        self.states = [torch.empty_like(self.theta, dtype=self.dtype) for _ in self.names]
        self.offsets = [0, *torch.tensor(sizes).cumsum(0).tolist()]
        thetas, gradients, *states = (v.split(sizes) for v in (self.theta, self.gradient, *self.states))
        return [Slot(p, th, list(s), _shaped(g, p)) for p, th, g, *s in zip(parameters, thetas, gradients, *states)]

    def _leave(self, p):
        theta = p.data if not self.rule.elementwise else _flat(p.data) if _is_dense(p) else None
        shape = p.shape if not self.rule.elementwise else (p.numel(),)
        return Slot(p, theta, [torch.empty(shape, dtype=self.dtype, device=p.device) for _ in self.names])

    def _take_over_state(self):
        clocks, device, names = {}, self.slots[0].parameter.device, self.rule.scalar_state
        for slot in self.slots:
            p = slot.parameter
            old = {"t": 0, **self.rule.initial, **self.state.get(p, {})}
            if "clock" in old:
                old.update(old["clock"].numbers(names))
            views = [_shaped(s, p) if self.rule.elementwise else s for s in slot.states]
            for name, view in zip(self.names, views):
                value = old.get(name, 0.0)
                view.copy_(value) if torch.is_tensor(value) else view.fill_(value)
            key = (int(old["t"]), *(float(old.get(name, 0.0)) for name in names))
            if key not in clocks:
                clocks[key] = Clock.on(device, key[0], key[1:]) if self.on_device else Clock(key[0], key[1:])
            slot.clock = clocks[key]
            self.state[p] = {"clock": slot.clock, **dict(zip(self.names, views))}

    # stepping

    def step(self, kernel, hyper):
        """One step of every parameter that has a gradient.

        Args:
            kernel: the program, see :func:`dlopt.optimizers.kernels.kernel`.
            hyper: the hyper-parameters, in the order of ``kernel.hyper``.
        """
        gradients = [p.grad for p in self.parameters]
        mask = [g is not None for g in gradients]
        if self.planned_for != (kernel, mask):
            self.chunk = CHUNK if kernel.chunked and self.parameters[0].device.type == "cpu" else None
            self.plan, self.planned_for = self._make_plan(mask), (kernel, mask)
        self._check(gradients)
        places, groups = self.plan
        if places:
            sources = gradients[: len(self.packed)]
            torch._foreach_copy_(places, sources if all(mask) else [g for g in sources if g is not None])
        for clock, ready, in_place in groups:
            clock.t += 1
            coefficients, new = kernel.coefficients(clock.t, *hyper, *clock.scalars)
            for theta, g, states in ready:
                new = kernel.run(theta, g, states, coefficients) or new
            for i, chunks in in_place:
                new = self._step_in_place(self.slots[i], chunks, gradients[i], kernel, coefficients) or new
            if new:
                clock.set(new)

    def _step_in_place(self, slot, chunks, g, kernel, coefficients):
        p = slot.parameter
        if not self.rule.elementwise:
            return kernel.run(slot.theta, g, slot.states, coefficients)
        if slot.theta is None:  # memory with holes: by way of a copy
            theta = p.data.reshape(-1)
            new = kernel.run(theta, g.reshape(-1), slot.states, coefficients)
            p.data.copy_(theta.view(p.shape))
            return new
        if g.dtype != p.dtype or g.stride() != p.stride():
            g = torch.empty_like(p.data).copy_(g)
        g, new = _flat(g), None
        for theta, part, states in zip(chunks[0], g.split(self.chunk) if self.chunk else (g,), chunks[1]):
            new = kernel.run(theta, part, states, coefficients)
        return new

    def _check(self, gradients):
        for g, p in zip(gradients, self.parameters):
            if g is not None and g.layout is not torch.strided:
                raise RuntimeError(
                    f"{self.rule.__name__} needs dense gradients, got a sparse one of shape {tuple(p.shape)}; "
                    "build the embedding with sparse=False or use torch.optim.SparseAdam for it"
                )

    def _make_plan(self, mask):
        """Which vectors a kernel is to be run on when the parameters in ``mask`` have a gradient, clock by clock."""
        self._split_clocks(mask)
        n = len(self.packed)
        places = [slot.gradient for slot, active in zip(self.packed, mask) if active]
        clocks = dict.fromkeys(slot.clock for slot, active in zip(self.slots, mask) if active)
        groups = []
        for clock in clocks:
            members = [i for i, slot in enumerate(self.slots) if mask[i] and slot.clock is clock]
            in_place = [(i, self._chunks(self.slots[i])) for i in members if i >= n]
            groups.append((clock, self._ready([i for i in members if i < n]), in_place))
        return places, groups

    def _split_clocks(self, mask):
        for clock in {slot.clock for slot in self.slots}:
            members = [(slot, active) for slot, active in zip(self.slots, mask) if slot.clock is clock]
            if len({active for _, active in members}) == 2:
                own = clock.split()
                for slot, active in members:
                    if active:
                        slot.clock = self.state[slot.parameter]["clock"] = own

    def _ready(self, members):
        """Pieces ``(theta, g, states)`` of the packed vectors, one or more for each run of neighboring members."""
        pieces, start = [], None
        for i in members:
            start = i if start is None else start
            if i + 1 in members:
                continue
            a, b = self.offsets[start], self.offsets[i + 1]
            for low in range(a, b, self.chunk or max(b - a, 1)):
                part = slice(low, min(low + self.chunk, b) if self.chunk else b)
                pieces.append((self.theta[part], self.gradient[part], [s[part] for s in self.states]))
            start = None
        return pieces

    def _chunks(self, slot):
        if self.chunk is None or slot.theta is None:
            return [slot.theta], [slot.states]
        states = zip(*(s.split(self.chunk) for s in slot.states)) if slot.states else [()] * slot.theta.numel()
        return slot.theta.split(self.chunk), list(states)


def _packable(parameters, pack_below):
    """The small parameters that may be moved, or that already lie side by side."""
    plain = [p for p in parameters if p.numel() < pack_below and type(p) in (torch.nn.Parameter, torch.Tensor)]
    plain = [p for p in plain if p.layout is torch.strided and _is_dense(p) and p.numel()]
    if _as_one_vector(plain) is not None:
        return plain
    addresses = [p.untyped_storage().data_ptr() for p in parameters if p.layout is torch.strided]
    return [p for p in plain if _owns_its_memory(p) and addresses.count(p.untyped_storage().data_ptr()) == 1]


def _owns_its_memory(p):
    shared = p.device.type == "cpu" and p.is_shared()
    return p.untyped_storage().nbytes() == p.numel() * p.element_size() and not shared


def _as_one_vector(parameters):
    """The vector that the parameters already are the consecutive parts of, or None."""
    for p, q in zip(parameters, parameters[1:]):
        same = p.untyped_storage().data_ptr() == q.untyped_storage().data_ptr()
        if not same or p.data_ptr() + p.numel() * p.element_size() != q.data_ptr():
            return None
    if not parameters:
        return None
    first, n = parameters[0].data, sum(p.numel() for p in parameters)
    return first.as_strided((n,), (1,), first.storage_offset())


def _is_dense(p):
    """Whether the parameter fills its stretch of memory without holes or overlaps, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(p.stride(), p.shape) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _flat(tensor):
    """A dense tensor's memory as a vector."""
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def _shaped(vector, like):
    """A vector in the shape of a parameter, and in its order of dimensions."""
    if not _is_dense(like):
        return vector.view(like.shape)
    return vector.as_strided(like.shape, like.stride(), vector.storage_offset())
