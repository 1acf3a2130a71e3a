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
