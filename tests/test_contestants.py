"""The twelve contestants and the place of one among them; the network without pooling."""

import numpy as np
import pytest
import torch
from dlopt import data, losses, rules
from dlopt.models.strided import strided_cnn
from dlopt.race import EntryResult, RaceResult, race
from dlopt.race.contestants import TWELVE, entries, muon_adam, places


def result(values, metric="test_loss"):
    made = {name: EntryResult(name, name, {}, 0.1, None, 0, np.array([0, 1]), {metric: np.array(v)})
            for name, v in values.items()}
    return RaceResult(made, "a", metric, (metric, 1.0), 0.95, [0, 1])


def test_the_place_counts_who_is_ahead_seed_by_seed():
    found = result({"a": [[9, 2.0], [9, 1.0]], "b": [[1, 1.0], [1, 3.0]], "c": [[1, 1.5], [9, 1.0]],
                    "d": [[9, np.nan], [9, np.inf]]})
    np.testing.assert_array_equal(places(found), [3, 1.5])
    np.testing.assert_array_equal(places(found, evaluation=0), [3.5, 3])
    np.testing.assert_array_equal(places(found, among=("b",)), [2, 1])
    np.testing.assert_array_equal(places(found, of="b"), [1, 3])
    with pytest.raises(ValueError, match="must be a loss"):
        places(result({"a": [[0.1]], "b": [[0.2]]}, "test_accuracy"))
    with pytest.raises(ValueError, match="among must be one of"):
        places(found, among=("z",))


def test_all_twelve_have_grids_of_equal_length_around_their_rate():
    made = entries()
    assert list(made) == list(TWELVE) and len(made) == 12
    for name, entry in made.items():
        assert entry.lr == pytest.approx([TWELVE[name].lr * f for f in (0.1, 0.3, 1, 3)])
    assert made["AdamW"].hyper == {"weight_decay": 0.1} and list(entries("Adam", "Muon")) == ["Adam", "Muon"]
    assert TWELVE["SGD"].rates(1, 0.5, 4) == pytest.approx([10 ** (k / 4) for k in range(-4, 3)])
    with pytest.raises(ValueError, match="name must be one of"):
        entries("Newton")


def test_muon_adam_is_muon_on_matrices_and_adam_on_vectors():
    g = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros_like(g)
    torch.testing.assert_close(muon_adam(g, zero, zero, t=1)[0], rules.muon(g, zero, t=1, lr=1e-3, length="adam")[0])
    torch.testing.assert_close(muon_adam(g[0], zero[0], zero[0], t=1)[0], rules.adam(g[0], zero[0], zero[0], t=1)[0])


def test_the_strided_network_has_the_layers_it_says_and_seeds_of_its_own():
    net = strided_cnn(16, widths=(8, 16), hidden=32, seed=3)
    assert net(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    assert sum(p.numel() for p in net.parameters()) == (9 * 8 + 8) + (72 * 16 + 16) + (256 * 32 + 32) + 330
    same, other = strided_cnn(seed=3), strided_cnn(seed=4)
    assert torch.equal(net[0].weight, same[0].weight) and not torch.equal(net[0].weight, other[0].weight)
    with pytest.raises(ValueError, match="divisible by 4"):
        strided_cnn(18)


def test_every_contestant_runs_in_a_race_with_the_strided_network():
    images = data.glyphs(64, 0.3, size=16, n_val=20, n_test=20)
    found = race(entries(), lambda seed: strided_cnn(widths=(2, 2), hidden=4, seed=seed), images,
                 loss=losses.cross_entropy, steps=2, tuning_seeds=1, seeds=5, metric="test_loss")
    assert list(found.entries) == list(TWELVE) and (places(found) >= 1).all() and (places(found) <= 12).all()
