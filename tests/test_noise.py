"""Gradient noise: per-example gradients, their covariance, and the two estimators of the noise scale."""

import numpy as np
import pytest
import torch
from dlopt import losses
from dlopt.models import mlp
from dlopt.noise import (
    bias_ratio,
    error_curve,
    expected_error,
    fit_hyperbola,
    gradient_noise,
    minibatch_error,
    noise_ball,
    per_example_gradients,
    two_batch_noise_scale,
    update_noise,
)
from dlopt.scale import generator
from dlopt.statistics import mean_interval

N = 24


@pytest.fixture
def problem():
    model = mlp([5, 7, 3], seed=0).double()
    x = torch.randn(N, 5, dtype=torch.float64, generator=generator(1))
    return model, x, torch.randint(3, (N,), generator=generator(2))


def test_rows_are_the_gradients_of_single_examples(problem):
    model, x, y = problem
    rows = per_example_gradients(model, losses.cross_entropy, x, y)
    for i in (0, 7, N - 1):
        loss = torch.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        torch.testing.assert_close(rows[i], expected, rtol=1e-12, atol=1e-14)


def test_frozen_parameters_have_no_column(problem):
    model, x, y = problem
    model.linear1.weight.requires_grad_(False)
    assert per_example_gradients(model, losses.cross_entropy, x, y).shape == (N, 7 + 21 + 3)


def test_mean_trace_and_cosine_equal_their_definitions():
    g = torch.randn(6, 4, dtype=torch.float64, generator=generator(0))
    noise = gradient_noise(g)
    cosines = [torch.cosine_similarity(g[i], g[j], dim=0) for i in range(6) for j in range(6) if i != j]
    assert noise.cosine == pytest.approx(torch.stack(cosines).mean().item(), rel=1e-12)
    assert noise.trace == pytest.approx(torch.cov(g.T, correction=0).trace().item(), rel=1e-12)
    assert noise.scale == pytest.approx(noise.trace / g.mean(0).square().sum().item(), rel=1e-12)


def test_expected_error_is_exact_where_every_pair_can_be_enumerated():
    g = torch.randn(7, 3, dtype=torch.float64, generator=generator(3))
    pairs = [(i, j) for i in range(7) for j in range(7)]
    for replacement in (True, False):
        chosen = [p for p in pairs if replacement or p[0] != p[1]]
        errors = torch.stack([(g[list(p)].mean(0) - g.mean(0)).square().sum() for p in chosen])
        theory = expected_error(gradient_noise(g).trace, 2, 7, replacement)
        assert theory == pytest.approx(errors.mean().item(), rel=1e-12)


@pytest.mark.parametrize("replacement", [True, False])
def test_drawn_minibatches_have_the_expected_error_in_their_interval(replacement):
    g = torch.randn(50, 8, dtype=torch.float64, generator=generator(4))
    errors = minibatch_error(g, 10, draws=2000, generator=generator(5), replacement=replacement)
    interval = mean_interval(errors.numpy(), level=0.999)
    assert interval.low <= expected_error(gradient_noise(g).trace, 10, 50, replacement) <= interval.high
    assert not interval.low <= expected_error(gradient_noise(g).trace, 10, 50, not replacement) <= interval.high


def test_the_whole_data_set_without_replacement_has_no_error():
    g = torch.randn(9, 2, dtype=torch.float64, generator=generator(6))
    assert minibatch_error(g, 9, draws=3, generator=generator(7)).max() < 1e-30
    assert expected_error(1.0, 9, 9) == 0.0


def test_two_batch_estimate_recovers_signal_and_noise():
    signal, trace, draws = torch.full((40,), 0.1, dtype=torch.float64), 40.0, 40_000
    norms = [
        (signal + torch.randn(draws, 40, dtype=torch.float64, generator=generator(b)) / b**0.5).square().sum(1)
        for b in (8, 64)
    ]
    scale, square = two_batch_noise_scale(*norms, 8, 64)
    assert square == pytest.approx(0.4, rel=0.03)
    assert scale == pytest.approx(trace / 0.4, rel=0.05)


def test_two_batch_estimate_is_nan_where_noise_hides_the_signal():
    scale, square = two_batch_noise_scale([1.0], [0.01], 2, 4)
    assert square < 0 and scale != scale


def test_bad_arguments_are_refused(problem):
    model, x, y = problem
    with pytest.raises(ValueError, match="same length >= 1, got 0 and 0"):
        per_example_gradients(model, losses.cross_entropy, x[:0], y[:0])
    with pytest.raises(ValueError, match="must be <= 4 without replacement, got 5"):
        minibatch_error(torch.ones(4, 2), 5, draws=1, generator=generator(0))
    with pytest.raises(ValueError, match="1 <= small < big are needed, got 4 and 4"):
        two_batch_noise_scale([1.0], [1.0], 4, 4)
    with pytest.raises(ValueError, match="number of examples must be a whole number >= 2, got 1"):
        gradient_noise(torch.ones(1, 3))


