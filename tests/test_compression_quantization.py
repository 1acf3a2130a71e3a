"""Quantization: int8, straight-through training, shared weights, Huffman codes, distillation."""

import copy
import itertools

import numpy as np
import pytest
import torch
from dlopt import compression as c
from dlopt import models
from dlopt.losses import cross_entropy
from dlopt.training import train
from sklearn.cluster import KMeans
from torch.nn import functional


def small(seed=0):
    return models.mlp([12, 10, 8, 3], seed=seed)


def task(n=96, d=12, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g)
    return x, (x @ torch.randn(d, classes, generator=g)).argmax(1)


# --- uniform

@pytest.mark.parametrize("bits", [4, 8])
def test_the_error_of_uniform_rounding_is_a_twelfth_of_the_squared_step(bits):
    w = torch.rand(50, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    scale = c.symmetric_scale(w, bits, per_channel=False)
    error = (c.quantize(w, scale, bits) * scale - w).square().mean()
    assert float(error / (scale**2 / 12)) == pytest.approx(1, rel=0.02)


def test_rounded_weights_are_few_whole_multiples_of_the_step_and_rounding_twice_changes_nothing():
    model = c.round_weights(small(), 3)
    for layer in c.prunable(model).values():
        for row in layer.weight.detach():
            assert len(row.unique()) <= 7
    again = c.round_weights(model, 3)
    torch.testing.assert_close(again.linear1.weight, model.linear1.weight)


def test_the_straight_through_gradient_is_that_of_the_rounded_weight():
    model, (x, y) = c.fake_quantize(small(), 4), task()
    cross_entropy(model(x), y).backward()
    plain = c.bake(copy.deepcopy(model))
    plain.zero_grad()
    cross_entropy(plain(x), y).backward()
    torch.testing.assert_close(model.linear1.parametrizations.weight.original.grad, plain.linear1.weight.grad)


def test_training_that_sees_the_rounding_beats_rounding_afterwards():
    gains = []
    for seed in range(5):
        data = task(300, seed=seed)
        model = c.retrain([small(seed)], data, loss=cross_entropy, steps=200, lr=0.01)[0]
        aware = c.retrain([c.fake_quantize(copy.deepcopy(model), 2)], data, loss=cross_entropy, steps=100, lr=0.01)[0]
        longer = c.retrain([model], data, loss=cross_entropy, steps=100, lr=0.01)[0]
        gains.append(c.accuracies([c.bake(aware)], *data)[0] - c.accuracies([c.round_weights(longer, 2)], *data)[0])
    assert np.mean(gains) > 0.02


@pytest.mark.parametrize("make, x", [(lambda: models.lenet_300_100(64), (40, 64)),
                                     (lambda: models.lenet5(16), (20, 1, 16, 16))])
def test_int8_layers_compute_nearly_what_the_model_does_in_whole_numbers(make, x):
    model, x = make().eval(), torch.randn(x, generator=torch.Generator().manual_seed(0))
    whole = c.quantize_int8(model, x)
    want, got = model(x).detach(), whole(x)
    assert float((got - want).norm() / want.norm()) < 0.03
    assert not torch.equal(got, want)
    kept = [b for b in whole.buffers() if b.dtype == torch.int8]
    assert len(kept) == len(c.prunable(model)) and all(b.abs().max() == 127 for b in kept)


def test_int8_keeps_zero_exact():
    layer = torch.nn.Linear(4, 2, bias=False)
    whole = c.quantize_int8(torch.nn.Sequential(layer), torch.tensor([[0.3, -1.0, 2.0, 0.1]]))
    assert torch.equal(whole(torch.zeros(1, 4)), torch.zeros(1, 2))


# --- shared

def test_kmeans_is_sklearn_s_from_the_same_start():
    w = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centroids, label = c.kmeans(w, 8, iterations=300)
    start = np.linspace(float(w.min()), float(w.max()), 8)[:, None]
    theirs = KMeans(8, init=start, n_init=1, max_iter=300, tol=0.0).fit(w[:, None].numpy())
    np.testing.assert_allclose(centroids, np.sort(theirs.cluster_centers_[:, 0]), rtol=1e-6)
    assert float(((w - centroids[label]) ** 2).sum()) == pytest.approx(theirs.inertia_, rel=1e-6)


def test_shared_weights_take_few_values_and_pruned_ones_stay_zero():
    model = c.magnitude_prune(small(), 0.6)
    alive = c.masks(model)
    c.kmeans_share(model, 2)
    for name, layer in c.prunable(model).items():
        assert torch.equal(layer.weight != 0, alive[name])
        assert len(layer.weight[alive[name]].unique()) <= 4


def test_a_centroid_s_gradient_is_the_sum_over_its_weights():
    model, (x, y) = c.kmeans_share(small(), 2), task()
    cross_entropy(model(x), y).backward()
    plain = c.bake(copy.deepcopy(model))
    plain.zero_grad()
    cross_entropy(plain(x), y).backward()
    index, grad = c.codes(model.linear1)[1], plain.linear1.weight.grad
    want = torch.stack([grad[index == k].sum() for k in range(1, 5)])
    torch.testing.assert_close(model.linear1.parametrizations.weight.original.grad, want)


def test_training_the_codebook_keeps_the_assignments_and_lowers_the_loss():
    data = task()
    model = c.retrain([small()], data, loss=cross_entropy, steps=150, lr=0.01)[0]
    shared = c.kmeans_share(c.magnitude_prune(copy.deepcopy(model), 0.5), 1)
    trained = c.train_shared([shared, shared], data, loss=cross_entropy, steps=60, lr=0.01)[0]
    assert torch.equal(c.codes(shared.linear1)[1], c.codes(trained.linear1)[1])
    assert cross_entropy(trained(data[0]), data[1]) < cross_entropy(shared(data[0]), data[1])
    with pytest.raises(ValueError, match="models must share weights"):
        c.train_shared([model], data, loss=cross_entropy, steps=1, lr=0.01)


# --- Huffman

def test_the_worked_example():
    lengths = c.code_lengths([5, 1, 1, 3])
    assert lengths.tolist() == [1, 3, 3, 2] and c.canonical_codes(lengths).tolist() == [0b0, 0b110, 0b111, 0b10]
    assert c.huffman_encode([0, 3, 1], lengths) == bytes([0b01011000])


@pytest.mark.parametrize("K, n, power", [(1, 10, 1), (2, 100, 1), (16, 5000, 3), (256, 20_000, 6)])
def test_what_is_encoded_comes_back_within_one_bit_of_the_entropy(K, n, power):
    rng = np.random.default_rng(K)
    symbols = np.minimum((rng.random(n) ** power * K).astype(int), K - 1)
    counts = np.bincount(symbols, minlength=K)
    lengths = c.code_lengths(counts)
    data = c.huffman_encode(symbols, lengths)
    assert np.array_equal(c.huffman_decode(data, n, lengths), symbols)
    mean = (counts * lengths).sum() / n
    assert c.entropy(counts) <= mean + 1e-12 and mean < c.entropy(counts) + 1 + (K == 1) * 1e-9
    assert len(data) == -(-int((counts * lengths).sum()) // 8)


def test_no_prefix_code_is_shorter():  # all complete codes for four symbols, by brute force
    for counts in itertools.product([1, 2, 5, 9], repeat=4):
        best = min(np.dot(counts, np.array(order)) for shape in ([2, 2, 2, 2], [1, 2, 3, 3])
                   for order in itertools.permutations(shape))
        assert np.dot(counts, c.code_lengths(counts)) == best


@pytest.mark.parametrize("data, n, lengths, message", [
    (b"\0", 1, [1, 1, 1], "Kraft"), (b"\0", 1, [0, 0], "at least one above 0"), (b"\0", 1, [2, 2], "Kraft"),
    (b"\0", 9, [1, 1], "cannot hold 9 symbols"), (b"\x80", 1, [1], "no code word"), (b"\0\0", 3, [1, 1], "go on"),
    (b"\xff", 8, [1, 2, 2], "cut short"), (b"\0", 1, [40, 1], "0 ... 32"), (b"\x01", 2, [1, 1], "go on"),
])
def test_data_that_no_encoder_wrote_are_refused(data, n, lengths, message):
    with pytest.raises(ValueError, match=message):
        c.huffman_decode(data, n, lengths)


def test_a_symbol_without_a_code_word_is_refused():
    with pytest.raises(ValueError, match="must all have a code word"):
        c.huffman_encode([1], [1, 0, 1])


# --- distillation

def test_distillation_with_the_labels_as_teacher_is_cross_entropy():
    x, y = task()
    logits = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
    sure = 50.0 * functional.one_hot(y, 3).float()
    torch.testing.assert_close(c.distillation_loss(logits, sure, y), functional.cross_entropy(logits, y))
    hard = c.distillation_loss(logits, sure, y, T=3.0, alpha=0.0)
    torch.testing.assert_close(hard, functional.cross_entropy(logits, y))


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_gradient_is_alpha_T_times_the_difference_of_the_softened_answers(T):
    g = torch.Generator().manual_seed(0)
    z, teacher = torch.randn(5, 3, generator=g).double().requires_grad_(), torch.randn(5, 3, generator=g).double()
    c.distillation_loss(z, teacher, torch.zeros(5, dtype=torch.int64), T, 1.0).backward()
    want = T * ((z / T).softmax(1) - (teacher / T).softmax(1)) / 5
    torch.testing.assert_close(z.grad, want.detach())


def test_the_packed_loss_is_the_same_and_trains():
    x, y = task()
    teacher = torch.randn(96, 3, generator=torch.Generator().manual_seed(0))
    packed, z = c.with_teacher(teacher, y), torch.randn(96, 3)
    torch.testing.assert_close(c.soft_loss(2.0, 0.5)(z, packed), c.distillation_loss(z, teacher, y, 2.0, 0.5))
    before = float(c.soft_loss()(small()(x).detach(), packed))
    model = c.retrain([small()], (x, packed), loss=c.soft_loss(), steps=80, lr=0.01)[0]
    assert float(c.soft_loss()(model(x).detach(), packed)) < 0.7 * before
    adam = lambda p: torch.optim.Adam(p, 0.01)  # noqa: E731
    train(small(), (x, packed), optimizer=adam, loss=c.soft_loss(), steps=3, evaluate_every=0)


@pytest.mark.parametrize("call, message", [
    (lambda: c.round_weights(small(), 1), "bits must be in 2 ... 16"),
    (lambda: c.kmeans_share(small(), 13), "1 ... 12"),
    (lambda: c.distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), T=0), "T must be > 0"),
    (lambda: c.code_lengths([0, 0]), "at least one symbol"),
])
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
