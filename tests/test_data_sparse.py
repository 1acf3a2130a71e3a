"""Sparse features: their frequencies have the asked tail, labels the asked law, and the best loss is the truth's."""

import numpy as np
import pytest
import torch
from dlopt.data import zipf_features
from dlopt.data.sparse import presence


@pytest.mark.parametrize("tail", [0.0, 1.0, 2.0])
def test_the_probabilities_fall_with_the_tail_s_power_and_add_to_the_active_features(tail):
    p = presence(200, tail, 6.0)
    assert p.sum().item() == pytest.approx(6.0, rel=1e-9) and p.max() <= 0.5
    free = (p < 0.5).nonzero()[:, 0]
    slope = np.polyfit(np.log(free.numpy() + 1), np.log(p[free].numpy()), 1)[0] if tail else 0.0
    assert slope == pytest.approx(-tail, abs=1e-9)


def test_features_are_as_frequent_and_labels_as_likely_as_the_details_say():
    data = zipf_features(20_000, 1.0, seed=3)
    x, y = data.train
    p, w = data.details["presence"], data.details["weights"]
    assert set(x.unique().tolist()) == {0.0, 1.0}
    spread = (p * (1 - p) / len(x)).sqrt()
    assert ((x.double().mean(0) - p).abs() < 5 * spread).all()
    score = x.double() @ w
    chance = torch.sigmoid(score)
    assert abs((y.double() - chance).mean().item()) < 5 * (chance * (1 - chance)).mean().sqrt().item() / len(x) ** 0.5


def test_the_best_loss_is_that_of_the_true_probabilities_and_no_scaled_ones_beat_it():
    data = zipf_features(20_000, 0.0, seed=1)
    z = data.x_test.double() @ data.details["weights"]
    loss = lambda c: torch.nn.functional.binary_cross_entropy(torch.sigmoid(c * z), data.y_test.double()).item()  # noqa: E731
    assert loss(1.0) == pytest.approx(data.details["best_loss"], rel=1e-9)
    assert min(loss(0.7), loss(1.4)) > loss(1.0)


def test_the_three_parts_and_two_seeds_are_independent_draws():
    a, b = zipf_features(500, seed=0), zipf_features(500, seed=1)
    assert len(a.y_val) == 125 and len(a.y_test) == 500
    assert not torch.equal(a.x_train, a.x_test) and not torch.equal(a.details["weights"], b.details["weights"])
    assert torch.equal(a.x_train, zipf_features(500, seed=0).x_train)


@pytest.mark.parametrize("arguments, message", [
    ({"tail": -1.0}, "tail must be >= 0"), ({"active": 0.0}, "active must be > 0"),
    ({"active": 100.0}, r"active must be in \[0, 100\)"),
    ({"features": 0}, "features must be"), ({"n": 0}, "n must be"),
])
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        zipf_features(**arguments)
