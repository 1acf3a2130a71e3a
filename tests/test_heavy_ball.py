"""The theory of momentum on a parabola agrees with the rules that run."""

import numpy as np
import pytest
import torch
from dlopt import heavy_ball, objectives, rules

METHODS = ("heavy ball", "nesterov")


def run(a, mu, method, steps, start=1.0):
    x, v, path = start, 0.0, [start]
    for t in range(steps):
        step, *state = heavy_ball.RULES[method](x, *([] if method == "gradient descent" else [v]), t=t + 1, lr=a,
                                                **({} if method == "gradient descent" else {"mu": mu}))
        x, v = x + step, state[0] if state else 0.0
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("a, mu", [(0.01, 0.9), (0.1, 0.5), (0.9, 0.2), (1.7, 0.3), (3.0, 0.8), (0.3, 0.0)])
def test_the_rule_s_path_obeys_the_recursion_of_the_roots(a, mu, method):
    path, (r, s) = run(a, mu, method, 40), heavy_ball.roots(1.0, lr=a, mu=mu, method=method)
    p, q = (r + s).real, (r * s).real
    np.testing.assert_allclose(path[2:], p * path[1:-1] - q * path[:-2], atol=1e-9 * np.abs(path).max())


def test_gradient_descent_has_the_root_one_minus_lr_lambda():
    assert heavy_ball.roots(3.0, lr=0.1, method="gradient descent")[0] == pytest.approx(0.7)


@pytest.mark.parametrize("a, mu, expected", [(0.05, 0.5, "creeps"), (0.5, 0.5, "oscillates"), (2.95, 0.5, "alternates"),
                                             (3.05, 0.5, "diverges"), (0.5, 0.0, "creeps"), (1.5, 0.0, "alternates")])
def test_the_regimes_change_where_the_chapter_says(a, mu, expected):
    assert heavy_ball.regime(1.0, lr=a, mu=mu) == expected


@pytest.mark.parametrize("mu", [0.1, 0.5, 0.9])
def test_the_heavy_ball_is_stable_below_two_plus_two_mu_and_critical_at_one_minus_root_mu_squared(mu):
    edge, critical = 2 + 2 * mu, (1 - mu**0.5) ** 2
    assert abs(heavy_ball.roots(1.0, lr=edge, mu=mu)[0]) == pytest.approx(1)
    assert heavy_ball.regime(1.0, lr=0.9999 * edge, mu=mu) == "alternates"
    assert heavy_ball.regime(1.0, lr=1.0001 * edge, mu=mu) == "diverges"
    assert heavy_ball.regime(1.0, lr=0.99 * critical, mu=mu) == "creeps"
    assert heavy_ball.regime(1.0, lr=1.01 * critical, mu=mu) == "oscillates"


@pytest.mark.parametrize("method", heavy_ball.METHODS)
@pytest.mark.parametrize("kappa", [4.0, 100.0, 1e4])
def test_the_tuned_factor_is_the_worst_root_and_no_neighbor_beats_it(kappa, method):
    lam = np.geomspace(1 / kappa, 1, 2001)
    lr, mu, factor = heavy_ball.tuned(1 / kappa, 1.0, method)
    worst = lambda lr, mu: np.abs(heavy_ball.roots(lam, lr=lr, mu=mu, method=method)).max()  # noqa: E731
    assert worst(lr, mu) == pytest.approx(factor, abs=2e-6)
    if method == "nesterov":  # its customary setting is not the best for quadratics
        return
    for other in (0.99, 1.01):
        assert worst(lr * other, mu) > factor
        assert method == "gradient descent" or worst(lr, mu * other) > factor


def test_steps_to_counts_the_steps_of_the_toy_engine():
    spectrum, start = [0.1, 0.4, 1.0], np.random.default_rng(0).standard_normal((3, 3))
    got = heavy_ball.steps_to(spectrum, start, method="heavy ball", lr=0.7, mu=0.5, tolerance=1e-3)
    path = objectives.trajectory(objectives.quadratic(spectrum), rules.momentum, torch.tensor(start), 200, lr=0.7,
                                 mu=0.5).positions.norm(dim=-1)
    expected = [int(np.flatnonzero(d <= 1e-3 * d[0])[0]) for d in path.T.numpy()]
    assert got.tolist() == expected


def test_a_run_that_does_not_arrive_is_not_a_number():
    assert np.isnan(heavy_ball.steps_to([1.0], [[1.0]], method="gradient descent", lr=0.01, limit=10)).all()


@pytest.mark.parametrize("call, message", [
    (lambda: heavy_ball.roots(1.0, lr=1.0, method="adam"), "method must be one of"),
    (lambda: heavy_ball.tuned(2.0, 1.0), "high must be at least low, got 1.0 < 2.0"),
    (lambda: heavy_ball.tuned(0.0, 1.0), "low must be > 0"),
    (lambda: heavy_ball.steps_to([1.0], [[1.0]], method="nesterov", lr=1.0, mu=1.0), r"mu must be in \[0, 1\)"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_exact_gradients_keep_both_convex_bounds_and_the_slopes_are_one_and_two():
    lam, start = np.geomspace(1e-9, 1, 200), np.random.default_rng(0).standard_normal((3, 200))
    k, square = np.arange(1, 2001)[:, None], (start**2).sum(1)
    plain, fast = (heavy_ball.convex_gaps(lam, start, steps=2000, accelerate=a) for a in (False, True))
    assert (plain <= square / (2 * k)).all() and (fast <= 2 * square / (k + 1) ** 2).all()
    slope = lambda gap: np.polyfit(np.log(k[99:, 0]), np.log(gap[99:].mean(1)), 1)[0]  # noqa: E731
    assert slope(plain) == pytest.approx(-1, abs=0.2) and slope(fast) == pytest.approx(-2, abs=0.3)


def test_gradient_descent_in_convex_gaps_is_the_closed_form_and_noise_is_added():
    lam, start = np.array([0.2, 1.0]), np.array([[1.0, 3.0]])
    got = heavy_ball.convex_gaps(lam, start, steps=5, accelerate=False)
    np.testing.assert_allclose(got[:, 0], [0.1 * 0.8 ** (2 * k) for k in range(1, 6)], rtol=1e-12)
    xi = np.random.default_rng(7).standard_normal((1, 2))
    one = heavy_ball.convex_gaps(lam, start, steps=1, accelerate=True, noise=0.5, seed=7)
    x = start - (lam * start + 0.5 * xi)
    assert one[0, 0] == pytest.approx((0.5 * lam * x**2).sum())
