"""Chains of noisy gradient descent agree with the exact second moment."""

import numpy as np
import pytest
from dlopt.chains import decay_exponent, expected_square, run_chains, step_sizes
from dlopt.statistics import mean_interval


def test_one_chain_is_the_recursion_written_out():
    got = run_chains([lambda t: 0.5 / t], steps=10, chains=1, seed=3, curvature=2.0, noise=0.7, start=1.5, record=40)
    xi, x = 0.7 * np.random.default_rng(3).standard_normal((10, 1))[:, 0], 1.5
    expected = []
    for t in range(1, 11):
        x = x - 0.5 / t * (2.0 * x + xi[t - 1])
        expected.append(x)
    np.testing.assert_array_equal(got.steps, range(1, 11))
    np.testing.assert_allclose(got.values[0, :, 0], expected, rtol=1e-14)
    np.testing.assert_allclose(got.averages[0, :, 0], np.cumsum(expected) / np.arange(1, 11), rtol=1e-13)
    np.testing.assert_allclose(got.largest[0, 0, 0], np.abs(expected).max(), rtol=1e-14)


def test_mean_square_over_chains_has_the_exact_second_moment_in_its_interval():
    schedules = [lambda t: 0.3, lambda t: 1 / t, lambda t: t**-0.5]
    chains = run_chains(schedules, steps=1000, chains=4000, seed=0, start=2.0)
    for schedule, values in zip(schedules, chains.values):
        exact = expected_square(schedule, steps=1000, start=2.0)[chains.steps - 1]
        inside = [mean_interval(v**2, level=0.999) for v in values]
        assert np.mean([i.low <= e <= i.high for i, e in zip(inside, exact)]) > 0.9


def test_constant_step_ends_in_the_noise_ball_of_the_closed_form():
    rate, curvature, noise = 0.1, 2.0, 3.0
    square = expected_square(lambda t: rate, steps=500, curvature=curvature, noise=noise)[-1]
    assert square == pytest.approx(rate * noise**2 / (curvature * (2 - rate * curvature)), rel=1e-12)


def test_all_schedules_see_the_same_noise():
    chains = run_chains([lambda t: 0.1, lambda t: 0.1], steps=100, chains=5, seed=1)
    np.testing.assert_array_equal(chains.values[0], chains.values[1])


def test_another_gradient_takes_the_place_of_the_quadratic_s():
    settings = dict(steps=50, chains=3, seed=2, curvature=3.0)
    runs = [run_chains([lambda t: 0.1], gradient=g, **settings) for g in (None, lambda x: 3 * x)]
    np.testing.assert_array_equal(runs[0].values, runs[1].values)
    cubic = run_chains([lambda t: 0.1], steps=10, chains=1, seed=0, noise=0.0, gradient=lambda x: x**3)
    assert cubic.values[0, 0, 0] == pytest.approx(1 - 0.1)


def test_peaks_are_those_of_their_decade_alone():
    chains = run_chains([np.r_[np.zeros(9), 1.0, np.zeros(90)]], steps=100, chains=3, seed=0, noise=0.0, start=5.0)
    np.testing.assert_array_equal(chains.largest[0], [[5.0] * 3, [0.0] * 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(schedules=[lambda t: -1.0]), r"step sizes must be finite and >= 0, got -1.0 at t = 1"),
        (dict(schedules=[lambda t: 1 / (t - 3) if t != 3 else np.inf]), "got -0.5 at t = 1"),
        (dict(schedules=[np.ones(7)]), r"one step size for each of 10 steps, got shape \(7,\)"),
        (dict(curvature=0.0), "curvature must be > 0, got 0.0"),
        (dict(steps=5), "steps must be a whole number >= 10, got 5"),
        (dict(noise=float("nan")), "noise must be a finite number, got nan"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    good = dict(schedules=[lambda t: 0.1], steps=10, chains=2, seed=0)
    with pytest.raises(ValueError, match=message):
        run_chains(**(good | arguments))


def test_step_sizes_take_a_function_or_an_array():
    np.testing.assert_array_equal(step_sizes(lambda t: 1 / t, 4), step_sizes([1, 1 / 2, 1 / 3, 1 / 4], 4))


def test_decay_exponent_finds_the_power_of_a_noisy_power_law():
    steps = np.unique(np.geomspace(1, 1e4, 60).astype(int))
    losses = steps[:, None] ** -0.75 * np.random.default_rng(0).exponential(size=(len(steps), 500))
    fitted = decay_exponent(losses, steps, since=10)
    assert fitted.low <= -0.75 <= fitted.high
    assert fitted.half_width < 0.02


def test_decay_exponent_refuses_what_has_no_slope():
    with pytest.raises(ValueError, match="got 0 with since=99"):
        decay_exponent(np.ones((3, 20)), [1, 2, 3], since=99)
    with pytest.raises(ValueError, match="must be > 0 to have a logarithm"):
        decay_exponent(np.zeros((3, 20)), [1, 2, 3], since=1)
