"""What ranks do to compare ways of sending less, and to count what each of them sends and holds."""

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from dlopt.checks import one_of
from dlopt.distributed import cost
from dlopt.distributed.flat import Flat
from dlopt.distributed.parallel import data_parallel
from dlopt.distributed.parallel_ranks import local_sgd, sparse_sgd
from dlopt.distributed.ranks import batch, identity, loss_at, problem
from dlopt.distributed.tensor_parallel import tensor_parallel

KINDS = ("every step", "half precision", "PowerSGD, rank 1", "top 1 %", "top 1 %, no memory", "local, 8 steps")


def thrifty(kind, steps=160, lr=0.2, batch_size=8, seed=0):
    """Data-parallel training that sends less.

    Args:
        kind: one of ``KINDS``.
        steps: gradients of each rank.
        lr: learning rate.
        batch_size: examples of each rank.

    Returns:
        The training loss at the end, and numbers of 32 bits that each rank sends per step (indices count as one).
    """
    one_of("kind", kind, KINDS)
    _, size = identity()
    model = problem(seed)[0]
    shapes = [p.shape for p in model.parameters()]
    n = sum(shape.numel() for shape in shapes)
    whole = cost.ring_elements(n, size)
    if kind.startswith("local"):
        return loss_at(local_sgd(8, steps // 8, batch_size, lr, seed), seed), whole / 8
    if kind.startswith("top"):
        theta = sparse_sgd(0.01, steps, lr, batch_size, feedback="memory" not in kind, seed=seed)
        return loss_at(theta, seed), 2 * (size - 1) * max(1, round(0.01 * n))
    hook = {"half precision": "fp16", "PowerSGD, rank 1": "powersgd"}.get(kind)
    sent = {"fp16": n / 2, "powersgd": sum(sum(s) for s in shapes)}.get(hook, n)
    return loss_at(_replicas(model, hook, steps, lr, batch_size, seed), seed), cost.ring_elements(sent, size)


def thrifty_each(settings, **options):
    """:func:`thrifty` for several ``(kind, lr)``, one after the other in the same processes: a list of its answers."""
    return [thrifty(kind, lr=lr, **options) for kind, lr in settings]


def _replicas(model, hook, steps, lr, batch_size, seed):
    rank, size = identity()
    _, x, y = problem(seed)
    shared = data_parallel(model, hook)
    stepper = torch.optim.SGD(shared.parameters(), lr=lr)
    for t in range(steps):
        index = batch(t, size, batch_size, len(x), seed)[rank]
        stepper.zero_grad()
        cross_entropy(shared(x[index]), y[index]).backward()
        stepper.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def held(kind, seed=0):
    """How many parameters of the hidden layers' weights this rank holds, and how many of them another rank holds too.

    Args:
        kind: ``"data"`` (replicas) or ``"model"`` (cut layers).

    Returns:
        ``(held, shared)``, found by comparing this rank's weights with all others'.
    """
    _, first, act, second = problem(seed)[0]
    if one_of("kind", kind, ("data", "model")) == "model":
        cut = tensor_parallel(first, act, second)
        first, second = cut[0], cut[2]
    mine = torch.cat([first.weight.detach().flatten(), second.weight.detach().flatten()])
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    others = torch.cat([w for rank, w in enumerate(everyone) if rank != dist.get_rank()])
    return mine.numel(), int(torch.isin(mine, others).sum())


def message_times(sizes, repeats=20):
    """Seconds for one message of each size [elements of float32] from rank 0 to rank 1: half the least round trip."""
    import time

    rank, found = dist.get_rank(), []
    for n in sizes:
        x, best = torch.zeros(int(n)), float("inf")
        for _ in range(repeats):
            dist.barrier()
            start = time.perf_counter()
            if rank == 0:
                dist.send(x, 1)
                dist.recv(x, 1)
            elif rank == 1:
                dist.recv(x, 0)
                dist.send(x, 0)
            best = min(best, (time.perf_counter() - start) / 2)
        found.append(best)
    return found


def all_reduce_times(kinds, n, repeats=10):
    """Least seconds of each way to sum ``n`` elements over the ranks: ``{kind: s}``; ``"torch"`` is torch's own."""
    import time

    from dlopt.distributed.ranks import ALL_REDUCE

    ways, found = {**ALL_REDUCE, "torch": dist.all_reduce}, {}
    for kind in kinds:
        x, best = torch.zeros(int(n)), float("inf")
        for _ in range(repeats):
            dist.barrier()
            start = time.perf_counter()
            ways[kind](x)
            best = min(best, time.perf_counter() - start)
        found[kind] = best
    return found


def flat_length(seed=0):
    """Number of parameters of the small problem."""
    return len(Flat(problem(seed)[0]).theta)
