"""Our optimizers equal PyTorch's, and the distance that says so can be large."""

import pytest
from dlopt.optimizers import twins
from dlopt.optimizers.twins import TWINS, distance_to_torch


@pytest.mark.parametrize("name", TWINS)
def test_every_optimizer_equals_its_twin_over_200_noisy_steps(name):
    # torch keeps NAdam's product of momenta in float32
    assert distance_to_torch(name) < (1e-7 if name == "nadam" else 1e-12)


@pytest.mark.parametrize("name, change", [
    ("adam", {"beta2": 0.99}), ("adagrad", {"eps": 1e-3}), ("adamw", {"l2": 0.01}),
])
def test_a_wrong_setting_is_far_away(monkeypatch, name, change):
    rule, ours, twin, theirs = TWINS[name]
    monkeypatch.setitem(twins.TWINS, name, (rule, {**ours, **change}, twin, theirs))
    assert distance_to_torch(name) > 1e-6


def test_two_seeds_are_two_runs_and_one_seed_is_one():
    assert distance_to_torch("adam", seed=1, steps=50) == distance_to_torch("adam", seed=1, steps=50)


@pytest.mark.parametrize("arguments, message", [
    ({"name": "adamax"}, "name must be one of"), ({"name": "adam", "steps": 0}, "steps must be"),
])
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        distance_to_torch(**arguments)


def test_the_table_has_a_line_for_every_twin_with_its_largest_distance():
    found = twins.compare_with_torch([0, 1], steps=20)
    assert found.distances["adam"] == [distance_to_torch("adam", seed=s, steps=20) for s in (0, 1)]
    lines = found.table().splitlines()
    assert len(lines) == 2 + len(TWINS)
    shown = twins.TwinDistances({"adam": [0.0, 2.34e-5], "sgd": [0.0]}).table()
    assert "| adam | `torch.optim.Adam` | 2e-05 |" in shown and "| sgd | `torch.optim.SGD` | 0 |" in shown
