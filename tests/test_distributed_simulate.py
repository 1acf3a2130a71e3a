"""The simulator: laws and their order statistics, traces that obey the algorithms, replays that are the algorithms."""

import numpy as np
import pytest
import torch
from dlopt.data import digits
from dlopt.distributed import Store
from dlopt.distributed.compare import Method, tuned_times
from dlopt.distributed.ranks import Sleep
from dlopt.distributed.replay import replay_asynchronous, replay_local, replay_synchronous, time_to
from dlopt.distributed.simulate import Link, asynchronous, local, synchronous
from dlopt.distributed.staleness import asynchronous_path, implied_momentum, largest_stable_rate, measured_stable_rate
from dlopt.distributed.store import staleness_aware
from dlopt.distributed.stragglers import Law, fit_exponential
from dlopt.finite_sums import SoftmaxRegression
from dlopt.scale import generator

LAW = Law("exponential", base=0.5, delay=0.5)


@pytest.fixture(scope="module")
def problem():
    data = digits()
    return SoftmaxRegression(data.x_train[:200], data.y_train[:200], 1e-2)


@pytest.mark.parametrize("law", [LAW, Law("occasional", 1.0, 10.0, 0.1), Law("pareto", 1.0, 1.0), Law("constant"),
                                 Law("pareto", 1.0, 1.0, most=8.0)])
@pytest.mark.parametrize("M, N", [(1, 1), (8, 8), (8, 7), (20, 15)])
def test_the_expected_round_is_the_mean_order_statistic(law, M, N):
    times = np.sort(law.sample(np.random.default_rng(0), (40_000, M)), 1)[:, N - 1]
    error = 5 * times.std() / 200 + 1e-9
    assert law.expected_round(M, N) == pytest.approx(times.mean(), abs=error)
    assert law.expected_round(1) == pytest.approx(law.mean)


def test_only_a_heavy_tail_is_cut_off():
    law = Law("pareto", 1.0, 1.0, most=8.0)
    assert law.sample(np.random.default_rng(0), 10_000).max() == 8.0
    with pytest.raises(ValueError, match="most must be > base = 1 and belongs to kind 'pareto', got 5"):
        Law("exponential", 1.0, 1.0, most=5.0)


def test_the_fit_finds_the_law_that_made_the_times():
    found = fit_exponential(LAW.sample(np.random.default_rng(1), 100_000))
    assert (found.base, found.delay) == (pytest.approx(0.5, abs=1e-3), pytest.approx(0.5, abs=0.01))


def test_a_synchronous_trace_without_noise_is_a_metronome():
    trace = synchronous(Law("constant", base=2.0), 3, until=9, seed=0, link=Link(0.5))
    assert trace.times.tolist() == [3.0, 6.0, 9.0] and (trace.staleness == 0).all()
    assert trace.workers.tolist() == [[0, 1, 2]] * 3


def test_the_mean_round_of_a_trace_is_the_expected_order_statistic():
    times = synchronous(LAW, 16, until=4000, seed=0).times
    assert np.diff(times).mean() == pytest.approx(LAW.expected_round(16), rel=0.02)


def test_backups_shorten_rounds_and_late_workers_finish_their_gradient_first():
    law = Law("occasional", base=1.0, delay=10.0, chance=0.1)
    trace = synchronous(law, 8, until=400, seed=1, backups=2)
    assert np.diff(trace.times).mean() < 0.6 * law.expected_round(8)
    late = [(m, end) for m, _, end, fate in trace.spans if fate == "late"]
    starts = {}
    for m, start, _, _ in trace.spans:
        starts.setdefault(m, []).append(start)
    assert late and all(min(s for s in starts[m] if s > end - 10.5) >= end - 11 for m, end in late[:-8])
    for m in range(8):  # no worker computes two gradients at a time
        own = sorted((s, e) for w, s, e, _ in trace.spans if w == m)
        assert all(a[1] <= b[0] + 1e-9 for a, b in zip(own, own[1:]))


@pytest.mark.parametrize("M", [1, 4, 32])
def test_the_mean_staleness_of_equal_workers_is_m_minus_one(M):
    trace = asynchronous(LAW, M, until=60, seed=0)
    assert trace.staleness[10 * M:].mean() == pytest.approx(M - 1, rel=0.05, abs=1e-9)
    assert len(trace.times) == pytest.approx(60 * M / LAW.mean, rel=0.15)


