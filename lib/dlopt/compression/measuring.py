"""What compression is for: trade-offs between error, bytes and time."""

import warnings

import numpy as np
import torch

from dlopt.profiling import compare_times


def pareto(costs):
    """Which points no other point beats: none is at least as good in every cost and better in one.

    Args:
        costs: [n, k], lower is better; negate what should be high.

    Returns:
        bool array [n].
    """
    costs = np.asarray(costs, dtype=np.float64)
    no_worse = (costs[None] <= costs[:, None]).all(2)  # [i, j]: j is no worse than i
    better = (costs[None] < costs[:, None]).any(2)
    return ~(no_worse & better).any(1)


@torch.no_grad()
def speedup(model, dense, x, rounds=15, repeats=1):
    """How many times faster a model answers than the dense one, measured in turns on one thread's CPU time.

    Args:
        model, dense: modules, in evaluation mode, on the CPU (on a GPU the wall clock is used).
        x: a batch of inputs.
        rounds: number of turns.
        repeats: answers per turn; more for small models, whose time is near the clock's resolution.

    Returns:
        `dlopt.profiling.Ratio` of time(dense) / time(model): above 1 is faster.
    """
    def ask(net):
        def run():
            for _ in range(repeats):
                net(x)

        return run

    cpu, threads = x.device.type == "cpu", torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare_times(ask(dense), ask(model), rounds, x.device, cpu_time=cpu)
    finally:
        torch.set_num_threads(threads)


def sparse_copy(model):
    """A function that answers as a stack of linear layers does, with its matrices in compressed rows (CSR).

    Args:
        model: ``nn.Sequential`` of linear, activation and flatten layers without parametrizations.

    Returns:
        ``f(x)`` -> [n, d_out]; not trainable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls CSR a beta feature once a process
        layers = [_sparse(layer) if isinstance(layer, torch.nn.Linear) else layer for layer in model]

    def answer(x):
        for layer in layers:
            x = (layer[0] @ x.T).T + layer[1] if isinstance(layer, tuple) else layer(x)
        return x

    return answer


def _sparse(layer):
    return layer.weight.detach().to_sparse_csr(), layer.bias.detach()


def two_four_speedup(d=4096, batch=4096, rounds=15, d_in=None):
    """Speed of a matrix product with 2:4 sparsity relative to the dense one, in half precision.

    Of any four neighboring weights the two largest magnitudes are kept. Needs a GPU with sparse tensor cores (NVIDIA,
    compute capability 8.0 or higher).

    Args:
        d: rows of the weight matrix, a multiple of 32.
        batch: columns of the other factor, a multiple of 16.
        rounds: number of turns.
        d_in: columns of the weight matrix, a multiple of 64; None: as many as rows.

    Returns:
        `dlopt.profiling.Ratio` of time(dense) / time(2:4), or None where there is no such GPU.
    """
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        return None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # a prototype feature, says torch
        g = torch.Generator("cuda").manual_seed(0)
        d_in = d if d_in is None else d_in
        W = torch.randn(d, d_in, device="cuda", generator=g).half()
        x = torch.randn(d_in, batch, device="cuda", generator=g).half()
        W = W * two_four_mask(W)
        sparse = torch.sparse.to_sparse_semi_structured(W)
        return compare_times(lambda: W @ x, lambda: sparse @ x, rounds, "cuda")


def two_four_mask(W):
    """Ones at the two largest magnitudes of any four neighbors in a row, zeros elsewhere; [m, n], n a multiple of 4."""
    if W.shape[-1] % 4:
        raise ValueError(f"rows must have a multiple of 4 entries, got {W.shape[-1]}")
    groups = W.abs().unflatten(-1, (-1, 4))
    mask = torch.zeros_like(groups).scatter_(-1, groups.topk(2, -1).indices, 1.0)
    return mask.flatten(-2)
