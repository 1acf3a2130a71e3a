"""The cost model: its counts are those of the collectives that run, its fit finds what made the data."""

import numpy as np
import pytest
from dlopt.distributed import cost, launch
from dlopt.distributed import ranks as book

NETWORK = cost.Network(alpha=1e-4, beta=2e-9, gamma=5e-10)


@pytest.mark.parametrize("k", [2, 4, 5])
def test_elements_sent_are_the_formula_s(k):
    n = 60
    sent = {kind: [s for _, s in launch(book.all_reduce, k, kind, n, timeout=60)] for kind in book.ALL_REDUCE}
    assert sent["ring"] == [cost.ring_elements(n, k)] * k
    assert max(sent["tree"]) == sent["tree"][0] == cost.tree_elements(n, k)
    assert sent["server"] == [cost.server_elements(n, k - 1)] + [n] * (k - 1)


def test_one_rank_sends_nothing():
    assert cost.ring_time(NETWORK, 10**6, 1) == cost.tree_time(NETWORK, 10**6, 1) == cost.ring_elements(10**6, 1) == 0


def test_the_ring_s_bandwidth_term_does_not_grow_with_the_ranks_and_the_server_s_does():
    free = cost.Network(alpha=0.0, beta=1.0)
    assert cost.ring_time(free, 1, 1024) < 2.0 <= 1.01 * cost.ring_time(free, 1, 512)
    assert cost.server_time(free, 1, 1024) == 2048
    assert cost.server_time(free, 1, 1024, servers=1024) == pytest.approx(2.0)


def test_latency_decides_small_messages_and_bandwidth_large_ones():
    small, large = 100, 10**8
    assert cost.tree_time(NETWORK, small, 64) < cost.ring_time(NETWORK, small, 64)
    assert cost.ring_time(NETWORK, large, 64) < cost.tree_time(NETWORK, large, 64)


def test_the_fit_recovers_the_network_and_no_negative_latency():
    n = np.geomspace(10, 1e7, 20)
    found = cost.fit_network(n, [NETWORK.message(m) for m in n])
    assert (found.alpha, found.beta) == (pytest.approx(1e-4), pytest.approx(2e-9))
    assert cost.fit_network([1e6, 2e6], [1e-3, 4e-3]).alpha == 0


def test_a_fit_needs_two_sizes():
    with pytest.raises(ValueError, match="at least two sizes, got 1"):
        cost.fit_network([10, 10], [1.0, 1.0])


def test_layers_count_what_torch_counts():
    from torch import nn

    conv = cost.convolution("c", 3, 8, 5, 12, stride=2)
    layer = nn.Conv2d(3, 8, 5, stride=2, padding=2)
    assert conv.parameters == sum(p.numel() for p in layer.parameters())
    assert conv.outputs == 8 * 6 * 6 and conv.flops == 3 * 25 * 8 * 36
    assert cost.dense("d", 7, 5).parameters == sum(p.numel() for p in nn.Linear(7, 5).parameters())


def test_splitting_wins_below_the_break_even_batch_whatever_the_ranks():
    layer = cost.dense("fc", 4096, 4096)
    even = cost.break_even_batch(layer)
    for k in (2, 8, 64):
        replicated = cost.data_parallel_elements(layer, k)
        assert cost.tensor_parallel_elements(layer, k, 0.9 * even) < replicated
        assert cost.tensor_parallel_elements(layer, k, 1.1 * even) > replicated


def test_the_bubble_of_a_pipeline_is_counted_on_its_schedule():
    stages, microbatches = 4, 6
    finish = np.zeros((stages, microbatches))  # forward of microbatch m on stage s ends one unit after both it needs
    for s in range(stages):
        for m in range(microbatches):
            finish[s, m] = 1 + max(finish[s - 1, m] if s else 0, finish[s, m - 1] if m else 0)
    assert cost.pipeline_bubble(stages, microbatches) == pytest.approx(1 - microbatches / finish.max())
    assert cost.pipeline_bubble(1, 3) == 0


def test_the_efficiency_of_a_cluster_falls_with_its_size_at_a_fixed_batch():
    settings = {"per_node": 8, "parameters": 10**9, "flops": 10**9, "batch_size": 4096, "flops_per_second": 1e14}
    found = [cost.cluster_step(NETWORK, gpus=k, **settings)["efficiency"] for k in (8, 64, 1024)]
    assert found == sorted(found, reverse=True)
    with pytest.raises(ValueError, match="gpus must be a multiple of per_node = 8, got 12"):
        cost.cluster_step(NETWORK, gpus=12, **settings)


def test_a_negative_latency_is_refused():
    with pytest.raises(ValueError, match="alpha must be >= 0, got -1"):
        cost.Network(-1, 0.0)