@pytest.mark.parametrize("bound", [0, 2])
def test_a_bounded_trace_keeps_its_bound(bound):
    M, law = 6, Law("occasional", 1.0, 30.0, 0.05)
    bounded = asynchronous(law, M, until=300, seed=0, bound=bound).staleness.max()
    assert bounded <= (M - 1) * (2 * bound + 1) < asynchronous(law, M, until=300, seed=0).staleness.max()


def test_a_server_that_serves_one_at_a_time_limits_the_throughput():
    trace = asynchronous(Law("constant"), 64, until=50, seed=0, link=Link(service=0.1))
    assert np.diff(trace.times)[64:] == pytest.approx(0.1)
    rounds = synchronous(Law("constant"), 64, until=50, seed=0, link=Link(service=0.1)).times
    assert np.diff(rounds) == pytest.approx(1 + 6.4)


def test_traces_repeat_and_1024_workers_are_no_trouble():
    a, b = (asynchronous(LAW, 1024, until=5, seed=3) for _ in range(2))
    assert np.array_equal(a.times, b.times) and np.array_equal(a.versions, b.versions) and len(a.times) > 3000


def test_a_time_without_any_update_is_refused():
    with pytest.raises(ValueError, match="until must leave time for one update, got 0.1"):
        synchronous(LAW, 4, until=0.1, seed=0)
    with pytest.raises(ValueError, match="backups must be < workers = 4, got 4"):
        synchronous(LAW, 4, until=9, seed=0, backups=4)


def test_updates_computed_together_are_those_computed_one_by_one(problem):
    trace = asynchronous(LAW, 7, until=15, seed=2)
    settings = {"batch_size": 4, "seed": 5, "times": [5, 15], "rate": staleness_aware, "compensation": 0.5,
                "momentum": 0.3}
    one, many = (replay_asynchronous(problem, trace, [0.01, 0.1], together=t, **settings) for t in (False, True))
    np.testing.assert_allclose(many, one, rtol=1e-10)


def test_an_asynchronous_replay_is_what_the_parameter_server_does(problem):
    trace, lr = asynchronous(LAW, 5, until=8, seed=4), 0.05
    store = Store(torch.zeros(650, dtype=torch.float64), lr=lr, workers=5, mode="async", rate=staleness_aware,
                  compensation=1.0)
    sent = {m: (store.pull(m)[0].clone(), 0) for m in range(5)}
    source = generator(9)
    for m in trace.workers[:, 0].tolist():
        index = torch.randint(problem.n, (3,), generator=source)
        theta, version = sent[m]
        store.push(m, problem.gradient(theta.view(1, *problem.shape), index[None]).flatten(), version)
        sent[m] = (store.pull(m)[0].clone(), store.version)
    np.testing.assert_array_equal(store.staleness, trace.staleness[:, 0])
    value = replay_asynchronous(problem, trace, [lr], batch_size=3, seed=9, times=[8], rate=staleness_aware,
                                compensation=1.0)
    assert value[0, 0] == pytest.approx(problem.value(store.theta.view(problem.shape)).item(), rel=1e-10)


def test_with_one_worker_all_methods_are_sgd(problem):
    law, settings = Law("constant"), {"batch_size": 2, "seed": 1, "times": [10.0]}
    sync = replay_synchronous(problem, synchronous(law, 1, until=20, seed=0), [0.1], **settings)
    late = replay_asynchronous(problem, asynchronous(law, 1, until=20, seed=0), [0.1], **settings)
    alone = replay_local(problem, local(law, 1, until=20, seed=0, local_steps=1), [0.1], local_steps=1, **settings)
    assert sync[0, 0] == pytest.approx(late[0, 0], rel=1e-12) == pytest.approx(alone[0, 0], rel=1e-12)


