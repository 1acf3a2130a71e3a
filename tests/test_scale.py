"""``DLOPT_SCALE`` and ``DLOPT_SEED`` steer the whole book and refuse what they do not know."""

import pytest
import torch
from dlopt.scale import base_seed, generator, pick, scale, seed, seeds


@pytest.fixture(autouse=True)
def default(monkeypatch):
    monkeypatch.delenv("DLOPT_SCALE", raising=False)
    monkeypatch.delenv("DLOPT_SEED", raising=False)


def test_the_scale_is_quick_unless_told_otherwise(monkeypatch):
    assert (scale(), pick(10, 1000)) == ("quick", 10)
    monkeypatch.setenv("DLOPT_SCALE", "full")
    assert (scale(), pick(10, 1000)) == ("full", 1000)


def test_an_unknown_scale_is_refused(monkeypatch):
    monkeypatch.setenv("DLOPT_SCALE", "large")
    with pytest.raises(ValueError, match="DLOPT_SCALE must be one of quick, full; got 'large'"):
        scale()


@pytest.mark.parametrize("text", ["-1", "1.5", "one", ""])
def test_a_seed_that_is_no_whole_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("DLOPT_SEED", text)
    with pytest.raises(ValueError, match="DLOPT_SEED must be a whole number >= 0"):
        base_seed()


def test_two_values_of_dlopt_seed_share_no_seed(monkeypatch):
    first = set(seeds(5000))
    monkeypatch.setenv("DLOPT_SEED", "1")
    assert len(first) == 5000 and first.isdisjoint(seeds(5000))


def test_start_continues_the_row_of_seeds():
    assert seeds(3) + seeds(2, start=3) == seeds(5) == [seed(i) for i in range(5)]


def test_a_negative_index_and_no_seeds_at_all_are_refused():
    with pytest.raises(ValueError, match="i must be a whole number >= 0, got -1"):
        seed(-1)
    with pytest.raises(ValueError, match="n must be a whole number >= 1, got 0"):
        seeds(0)


def test_a_generator_depends_on_its_seed_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    draws = [torch.rand(4, generator=generator(s)) for s in (7, 7, 8)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)
