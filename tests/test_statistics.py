import numpy as np
import pytest
import torch
from dlopt.statistics import (
    Interval,
    bootstrap_interval,
    mean_interval,
    paired_difference,
    slope_interval,
    wilson_interval,
)
from scipy import stats

RNG = np.random.default_rng(3)
X = RNG.normal(2.0, 3.0, size=7)


def test_mean_interval_equals_scipy_t_interval():
    expected = stats.ttest_1samp(X, 0).confidence_interval(0.9)
    mean, low, high = mean_interval(X, level=0.9)
    assert mean == pytest.approx(X.mean(), rel=1e-14)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_mean_interval_of_two_values_has_the_textbook_factor():
    interval = mean_interval([0.0, 2.0])  # s = sqrt(2), s / sqrt(n) = 1, t_{1, .975} = tan(0.475 pi)
    assert interval.half_width == pytest.approx(np.tan(0.475 * np.pi), rel=1e-9)
    assert interval.n == 2


def test_mean_interval_of_curves_is_the_interval_of_each_column():
    curves = RNG.normal(size=(5, 4))
    band = mean_interval(torch.tensor(curves))
    for t in range(4):
        assert band.low[t] == pytest.approx(mean_interval(curves[:, t]).low, rel=1e-12)


def test_t_interval_covers_at_its_level_and_the_normal_factor_would_not():
    draws = np.random.default_rng(0).normal(size=(5, 20_000))
    covered = ~mean_interval(draws).excludes(0.0)
    assert covered.mean() == pytest.approx(0.95, abs=0.006)
    narrow = np.abs(draws.mean(0)) < 1.96 * draws.std(0, ddof=1) / np.sqrt(5)
    assert narrow.mean() < 0.90


@pytest.mark.parametrize("statistic", [np.mean, np.median, lambda x: float(np.max(x) - np.min(x))])
def test_plain_bootstrap_agrees_with_scipy_percentile(statistic):
    x = RNG.normal(size=30)
    ours = bootstrap_interval(x, statistic, n_boot=20_000, seed=1, expand=False)
    theirs = stats.bootstrap((x,), statistic, method="percentile", n_resamples=20_000, vectorized=False,
                             rng=np.random.default_rng(5)).confidence_interval
    assert ours.bounds == pytest.approx((theirs.low, theirs.high), abs=0.04)
    assert ours.mean == pytest.approx(statistic(x))


def test_expanded_bootstrap_covers_with_five_values_where_the_plain_one_does_not():
    samples = np.random.default_rng(2).normal(size=(600, 5))
    def coverage(expand):
        return np.mean([not bootstrap_interval(x, n_boot=3000, expand=expand).excludes(0.0) for x in samples])
    assert coverage(True) > 0.90 > 0.87 > coverage(False)


def test_bootstrap_repeats_with_its_seed_and_moves_with_another():
    assert bootstrap_interval(X, seed=1) == bootstrap_interval(X, seed=1)
    assert bootstrap_interval(X, seed=1) != bootstrap_interval(X, seed=2)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_pairing_finds_a_difference_that_the_common_noise_hides(method):
    common = np.random.default_rng(1).normal(0, 10, size=8)
    a, b = common + 1.0 + 0.1 * np.arange(8), common
    assert paired_difference(a, b, method=method).excludes(0.0)
    assert not stats.ttest_ind(a, b).confidence_interval().low > 0
    assert paired_difference(a, b, method=method).mean == pytest.approx(np.mean(a - b), rel=1e-12)


def test_paired_t_equals_scipy():
    a, b = RNG.normal(size=6), RNG.normal(size=6)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert paired_difference(a, b).bounds == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (22, 200_000), (1, 1)])
def test_wilson_equals_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(k, n).bounds == pytest.approx((expected.low, expected.high), rel=1e-10, abs=1e-15)


def test_slope_equals_scipy_linregress():
    x = RNG.normal(size=12)
    y = -2.0 * x + RNG.normal(size=12)
    fit = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 10) * fit.stderr
    assert tuple(slope_interval(x, y)) == pytest.approx((fit.slope, fit.slope - half, fit.slope + half), rel=1e-10)


def test_slope_of_exact_power_law_is_its_exponent_with_no_width():
    x = np.log(np.array([1.0, 2.0, 4.0, 8.0]))
    interval = slope_interval(x, -1.5 * x + 3)
    assert interval.mean == pytest.approx(-1.5, rel=1e-12)
    assert interval.half_width < 1e-12


def test_interval_excludes_what_lies_outside_only():
    interval = Interval(1.0, 0.5, 1.5, 5)
    assert interval.excludes() and interval.excludes(1.6) and not interval.excludes(0.5)
    assert str(interval) == "1 [0.5, 1.5] (n=5)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0]), "x must hold at least 2 values, got 1; run more seeds"),
        (lambda: mean_interval(3.0), "at least 2 values"),
        (lambda: mean_interval([1.0, np.nan]), "x must be finite, got 1 of 2"),
        (lambda: mean_interval([1.0, 2.0], level=1.0), r"level must be in \(0, 1\), got 1.0"),
        (lambda: mean_interval([1.0, 2.0], level=95), r"level must be in \(0, 1\)"),
        (lambda: bootstrap_interval([[1.0, 2.0], [3.0, 4.0]]), "one axis"),
        (lambda: bootstrap_interval(X, n_boot=0), "n_boot must be a whole number >= 1"),
        (lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "a and b must pair up"),
        (lambda: paired_difference(X, X, method="z"), "method must be one of t, bootstrap"),
        (lambda: wilson_interval(3, 2), "k must be at most n"),
        (lambda: wilson_interval(-1, 2), "k must be a whole number >= 0"),
        (lambda: wilson_interval(0, 0), "n must be a whole number >= 1"),
        (lambda: slope_interval([1.0, 2.0], [1.0, 2.0]), "at least 3"),
        (lambda: slope_interval([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), "two different values"),
        (lambda: slope_interval([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]), "equal length"),
    ],
)
def test_statistics_refuse_what_they_cannot_answer(call, message):
    with pytest.raises(ValueError, match=message):
        call()
