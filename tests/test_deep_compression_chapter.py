"""The page on bits and files: its worked examples and the numbers that its prose counts."""

import copy
from functools import partial

import pytest
import torch
from dlopt import compression as c
from dlopt import models
from test_compression_chapter import prose

TEXT = prose("deep_compression")


def test_the_worked_clusters_and_the_gradients_of_their_centroids():
    w = torch.tensor([1.0, 3.0, 7.0, 9.0])
    centroids, label = c.kmeans(w, 2)
    assert centroids.tolist() == [2, 8] and float(((w - centroids[label]) ** 2).sum()) == 4
    book = centroids.clone().requires_grad_()
    theta = c.Shared(label + 1)(book)
    theta.backward(torch.tensor([1.0, -2.0, 3.0, 0.0]))
    assert book.grad.tolist() == [-1, 3] and "gradients $-1$ and $3$" in TEXT


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_the_gradient_of_softened_answers_is_alpha_t_times_their_difference(T):
    g = torch.Generator().manual_seed(0)
    z, teacher = torch.randn(1, 6, generator=g).double().requires_grad_(), torch.randn(1, 6, generator=g).double()
    c.distillation_loss(z, teacher, torch.tensor([2]), T=T, alpha=1.0).backward()
    want = T * ((z.detach() / T).softmax(-1) - (teacher / T).softmax(-1))
    torch.testing.assert_close(z.grad, want)


def test_at_high_temperature_the_gradient_is_that_of_least_squares_on_centered_logits():
    g = torch.Generator().manual_seed(1)
    z, teacher = (torch.randn(1, 5, generator=g).double() for _ in range(2))
    z, teacher = (z - z.mean()).requires_grad_(), teacher - teacher.mean()
    c.distillation_loss(z, teacher, torch.tensor([0]), T=1e4).backward()
    torch.testing.assert_close(z.grad, (z.detach() - teacher) / 5, rtol=1e-3, atol=1e-6)


def test_what_the_prose_counts():
    big, small = models.lenet5_caffe(), models.lenet_300_100()
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    assert count(big) == 431_080 and "431,080" in TEXT
    assert big[5].weight.numel() / count(big) == pytest.approx(0.93, abs=0.005)
    weights = sum(layer.weight.numel() for layer in c.prunable(small).values())
    assert weights == 266_200 and count(small) - weights == 410 and "410 numbers" in TEXT
    narrow = models.mlp([784, 26, 10])
    assert sum(layer.weight.numel() for layer in c.prunable(narrow).values()) < 0.08 * weights
    cnn = partial(models.small_cnn, widths=(64, 128, 256, 512))()
    assert count(cnn) == pytest.approx(1.6e6, rel=0.03) and "1.6 million" in TEXT
    largest = max(c.prunable(cnn).values(), key=lambda layer: layer.weight.numel())
    assert largest.weight.flatten(1).shape == (512, 2304)  # what is timed with 2:4 sparsity


def test_a_network_with_normalization_goes_through_every_stage_and_comes_back():
    model = models.small_cnn(16, widths=(4, 8))
    x = torch.randn(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = {"loss": torch.nn.functional.cross_entropy, "steps": 2, "lr": 0.01, "batch_size": 20}
    data = x, torch.arange(40) % 10
    thin = c.retrain([c.magnitude_prune(copy.deepcopy(model), 0.8)], data, **settings)
    packed = c.retrain([c.kmeans_share(m, 4) for m in thin], data, **settings)[0]
    found = c.account(packed)
    assert found.exact and found.ratio > 3
