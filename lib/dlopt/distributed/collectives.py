"""All-reduce written out from sends and receives, for reading beside ``torch.distributed.all_reduce``.

Each function leaves the sum over all ranks in ``x`` on every rank and returns the number of elements that this rank
sent, which :mod:`dlopt.distributed.cost` predicts.
"""

import torch
import torch.distributed as dist

from dlopt.distributed.flat import shard


def ring_all_reduce(x):
    r"""All-reduce on a ring of :math:`k` ranks, each of which sends only to its right neighbor.

    The vector is cut into k parts. In k - 1 rounds every part travels once around the ring and is added up on its way
    (reduce-scatter); in another k - 1 rounds the finished parts travel once more (all-gather). Every rank sends

    .. math:: 2\,\frac{k-1}{k}\,n

    elements, whatever the number of ranks: the bandwidth that any all-reduce needs.

    Args:
        x: tensor of n >= k elements, contiguous; overwritten with the sum.

    Returns:
        Number of elements that this rank sent.

    Raises:
        ValueError: x has fewer elements than there are ranks, or is not contiguous.

    Source: Patarasuk and Yuan (2009), Journal of Parallel and Distributed Computing 69.
    """
    rank, k, flat = dist.get_rank(), dist.get_world_size(), _vector(x)
    parts = [flat[shard(len(flat), k, i)] for i in range(k)]
    sent = 0
    for step in range(k - 1):  # reduce-scatter: after it, rank r holds the sum of part r + 1
        out, into = parts[(rank - step) % k], parts[(rank - step - 1) % k]
        into += _exchange(out, torch.empty_like(into), rank, k)
        sent += len(out)
    for step in range(k - 1):  # all-gather
        out, into = parts[(rank + 1 - step) % k], parts[(rank - step) % k]
        into.copy_(_exchange(out, torch.empty_like(into), rank, k))
        sent += len(out)
    return sent


def tree_all_reduce(x):
    """All-reduce on a binary tree: sums go up to rank 0 in ``ceil(log2 k)`` rounds, and the result comes down.

    Args:
        x: contiguous tensor; overwritten with the sum.

    Returns:
        Number of elements that this rank sent.
    """
    rank, k, flat = dist.get_rank(), dist.get_world_size(), _vector(x)
    reach = rank & -rank or k  # the lowest bit of the rank: how far below it its subtree extends
    children = [rank + 2**i for i in range(k.bit_length()) if 2**i < reach and rank + 2**i < k]
    buffer = torch.empty_like(flat)
    for child in children:
        dist.recv(buffer, child)
        flat += buffer
    if rank:
        dist.send(flat, rank - reach)
        dist.recv(flat, rank - reach)
    for child in reversed(children):
        dist.send(flat, child)
    return (len(children) + (rank > 0)) * len(flat)


def server_all_reduce(x):
    """Every rank sends its vector to rank 0, which adds them up and sends the sum back: a parameter server's traffic.

    Args:
        x: contiguous tensor; overwritten with the sum.

    Returns:
        Number of elements that this rank sent; rank 0 sends k - 1 times as many as the others.
    """
    rank, k, flat = dist.get_rank(), dist.get_world_size(), _vector(x)
    if rank:
        dist.send(flat, 0)
        dist.recv(flat, 0)
        return len(flat)
    buffers = [torch.empty_like(flat) for _ in range(k - 1)]
    for work in [dist.irecv(buffer, r) for r, buffer in enumerate(buffers, start=1)]:
        work.wait()
    for buffer in buffers:
        flat += buffer
    for work in [dist.isend(flat, r) for r in range(1, k)]:
        work.wait()
    return (k - 1) * len(flat)


def _exchange(out, buffer, rank, k):
    """Send to the right while receiving from the left."""
    sending = dist.isend(out.contiguous(), (rank + 1) % k)
    dist.recv(buffer, (rank - 1) % k)
    sending.wait()
    return buffer


def _vector(x):
    if not x.is_contiguous():
        raise ValueError("x must be contiguous, because it is overwritten; pass x.contiguous()")
    return x.view(-1)
