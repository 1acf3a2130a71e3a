"""Recurrent networks written as plain loops: they work under ``torch.func`` and every step can be inspected."""

import torch
from torch import nn

from dlopt.checks import one_of, whole
from dlopt.initialization import scheme
from dlopt.scale import generator

SQUASH = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda x: x}


class Recurrent(nn.Module):
    r"""Reads [n, T, d_in] step by step and answers [n, d_out] at the end, or [n, T, d_out] at every step.

    Subclasses define ``gates`` (how many blocks of ``hidden`` rows the weight matrices have) and ``step``.

    Attributes:
        weight_in: [gates * hidden, d_in]; weight_rec: [gates * hidden, hidden]; bias: [gates * hidden].
        readout: linear layer from the last (or every) hidden state to the answer.
    """

    gates = 1

    def __init__(self, d_in, hidden, d_out, every_step=False):
        super().__init__()
        self.hidden, self.every_step = whole("hidden", hidden), every_step
        rows = self.gates * hidden
        self.weight_in = nn.Parameter(torch.zeros(rows, whole("d_in", d_in)))
        self.weight_rec = nn.Parameter(torch.zeros(rows, hidden))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.readout = nn.Linear(hidden, whole("d_out", d_out))

    def start(self, x):
        """The state before the first step: a tuple of [n, hidden] zeros."""
        return (x.new_zeros(x.shape[0], self.hidden),)

    def step(self, drive, state):
        """One step: ``drive`` = W_in x_t + b, [n, gates * hidden]; returns the next state, the output h first."""
        raise NotImplementedError

    def states(self, x):
        """All hidden states, [n, T, hidden]."""
        drive = x @ self.weight_in.mT + self.bias
        state, outputs = self.start(x), []
        for now in drive.unbind(1):
            state = self.step(now, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)

    def forward(self, x):
        """[n, T, d_in] -> [n, d_out], or [n, T, d_out] with ``every_step``."""
        h = self.states(x)
        return self.readout(h if self.every_step else h[:, -1])


class Elman(Recurrent):
    r""":math:`h_t = \phi(W_{in} x_t + W_{rec} h_{t-1} + b)`."""

    def __init__(self, d_in, hidden, d_out, every_step=False, nonlinearity="tanh"):
        super().__init__(d_in, hidden, d_out, every_step)
        self.phi = SQUASH[one_of("nonlinearity", nonlinearity, SQUASH)]

    def step(self, drive, state):
        """``drive`` [n, hidden], state (h,) -> (h,)."""
        return (self.phi(drive + state[0] @ self.weight_rec.mT),)


class LSTM(Recurrent):
    r"""Gates i, f, o in (0, 1) and a memory :math:`c_t = f c_{t-1} + i \tanh(\cdot)`, :math:`h_t = o \tanh(c_t)`.

    Blocks of rows in torch's order: input, forget, cell, output.
    """

    gates = 4

    def start(self, x):
        """(h, c), both zero."""
        return super().start(x) * 2

    def step(self, drive, state):
        """``drive`` [n, 4 hidden], state (h, c) -> (h, c)."""
        h, c = state
        i, f, g, o = (drive + h @ self.weight_rec.mT).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GRU(Recurrent):
    r"""Reset and update gates: :math:`h_t = (1-z) n + z h_{t-1}`, :math:`n = \tanh(W x + b + r \odot (U h + b'))`.

    Blocks of rows in torch's order: reset, update, new; ``bias_new`` is b', inside the reset gate.
    """

    gates = 3

    def __init__(self, d_in, hidden, d_out, every_step=False):
        super().__init__(d_in, hidden, d_out, every_step)
        self.bias_new = nn.Parameter(torch.zeros(hidden))

    def step(self, drive, state):
        """``drive`` [n, 3 hidden], state (h,) -> (h,)."""
        (h,) = state
        r_in, z_in, n_in = drive.chunk(3, -1)
        r_rec, z_rec, n_rec = (h @ self.weight_rec.mT).chunk(3, -1)
        r, z = torch.sigmoid(r_in + r_rec), torch.sigmoid(z_in + z_rec)
        return ((1 - z) * torch.tanh(n_in + r * (n_rec + self.bias_new)) + z * h,)


def _fill(net, seed, init, recurrent_init, forget_bias=None):
    g = generator(whole("seed", seed, low=0))
    for block in net.weight_in.detach().chunk(net.gates):
        scheme(init)(block, g)
    for block in net.weight_rec.detach().chunk(net.gates):
        scheme(recurrent_init)(block, g)
    scheme(init)(net.readout.weight, g)
    nn.init.zeros_(net.readout.bias)
    if forget_bias is not None:
        with torch.no_grad():
            net.bias[net.hidden : 2 * net.hidden] = forget_bias
    return net


def _make(kind, *arguments, **keywords):
    with torch.random.fork_rng(devices=[]):
        return kind(*arguments, **keywords)


def elman(d_in, hidden, d_out, *, nonlinearity="tanh", every_step=False, init="glorot", recurrent_init="orthogonal",
          seed=0):  # fmt: skip
    """Elman's recurrent net, [n, T, d_in] -> [n, d_out] ([n, T, d_out] with ``every_step``).

    Args:
        d_in, hidden, d_out: sizes.
        nonlinearity: ``"tanh"``, ``"relu"`` or ``"identity"`` (a linear recurrence).
        every_step: answer at every step instead of after the last.
        init: for input and readout weights; recurrent_init: for the recurrent matrix; names in
            ``dlopt.initialization.SCHEMES`` or ``f(weight, generator)``.
        seed: of the initial weights.

    Source: Elman (1990), Finding structure in time.
    """
    net = _make(Elman, d_in, hidden, d_out, every_step, nonlinearity)
    return _fill(net, seed, init, recurrent_init)


def lstm(d_in, hidden, d_out, *, every_step=False, forget_bias=1.0, init="glorot", recurrent_init="orthogonal", seed=0):
    """Long short-term memory, arguments as for ``elman``.

    Args:
        forget_bias: initial bias of the forget gate; 1 keeps the memory for several steps from the start.

    Source: Hochreiter and Schmidhuber (1997); forget gate: Gers, Schmidhuber and Cummins (2000).
    """
    net = _make(LSTM, d_in, hidden, d_out, every_step)
    return _fill(net, seed, init, recurrent_init, forget_bias)


def gru(d_in, hidden, d_out, *, every_step=False, init="glorot", recurrent_init="orthogonal", seed=0):
    """Gated recurrent unit, arguments as for ``elman``.

    Source: Cho et al. (2014), arXiv:1406.1078; here in the form of ``torch.nn.GRU``.
    """
    return _fill(_make(GRU, d_in, hidden, d_out, every_step), seed, init, recurrent_init)
