"""Parameter counts, multiply-adds and clocks."""

import time

import pytest
import torch
from dlopt import models
from dlopt.profiling import (
    Clock,
    batch_times,
    compare_times,
    count_bytes,
    count_parameters,
    madds,
    madds_by_layer,
    profile,
)
from torch import nn


@pytest.mark.parametrize("model, example, parameters, multiply_adds", [
    (models.linear(784, 10), (1, 784), 7850, 7840),
    (models.lenet_300_100(), (1, 784), 266_610, 784 * 300 + 300 * 100 + 100 * 10),
    (models.lenet5(), (1, 1, 28, 28), 61_706, 28**2 * 25 * 6 + 10**2 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 840),
    (models.lenet5_caffe(), (1, 1, 28, 28), 431_080, 24**2 * 25 * 20 + 8**2 * 25 * 20 * 50 + 800 * 500 + 500 * 10),
    (models.lenet(), (1, 1, 8, 8), 6_058, 64 * 9 * 8 + 16 * 9 * 8 * 16 + 64 * 64 + 640),
    (models.elman(2, 64, 1), (1, 50, 2), 2 * 64 + 64**2 + 64 + 65, 50 * (2 * 64 + 64**2) + 64),
    (models.lstm(2, 64, 1), (1, 50, 2), 4 * (2 * 64 + 64**2 + 64) + 65, 50 * 4 * (2 * 64 + 64**2) + 64),
    (models.gru(2, 64, 1), (1, 50, 2), 3 * (2 * 64 + 64**2 + 64) + 64 + 65, 50 * 3 * (2 * 64 + 64**2) + 64),
    (models.autoencoder([20, 8, 3]), (1, 20), 2 * (160 + 24) + 8 + 3 + 8 + 20, 2 * (160 + 24)),
])
def test_counts_are_those_of_the_formula(model, example, parameters, multiply_adds):
    cost = profile(model, example)
    assert (cost.parameters, cost.madds) == (parameters, multiply_adds)


def test_a_transformer_costs_its_matrices_and_its_attention():
    t, d, layers, vocabulary = 16, 32, 2, 50
    model = models.transformer(vocabulary, length=t, width=d, heads=4, layers=layers)
    expected = layers * (12 * t * d * d + 2 * t * t * d) + t * d * vocabulary
    assert madds(model, torch.zeros(1, t, dtype=torch.int64)) == expected


def test_multiply_adds_grow_with_the_batch_and_profile_divides_by_it():
    model = models.lenet5()
    assert madds(model, (6, 1, 28, 28)) == 6 * madds(model, (1, 1, 28, 28))
    assert profile(model, (6, 1, 28, 28)) == profile(model, torch.zeros(1, 1, 28, 28))


def test_layers_add_up_to_the_whole():
    model = models.small_cnn()
    layers = madds_by_layer(model, (2, 1, 28, 28))
    assert list(layers) == ["conv1", "conv2", "linear"] and sum(layers.values()) == madds(model, (2, 1, 28, 28))


def test_counting_computes_nothing_and_leaves_the_model_as_it_was():
    model = models.small_cnn().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    madds(model, (4, 1, 28, 28))
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert next(model.parameters()).device.type == "cpu"


def test_shared_parameters_count_once_and_frozen_ones_only_on_request():
    a = nn.Linear(4, 4)
    net = nn.Sequential(a, nn.ReLU(), a, nn.Linear(4, 2))
    assert count_parameters(net) == 20 + 10
    net[3].requires_grad_(False)
    assert count_parameters(net, trainable_only=True) == 20


def test_bytes_follow_the_type_and_include_buffers():
    assert count_bytes(nn.Linear(3, 5).half()) == 2 * 20
    assert count_bytes(models.mlp([4, 6, 2], normalization="batch")) == 4 * (24 + 6 + 6 + 12 + 12 + 2)


def test_the_cost_reads_as_a_sentence():
    assert str(profile(models.linear(784, 10), (1, 784))) == (
        "7,850 parameters, 7,840 multiply-adds per example, 30.7 KiB"
    )


def test_an_impossible_shape_is_refused():
    with pytest.raises(ValueError, match="each of the input's sizes must be a whole number >= 1, got 0"):
        madds(models.linear(3, 2), (0, 3))


def test_the_clock_tells_waiting_from_computing():
    with Clock() as waiting:
        time.sleep(0.05)
    assert 0.05 <= waiting.seconds < 1 and waiting.cpu_seconds < 0.04
    with Clock() as computing:
        while computing_time() < 0.05:
            pass
    assert computing.cpu_seconds > 0.02


def computing_time(start=[None]):  # noqa: B006  (a stopwatch that starts at the first call)
    start[0] = start[0] or time.thread_time()
    return time.thread_time() - start[0]


def test_interleaved_comparison_finds_the_ratio_of_two_waits():
    ratio = compare_times(lambda: time.sleep(0.02), lambda: time.sleep(0.005), rounds=5)
    assert 2 < ratio.median < 6 and ratio.low <= ratio.median <= ratio.high and ratio.rounds == 5
    with pytest.raises(ValueError, match="rounds must be a whole number >= 3, got 2"):
        compare_times(lambda: None, lambda: None, rounds=2)


def test_batch_times_cover_every_size_and_leave_the_model_and_the_threads_as_they_were():
    model, threads = models.mlp([4, 3, 2], seed=0), torch.get_num_threads()
    loss = torch.nn.functional.cross_entropy
    found = batch_times(model, loss, torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), [1, 4096], rounds=3)
    assert len(found) == 2 and found[1] > found[0] > 0
    assert torch.get_num_threads() == threads
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="each of batch_sizes must be a whole number >= 1, got 0"):
        batch_times(model, loss, torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), [0])
