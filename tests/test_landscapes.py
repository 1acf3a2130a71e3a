"""The random landscapes: their slopes, scale and basins are right, and short steps of gradient descent stay at home."""

import numpy as np
import pytest
from dlopt.landscapes import RandomLandscapes, descend, escapes
from dlopt.rules import momentum, sgd
from scipy.optimize import minimize_scalar


@pytest.fixture(scope="module")
def land():
    return RandomLandscapes(200, seed=0)


def test_the_gradient_is_the_derivative_of_the_value(land):
    x = np.random.default_rng(1).uniform(-6, 6, (5, land.n))
    np.testing.assert_allclose(land.gradient(x), (land.value(x + 1e-5) - land.value(x - 1e-5)) / 2e-5, atol=1e-8)


def test_the_largest_curvature_is_one(land):
    x = np.linspace(-18, 17.98, 3001)[:, None]
    curvature = np.abs(land.gradient(x + 1e-5) - land.gradient(x - 1e-5)).max(0) / 2e-5
    np.testing.assert_allclose(curvature, 1, atol=5e-3)


def test_maxima_are_where_the_slope_falls_through_zero(land):
    for i, tops in enumerate(land.maxima[:20]):
        for top in tops[np.isfinite(tops)]:
            column = lambda x, i=i: land.gradient(np.full(land.n, x))[i]  # noqa: E731
            assert column(top - 0.01) > 0 > column(top + 0.01) and abs(column(top)) < 1e-3


def test_the_floor_is_the_lowest_value_of_the_basin(land):
    home = land.basin(land.starts)
    for i in range(10):
        tops = np.r_[-18, land.maxima[i][np.isfinite(land.maxima[i])], 18]
        found = minimize_scalar(lambda x, i=i: land.value(np.full(land.n, x))[i], method="bounded",
                                bounds=(tops[home[i]], tops[home[i] + 1]), options={"xatol": 1e-6})
        assert land.floor(home)[i] <= found.fun + 1e-4


def test_gradient_descent_below_one_over_l_never_leaves_its_basin_and_above_two_it_does(land):
    left, gain = escapes(land, descend(land, sgd, steps=400, lr=[0.1, 0.95, 10.0]))
    assert left[:2].sum() == 0 and (gain[:2] == 0).all() and left[2].mean() > 0.3


def test_the_run_is_the_rule_with_shared_noise(land):
    final = descend(land, momentum, steps=3, lr=[0.2, 0.2], mu=0.5, noise=0.3, seed=4)
    rng, x, v = np.random.default_rng(4), land.starts.copy(), 0.0
    for _ in range(3):
        v = 0.5 * v + land.gradient(x) + 0.3 * rng.standard_normal(land.n)
        x = x - 0.2 * v
    np.testing.assert_allclose(final, [x, x], rtol=1e-12)


def test_the_same_seed_makes_the_same_landscapes():
    one, two, other = (RandomLandscapes(3, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.maxima, two.maxima)
    assert not np.array_equal(one.starts, other.starts)


def test_wrong_arguments_are_refused(land):
    with pytest.raises(ValueError, match="bowl must be > 0"):
        RandomLandscapes(3, 0, bowl=0.0)
    with pytest.raises(ValueError, match="noise must be >= 0"):
        descend(land, sgd, steps=1, lr=[0.1], noise=-1.0)
    with pytest.raises(ValueError, match="mu must be in"):
        descend(land, momentum, steps=1, lr=[0.1], mu=2.0)
