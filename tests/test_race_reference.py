"""The reference protocol: rates chosen on validation of a seed of its own, scores on the test part, seed by seed."""

import pytest
import torch
from dlopt.data import Dataset, diabetes
from dlopt.losses import mse
from dlopt.models import linear
from dlopt.optimizers import Adam
from dlopt.race import reference, reference_scores, train_reference
from dlopt.statistics import mean_interval
from dlopt.training import evaluate, train

MAKES = {"linear": lambda seed: linear(10, 1, seed=seed)}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(reference, "find_device", lambda: torch.device("cpu"))


def test_a_run_is_adam_with_warmup_linear_decay_and_clipping():
    data, mine, theirs = diabetes(3), MAKES["linear"](3), MAKES["linear"](3)
    train_reference(mine, data, mse, epochs=2, lr=0.02, seed=3)
    total = 2 * -(-len(data.x_train) // 64)
    train(theirs, data, optimizer=lambda p: Adam(p, lr=0.02), loss=mse, epochs=2, batch_size=64, seed=3, clip_norm=1.0,
          schedule=lambda t: min(1, (t + 1) / 30) * (1 - t / total))
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_scores_are_those_of_single_runs_at_the_rate_that_is_best_on_validation():
    rates = (0.01, 0.1, 1.0)
    found = reference_scores(diabetes, MAKES, mse, epochs=20, seeds=[0, 1], lr=rates, tuning_seed=7)["linear"]
    for lr in rates:
        model = train_reference(MAKES["linear"](7), diabetes(7), mse, epochs=20, lr=lr, seed=7)
        assert found.tried[lr] == evaluate(model, *diabetes(7).val, mse)["loss"]
    assert found.lr == min(found.tried, key=found.tried.get)
    for seed, score in zip((0, 1), found.scores, strict=True):
        model = train_reference(MAKES["linear"](seed), diabetes(seed), mse, epochs=20, lr=found.lr, seed=seed)
        assert score == evaluate(model, *diabetes(seed).test, mse)["loss"]
    assert found.interval == mean_interval(found.scores)


def test_the_test_part_has_no_say_in_the_rate():
    def spoiled(seed):
        data = diabetes(seed)
        return Dataset("spoiled", *data.train, *data.val, data.x_test, torch.full_like(data.y_test, 1e3))

    settings = {"epochs": 3, "seeds": [0, 1], "tuning_seed": 7}
    a, b = (reference_scores(load, MAKES, mse, **settings)["linear"] for load in (diabetes, spoiled))
    assert a.tried == b.tried and a.lr == b.lr and min(b.scores) > 1e5


def test_a_best_rate_on_the_edge_extends_the_rates():
    settings = {"epochs": 20, "seeds": [0, 1], "tuning_seed": 7}
    found = reference_scores(diabetes, MAKES, mse, lr=(1e-3, 2e-3, 4e-3), **settings)["linear"]
    assert len(found.tried) > 3 and min(found.tried) < found.lr < max(found.tried)


def test_one_rate_is_taken_as_it_is():
    found = reference_scores(diabetes, MAKES, mse, epochs=1, seeds=[0, 1], lr=0.01)["linear"]
    assert found.lr == 0.01 and found.tried == {}


@pytest.mark.parametrize("settings, message", [
    ({"seeds": [1, 1], "lr": 0.1}, "at least two different seeds"), ({"lr": (0.1, 0.2)}, "at least three to choose"),
    ({}, "tuning_seed must be given"), ({"tuning_seed": 1}, "not be among the seeds"),
    ({"lr": 0.1, "epochs": 0}, "epochs"), ({"lr": -1.0}, "lr must be")])
def test_a_protocol_that_would_mislead_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        reference_scores(diabetes, MAKES, mse, **{"epochs": 1, "seeds": [0, 1], **settings})
