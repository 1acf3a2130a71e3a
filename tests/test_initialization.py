"""Initial weights: variances, structure, own generator, refusals."""

import math

import pytest
import torch
from dlopt import initialization as init
from dlopt.scale import generator
from torch import nn

SHAPES = [(300, 200), (64, 32, 3, 3)]
VARIANCES = {  # name -> variance as a function of (fan_in, fan_out)
    "normal": lambda i, o: 1e-4,
    "lecun": lambda i, o: 1 / i,
    "he": lambda i, o: 2 / i,
    "glorot": lambda i, o: 2 / (i + o),
    "glorot_uniform": lambda i, o: 2 / (i + o),
    "fan_in_uniform": lambda i, o: 1 / (3 * i),
    "sparse": lambda i, o: 2 / i,
}


def filled(name, shape, seed=0, **knobs):
    return init.SCHEMES[name](torch.empty(shape, dtype=torch.float64), generator(seed), **knobs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", VARIANCES)
def test_weights_have_mean_zero_and_the_stated_variance(name, shape):
    w = filled(name, shape)
    expected = VARIANCES[name](*init.fans(w))
    n, kurtosis = w.numel(), ((w**2).var() / expected**2).item()
    assert abs(w.mean()) < 4.5 * (expected / n) ** 0.5
    assert abs((w**2).mean() / expected - 1) < 4.5 * (kurtosis / n) ** 0.5


@pytest.mark.parametrize("name, torchs", [
    ("he", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu")), ("glorot", nn.init.xavier_normal_),
    ("glorot_uniform", nn.init.xavier_uniform_), ("lecun", lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear")),
])
@pytest.mark.parametrize("shape", SHAPES)
def test_schemes_equal_torchs_for_the_same_draws(name, torchs, shape):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(7)
        theirs = torchs(torch.empty(shape, dtype=torch.float64))
    torch.testing.assert_close(filled(name, shape, seed=7), theirs)


@pytest.mark.parametrize("name", ["lecun", "he", "glorot", "glorot_uniform", "fan_in_uniform", "orthogonal"])
def test_gain_multiplies_the_weights(name):
    torch.testing.assert_close(filled(name, (20, 30), gain=2.5), 2.5 * filled(name, (20, 30)))


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30), (8, 4, 3, 3)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape):
    w = filled("orthogonal", shape).flatten(1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64))


def test_orthogonal_has_no_preferred_sign():
    corner = torch.stack([filled("orthogonal", (3, 3), seed=s).diagonal() for s in range(400)])
    assert corner.mean(0).abs().max() < 4.5 * (1 / 3 / 400) ** 0.5


def test_sparse_units_have_exactly_the_stated_connections():
    w = filled("sparse", (40, 100), connections=15, std=1.0)
    assert torch.equal((w != 0).sum(1), torch.full((40,), 15))
    assert abs(w[w != 0].std() - 1) < 0.15
    assert (filled("sparse", (4, 8), connections=15) != 0).all()


def test_zeros_and_constant():
    assert (filled("zeros", (3, 4)) == 0).all() and (filled("constant", (3, 4), value=0.3) == 0.3).all()


def test_fans_of_a_convolution_count_the_kernel():
    assert init.fans(torch.empty(64, 32, 3, 5)) == (480, 960)
    with pytest.raises(ValueError, match=r"weight must have at least 2 axes \(out, in\), got shape \(5,\)"):
        init.fans(torch.empty(5))


@pytest.mark.parametrize("name", init.SCHEMES)
def test_draws_come_from_the_given_generator_only(name):
    before = torch.get_rng_state()
    assert torch.equal(filled(name, (6, 7), seed=3), filled(name, (6, 7), seed=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_he_keeps_the_mean_square_through_thirty_relu_layers_and_glorot_halves_it():
    logs = {"he": [], "glorot": []}
    for seed in range(5):
        for name, found in logs.items():
            x, g = torch.randn(64, 256, generator=generator(seed), dtype=torch.float64), generator(100 + seed)
            start = (x**2).mean()
            for _ in range(30):
                x = torch.relu(x @ init.SCHEMES[name](torch.empty(256, 256, dtype=torch.float64), g).T)
            found.append(math.log2((x**2).mean() * 2 / start) - 1)  # one relu's halving belongs to the last output
    assert abs(sum(logs["he"]) / 5) < 3
    assert abs(sum(logs["glorot"]) / 5 + 30) < 3


def test_initialize_fills_matrices_and_biases_and_leaves_normalizations_alone():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2, bias=False))
    init.initialize(net, "constant", bias=0.7)
    assert (net[0].weight == 0.1).all() and (net[0].bias == 0.7).all() and (net[3].weight == 0.1).all()
    assert (net[1].weight == 1).all() and (net[1].bias == 0).all()


def test_a_function_is_a_scheme_too_and_unknown_names_are_refused():
    net = nn.Linear(3, 3)
    init.initialize(net, lambda w, g: nn.init.eye_(w))
    assert torch.equal(net.weight, torch.eye(3))
    with pytest.raises(ValueError, match="init must be one of zeros, constant, .*; got 'xavier'"):
        init.initialize(net, "xavier")


def test_impossible_knobs_are_refused():
    with pytest.raises(ValueError, match="std must be >= 0, got -1"):
        filled("normal", (3, 3), std=-1)
    with pytest.raises(ValueError, match="connections must be >= 1, got 0"):
        filled("sparse", (3, 3), connections=0)