def test_error_curve_is_in_units_of_the_trace_and_follows_the_theorem():
    g = 7.0 * torch.randn(40, 3, dtype=torch.float64, generator=generator(8))
    sizes = [1, 5, 39]
    for replacement in (True, False):
        found = error_curve(g, sizes, draws=4000, seed=0, replacement=replacement)
        assert found == pytest.approx([expected_error(1, B, 40, replacement) for B in sizes], rel=0.08)
    assert error_curve(g, sizes, draws=5, seed=0) == error_curve(g, sizes, draws=5, seed=0)
    assert error_curve(g, sizes, draws=5, seed=0) != error_curve(g, sizes, draws=5, seed=1)


def test_a_biased_sampler_is_caught_and_a_fair_one_is_not():
    g = torch.randn(60, 4, dtype=torch.float64, generator=generator(9))
    source = generator(10)
    fair = [torch.randperm(60, generator=source)[:6] for _ in range(2000)]
    half = [torch.randperm(30, generator=source)[:6] for _ in range(2000)]
    assert bias_ratio(g, fair) < 4
    assert bias_ratio(g, half) > 30
    with pytest.raises(ValueError, match="at least two batches to show, got 1"):
        bias_ratio(g, fair[:1])


@pytest.mark.parametrize(
    "lr, curvature, momentum", [(0.1, 1.0, 0.0), (1.5, 1.0, 0.0), (0.02, 3.0, 0.9), (0.9, 2.0, 0.5)]
)
def test_the_noise_ball_solves_the_lyapunov_equation_of_the_heavy_ball(lr, curvature, momentum):
    step = torch.tensor([[1 + momentum - lr * curvature, -momentum], [1.0, 0.0]], dtype=torch.float64)
    noise = torch.tensor([(0.7 * lr) ** 2, 0, 0, 0], dtype=torch.float64)
    covariance = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - torch.kron(step, step), noise)
    found = noise_ball(lr, curvature=curvature, noise=0.7, momentum=momentum)
    assert found == pytest.approx(covariance[0].item(), rel=1e-10)
    assert noise_ball(2 * (1 + momentum) / curvature, curvature=curvature, momentum=momentum) == float("inf")


def test_update_noise_is_the_covariance_that_subsets_add_per_unit_of_training():
    g = torch.randn(N, 3, dtype=torch.float64, generator=generator(3))
    trace = gradient_noise(g).trace
    for size in (1, 5, 16, N):
        per_unit = 0.2 * expected_error(trace, size, N)  # 1/lr updates, each with covariance lr**2 * error
        assert update_noise(0.2, size, N) * trace / (N - 1) == pytest.approx(per_unit, rel=1e-12, abs=1e-15)
    assert update_noise(0.2, 4, N, momentum=0.9) == pytest.approx(10 * update_noise(0.2, 4, N))


@pytest.mark.parametrize("call, message", [
    (lambda: update_noise(0.1, 30, 20), "batch_size must be <= n, got 30 of 20"),
    (lambda: update_noise(-0.1, 3, 20), "lr must be >= 0, got -0.1"),
    (lambda: update_noise(0.1, 3, 20, momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
    (lambda: noise_ball(0.0), "lr must be > 0, got 0.0"),
])  # fmt: skip
def test_noise_formulas_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("least, critical", [(10.0, 0.5), (46.0, 60.0), (3.0, 4000.0)])
def test_the_hyperbola_is_found_again_from_its_own_points(least, critical):
    sizes = np.array([1, 2, 8, 32, 128, 1024])
    assert fit_hyperbola(sizes, least * (1 + critical / sizes)) == pytest.approx((least, critical), rel=1e-5)


def test_the_fitted_hyperbola_is_the_best_in_logarithms():
    sizes = np.array([1.0, 4, 16, 64, 256, 1024])
    steps = 50 * (1 + 20 / sizes) * np.exp(0.2 * np.random.default_rng(0).standard_normal(6))

    def misfit(least, critical):
        return np.square(np.log(steps / (least * (1 + critical / sizes)))).sum()

    least, critical = fit_hyperbola(sizes, steps)
    near = np.exp(np.linspace(-0.1, 0.1, 5))
    assert misfit(least, critical) <= min(misfit(a * least, b * critical) for a in near for b in near) + 1e-12
    assert misfit(least, critical) < misfit(50, 20)


def test_a_hyperbola_through_too_few_or_missed_targets_is_refused():
    with pytest.raises(ValueError, match="three batch sizes"):
        fit_hyperbola([1, 2], [3, 2])
    with pytest.raises(ValueError, match="three batch sizes"):
        fit_hyperbola([1, 2, 4], [3, 2])
    with pytest.raises(ValueError, match="leave out sizes that missed"):
        fit_hyperbola([1, 2, 4], [float("inf"), 2, 1])
