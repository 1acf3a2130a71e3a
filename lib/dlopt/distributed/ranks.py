"""What ranks do in the book's experiments and tests; a launched function must be importable, so they live here."""

import os
import signal
import time

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from dlopt import data, models
from dlopt.distributed import collectives
from dlopt.distributed.flat import Flat
from dlopt.distributed.parameter_server import ParameterServer, Worker

ALL_REDUCE = {
    "ring": collectives.ring_all_reduce, "tree": collectives.tree_all_reduce, "server": collectives.server_all_reduce,
}  # fmt: skip


def identity():
    """The rank and the number of ranks."""
    return dist.get_rank(), dist.get_world_size()


def all_reduce(kind, n, seed=0):
    """Sum a random vector over the ranks by one of ``ALL_REDUCE`` and by torch.

    Returns:
        The largest difference of the two sums, and the number of elements that this rank sent.
    """
    x = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + dist.get_rank()))
    theirs = x.clone()
    dist.all_reduce(theirs)
    sent = ALL_REDUCE[kind](x)
    return (x - theirs).abs().max().item(), sent


def problem(seed=0, hidden=16, dtype=torch.float64):
    """The book's small distributed problem: digits and a perceptron with one hidden layer.

    Returns:
        The model, the training inputs and targets.
    """
    digits = data.digits(dtype=dtype)
    return models.mlp([64, hidden, 10], activation="tanh", seed=seed).to(dtype), digits.x_train, digits.y_train


def batch(t, workers, batch_size, n, seed=0):
    """Indices of the global batch of step t, [workers, batch_size]; every rank draws the same ones."""
    source = torch.Generator().manual_seed(seed * 1_000_003 + t)
    return torch.randint(n, (workers, batch_size), generator=source)


def single_process(workers, batch_size, steps, lr, seed=0):
    """SGD in one process with batches of ``workers * batch_size``: what synchronous SGD must equal.

    Returns:
        The parameters after the last step, [n].
    """
    model, x, y = problem(seed)
    flat = Flat(model)
    for t in range(steps):
        index = batch(t, workers, batch_size, len(x), seed).flatten()
        flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        flat.theta -= lr * flat.gradient
    return flat.theta


def synchronous_sgd(batch_size, steps, lr, seed=0, kind="ring", divisor=None):
    """Synchronous SGD by all-reduce: every rank computes its share, all add up, all take the same step.

    Args:
        batch_size: B of each rank.
        kind: one of ``ALL_REDUCE``.
        divisor: of the sum of gradients; None: the number of ranks, which is right.

    Returns:
        The parameters after the last step, [n].
    """
    rank, workers = identity()
    model, x, y = problem(seed)
    flat = Flat(model)
    for t in range(steps):
        index = batch(t, workers, batch_size, len(x), seed)[rank]
        flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        ALL_REDUCE[kind](flat.gradient)
        flat.theta -= lr * flat.gradient / (divisor or workers)
    return flat.theta


def serve_or_work(steps, batch_size, *, seed=0, servers=1, slow=None, hidden=16, worker=None, same=False, server=None,
                  dtype=torch.float64, device="cpu"):
    """Train the small problem with parameter servers on ranks 0 ... S - 1 and workers on the others.

    Args:
        steps: number of updates of the servers.
        batch_size: B of each worker.
        servers: S.
        slow: ``slow(worker, t)``, seconds that a worker sleeps before its gradient t; None: never.
        worker: further arguments of `Worker`.
        same: draw the batches of :func:`batch`, at most ``steps`` of them, so that the run can be compared with one
            process; else every worker draws its own, without end.
        server: further arguments of `ParameterServer`.
        device: where workers compute; servers hold CPU tensors.

    Returns:
        A server its `ServerLog`; a worker the number of its gradients.
    """
    rank, size = identity()
    model, x, y = problem(seed, hidden, dtype)
    if rank < servers:
        return ParameterServer(model, updates=steps, servers=servers, **(server or {})).serve()
    model, x, y = model.to(device), x.to(device), y.to(device)
    mine, t = Worker(model, servers=servers, **(worker or {})), 0
    own = torch.Generator().manual_seed(seed * 1_000_003 + rank)
    while mine.running:
        t = mine.versions[0] if same else t + 1
        index = (batch(t, size - servers, batch_size, len(x), seed)[rank - servers] if same
                 else torch.randint(len(x), (batch_size,), generator=own))
        if slow:
            time.sleep(slow(rank - servers, t))
        mine.flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        mine.step()
    return mine.steps


class Sleep:
    """How long a worker sleeps before a gradient: drawn from a law, the same for the same seed, worker and step.

    Args:
        law: a :class:`dlopt.distributed.stragglers.Law`, in seconds.
        seed: whole number >= 0.
    """

    def __init__(self, law, seed=0):
        self.law, self.seed = law, seed

    def __call__(self, worker, t):
        return float(self.law.sample(np.random.default_rng((self.seed, worker, t)), ()))


class SlowWorker:
    """Sleeping times of workers of which one is slower: ``base`` seconds, and ``delay`` more for worker ``which``."""

    def __init__(self, which, *, base, delay):
        self.which, self.base, self.delay = which, base, delay

    def __call__(self, worker, t):
        return self.base + self.delay * (worker == self.which)


def loss_at(theta, seed=0):
    """Training loss of the small problem at the parameters ``theta`` [n]."""
    model, x, y = problem(seed, dtype=theta.dtype)
    Flat(model).theta.copy_(theta)
    with torch.no_grad():
        return cross_entropy(model(x), y).item()


def die_at(which, step, worker, t):
    """For ``partial``: no sleep, but worker ``which`` dies by SIGKILL once it has sent ``step`` gradients."""
    if worker == which and t > step:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def problem_start(seed=0):
    """The small problem's parameters before training, [n]."""
    return Flat(problem(seed)[0]).theta