def test_local_sgd_with_one_step_is_synchronous_sgd(problem):
    trace = local(Law("constant"), 4, until=10, seed=0, local_steps=1)
    settings = {"batch_size": 2, "seed": 1, "times": [10.0]}
    a = replay_local(problem, trace, [0.1], local_steps=1, **settings)
    b = replay_synchronous(problem, synchronous(Law("constant"), 4, until=10, seed=0), [0.1], **settings)
    assert a[0, 0] == pytest.approx(b[0, 0], rel=1e-10)


def test_the_first_time_below_a_level_is_found_and_never_is_inf():
    values = [[3.0, 1.0, 2.0], [3.0, np.nan, np.inf]]
    assert time_to(values, [1, 2, 3], 1.5).tolist() == [2, np.inf]


def test_a_replay_ends_soon_after_the_level_was_reached_and_says_the_same_until_then(problem):
    trace, times = synchronous(LAW, 4, until=100, seed=0), np.linspace(1, 100, 100)
    settings = {"batch_size": 4, "seed": 0, "times": times}
    full = replay_synchronous(problem, trace, [0.001, 0.3], **settings)
    short = replay_synchronous(problem, trace, [0.001, 0.3], level=1.0, **settings)
    seen = np.isfinite(short[0])
    assert seen.sum() < 60 and np.array_equal(short[:, seen], full[:, seen])
    assert time_to(short, times, 1.0)[1] == time_to(full, times, 1.0)[1]


def test_tuning_extends_a_grid_whose_best_rate_is_on_its_edge_and_reports_fresh_seeds(problem):
    methods = {"sync": Method("sync"), "async": Method("async"), "local": Method("local", {"local_steps": 2})}
    found = tuned_times(problem, LAW, 4, methods, lr=[0.02, 0.05], level=1.0, batch_size=4, tuning_seeds=[0],
                        seeds=[1, 2], times=np.linspace(1, 60, 60))
    for tuned in found.values():
        assert not tuned.on_edge and len(tuned.grid) > 2 and np.isfinite(tuned.times).all() and len(tuned.times) == 2
    with pytest.raises(ValueError, match=r"must be disjoint, both hold \[1\]"):
        tuned_times(problem, LAW, 4, methods, lr=[0.1], level=1.0, batch_size=1, tuning_seeds=[1], seeds=[1],
                    times=[1.0])


@pytest.mark.parametrize("tau", [0, 1, 3, 8])
def test_the_largest_stable_rate_is_where_the_roots_reach_the_unit_circle(tau):
    rate = largest_stable_rate(tau)
    for factor, inside in ((0.999, True), (1.001, False)):
        coefficients = np.zeros(tau + 2)
        coefficients[[0, 1]] = 1, -1
        coefficients[-1] += factor * rate
        assert (np.abs(np.roots(coefficients)).max() < 1) == inside
    assert measured_stable_rate(tau) == pytest.approx(rate, abs=3e-3)


@pytest.mark.parametrize("M", [1, 2, 8])
def test_the_mean_path_of_memoryless_workers_is_the_heavy_ball(M):
    law, rate, n = Law("exponential", base=1e-9, delay=1.0), 0.3 / M, 500
    paths = np.stack([asynchronous_path(asynchronous(law, M, until=60, seed=s), rate, 40 if M > 1 else 20)
                      for s in range(n if M > 1 else 5)])
    want = implied_momentum(M, rate, paths.shape[1] - 1)
    error = np.abs(paths.mean(0) - want)
    assert (error <= 5 * paths.std(0) / len(paths) ** 0.5 + 1e-12).all()
    if M > 1:  # the same rate without staleness is somewhere else
        assert np.abs((1 - rate) ** np.arange(41) - want).max() > 0.02


def test_a_trace_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="the trace has .* updates, 1000 are needed; raise its until"):
        asynchronous_path(asynchronous(LAW, 2, until=3, seed=0), 0.1, 1000)


def test_sleeping_times_are_the_law_s_and_the_same_for_the_same_draw():
    sleep = Sleep(Law("occasional", 0.01, 0.5, 0.5), seed=3)
    times = [sleep(worker, t) for worker in range(20) for t in range(20)]
    assert set(times) == {0.01, 0.51} and times == [sleep(worker, t) for worker in range(20) for t in range(20)]
    assert times != [Sleep(sleep.law, 4)(worker, t) for worker in range(20) for t in range(20)]
