"""The parameter server: what it decides, that it is the algorithm, and what it does when ranks fail."""

import random
import time

import distributed_ranks as ranks
import pytest
import torch
from dlopt import rules
from dlopt.distributed import Store, compensated, launch, staleness_aware, watch
from dlopt.distributed import ranks as book
from dlopt.distributed.flat import Flat, shard
from torch import nn


def gradient(*values):
    return torch.tensor(values, dtype=torch.float64)


def store(**options):
    return Store(torch.zeros(2, dtype=torch.float64), **{"lr": 1.0, "workers": 3, **options})


# --- the policy, without processes

def test_a_synchronous_round_takes_the_mean_of_all_and_moves_once():
    s = store()
    assert s.push(0, gradient(3.0, 0.0), 0) and s.push(2, gradient(0.0, 3.0), 0)
    assert s.version == 0 and not s.is_ready(0) and s.is_ready(1) and s.theta.tolist() == [0, 0]
    s.push(1, gradient(3.0, 0.0), 0)
    assert s.version == 1 and all(map(s.is_ready, range(3))) and s.theta.tolist() == [-2, -1]


def test_with_backups_the_last_gradients_of_a_round_are_dropped_and_the_mean_is_of_those_that_came():
    s = store(backups=1)
    s.push(0, gradient(1.0, 0.0), 0)
    s.push(1, gradient(3.0, 0.0), 0)
    assert s.version == 1 and s.theta.tolist() == [-2, 0]
    assert not s.push(2, gradient(99.0, 99.0), 0) and s.theta.tolist() == [-2, 0] and dict(s.late) == {2: 1}
    assert s.push(2, gradient(1.0, 0.0), 1)  # it has fetched and takes part again


def test_a_round_goes_on_without_a_worker_that_left_but_counts_what_it_had_sent():
    s = store()
    s.push(0, gradient(3.0, 0.0), 0)
    s.leave(0)
    s.push(1, gradient(3.0, 0.0), 0)
    assert s.version == 0  # worker 2 is alive and still owes its gradient
    s.push(2, gradient(3.0, 0.0), 0)
    assert s.version == 1 and s.theta.tolist() == [-3, 0]
    s.push(1, gradient(1.0, 0.0), 1)
    s.leave(2)
    assert s.version == 2 and s.theta.tolist() == [-4, 0]


def test_a_lost_worker_uses_up_a_backup():
    s = store(backups=1)
    s.leave(2)
    s.push(0, gradient(1.0, 0.0), 0)
    assert s.version == 0
    s.push(1, gradient(1.0, 0.0), 0)
    assert s.version == 1


def test_a_gradient_that_is_not_finite_ends_a_round_without_counting():
    s = store()
    s.push(0, None, 0), s.push(1, gradient(2.0, 0.0), 0), s.push(2, gradient(4.0, 0.0), 0)
    assert s.version == 1 and s.theta.tolist() == [-3, 0] and dict(s.bad) == {0: 1} and dict(s.used) == {1: 1, 2: 1}


def test_asynchronous_updates_count_their_staleness_and_the_rate_can_depend_on_it():
    s = store(mode="async", rate=staleness_aware)
    s.push(0, gradient(1.0, 0.0), 0), s.push(1, gradient(1.0, 0.0), 0), s.push(2, gradient(1.0, 0.0), 0)
    assert s.staleness == [0, 1, 2] and s.theta.tolist() == [-2.5, 0]


def test_delay_compensation_is_the_gradient_where_the_hessian_is_the_squared_gradient():
    x, theta, sent = gradient(1.0, 2.0), gradient(1.1, 1.9), gradient(1.0, 2.0)
    g = gradient(0.5, -1.0)
    assert torch.equal(compensated(g, theta, sent, 0.0), g)
    torch.testing.assert_close(compensated(g, theta, sent, 2.0), g + 2 * g**2 * (theta - sent))
    s = Store(x.clone(), lr=1.0, workers=2, mode="async", compensation=2.0)
    s.pull(0), s.pull(1)
    s.push(1, g, 0)
    torch.testing.assert_close(s.theta, x - g)
    s.push(0, g, 0)
    torch.testing.assert_close(s.theta, x - g - compensated(g, x - g, x, 2.0))


@pytest.mark.parametrize("bound", [0, 1, 3, None])
@pytest.mark.parametrize("seed", range(3))
def test_bounded_staleness_never_exceeds_its_bound_however_workers_are_scheduled(bound, seed):
    M, draw = 4, random.Random(seed)
    s = store(mode="async", bound=bound, workers=M, lr=0.0)
    version = dict.fromkeys(range(M))
    for _ in range(2000):
        worker = draw.choice([0] * 30 + [1, 2, 3])
        if version[worker] is not None:
            s.push(worker, gradient(0.0, 0.0), version[worker])
            version[worker] = None
        elif s.is_ready(worker):
            version[worker] = s.pull(worker)[1]
    assert bound is not None and max(s.staleness) <= (M - 1) * (2 * bound + 1) or max(s.staleness) > 21


@pytest.mark.parametrize("rule", ["momentum", "adagrad", "adam", "lion"])
def test_any_elementwise_rule_runs_on_the_server_as_it_stands(rule):
    s, theta = store(rule=rule, lr=0.1), torch.zeros(2, dtype=torch.float64)
    state = rules.initial_state(rules.RULES[rule], theta)
    for t in range(1, 6):
        g = [gradient(t, -1.0), gradient(1.0, t), gradient(0.5, 0.5)]
        for worker in (2, 0, 1):
            s.push(worker, g[worker], t - 1)
        step, *new = rules.RULES[rule](sum(g) / 3, *state.values(), t=t, lr=0.1)
        theta, state = theta + step, dict(zip(state, new))
    torch.testing.assert_close(s.theta, theta, rtol=1e-12, atol=0)


def test_a_stored_server_goes_on_as_if_it_had_not_stopped():
    a, b = (store(rule="adam", mode="async") for _ in range(2))
    a.push(0, gradient(1.0, -2.0), 0)
    b.load_state_dict(a.state_dict())
    for s in (a, b):
        s.push(1, gradient(0.5, 0.1), 1)
    assert torch.equal(a.theta, b.theta) and a.version == b.version == 2


@pytest.mark.parametrize("options, message", [
    ({"backups": 3}, "backups must be < workers = 3, got 3"), ({"mode": "half"}, "mode must be one of sync, async"),
    ({"mode": "async", "backups": 1}, "backups belong to mode 'sync'"), ({"bound": 1}, "compensation to 'async'"),
    ({"rule": "muon"}, "a server holds a vector; muon needs each parameter's shape"),
])
def test_arguments_that_do_not_belong_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        store(**options)


def test_a_flat_model_computes_on_the_vectors_and_tells_models_apart():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).double()
    flat = Flat(model)
    flat.theta.fill_(1.0)
    model(torch.ones(1, 3, dtype=torch.float64)).sum().backward()
    assert len(flat.theta) == 11 and flat.gradient.tolist() == [1.0] * 8 + [4.0, 4.0, 1.0]
    flat.zero_grad()
    assert model[0].weight.grad.abs().sum() == 0
    other = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    assert flat.fingerprint != Flat(other).fingerprint == Flat(nn.Sequential(*other)).fingerprint


@pytest.mark.parametrize("n, parts", [(10, 3), (7, 7), (9, 1)])
def test_shards_are_disjoint_complete_and_equally_long(n, parts):
    pieces = [list(range(n)[shard(n, parts, i)]) for i in range(parts)]
    assert sum(pieces, []) == list(range(n)) and max(map(len, pieces)) - min(map(len, pieces)) <= 1
    with pytest.raises(ValueError, match="a vector of 2 elements has at most 2 parts, got 3"):
        shard(2, 3, 0)


# --- with processes

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers, servers", [(2, 1), (4, 1), (3, 2), (6, 2)])
def test_a_synchronous_server_is_one_process_with_the_batch_of_all_workers(workers, servers):
    log = launch(book.serve_or_work, workers + servers, 25, 8, servers=servers, same=True, server={"lr": 0.1},
                 timeout=60)[:servers]
    theta = torch.cat([part.theta for part in log])
    torch.testing.assert_close(theta, book.single_process(workers, 8, 25, 0.1), rtol=0, atol=1e-12)
    assert all(set(part.used.values()) == {25} and not part.lost for part in log)


def test_a_synchronous_run_is_bitwise_the_same_every_time():
    a, b = (launch(book.serve_or_work, 4, 20, 8, same=True, server={"lr": 0.1}, timeout=60)[0] for _ in range(2))
    assert torch.equal(a.theta, b.theta)


def test_every_gradient_of_an_asynchronous_run_is_one_update_and_their_mean_staleness_is_near_m_minus_one():
    log, *steps = launch(book.serve_or_work, 5, 300, 8, server={"lr": 0.05, "mode": "async"}, timeout=60)
    assert log.updates == 300 == len(log.staleness) == sum(log.used.values())
    assert sum(steps) - 300 in range(5)  # the gradients on their way when the last update was made
    assert 2 < sum(log.staleness) / 300 < 3.5


def test_two_servers_with_adagrad_take_pushes_and_fetches_at_different_paces():
    logs = launch(book.serve_or_work, 5, 60, 8, servers=2, worker={"n_push": 2, "n_fetch": 3, "local_lr": 0.02},
                  server={"rule": "adagrad", "lr": 0.05, "mode": "async"}, timeout=60)
    start, x, y = book.problem()
    theta = torch.cat([log.theta for log in logs[:2]])
    assert [log.updates for log in logs[:2]] == [60, 60] and sum(logs[2:]) >= 120
    flat = Flat(start)
    before = nn.functional.cross_entropy(start(x), y)
    flat.theta.copy_(theta)
    assert nn.functional.cross_entropy(start(x), y) < 0.6 * before


def test_backup_workers_are_late_and_their_gradients_dropped():
    log, *steps = launch(book.serve_or_work, 5, 40, 8, server={"lr": 0.1, "backups": 2}, timeout=60)
    assert sum(log.used.values()) == 2 * 40 and sum(log.late.values()) == pytest.approx(sum(steps) - 80, abs=4)


# --- faults: training goes on or stops, names rank and reason, in bounded time

@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_killed_worker_is_noticed_and_the_others_go_on(mode):
    log, *steps = launch(ranks.server_and_fault, 4, "kill", 600, 2, 5, mode=mode, may_die=[2], timeout=60)
    assert log.updates == 600 and log.lost[2].startswith("rank 2 was lost")
    assert log.used[2] == 5  # no gradient that it had sent is lost
    assert steps[1] is None and (mode == "async" or log.used[1] == log.used[3] == 600)


def test_a_worker_that_hangs_is_left_behind_and_may_come_back():
    log, *_ = launch(ranks.server_and_fault, 4, "pause", 60, 2, 5, 2.5, silence=1.0, timeout=60)
    assert log.updates == 60 and log.lost == {2: "rank 2 sent nothing for 1 s"} and log.used[1] == 60


def test_a_worker_that_hangs_for_ever_does_not_keep_the_server():
    start = time.monotonic()
    outcomes = watch(ranks.server_and_fault, 3, "pause", 20, 2, 3, 1000.0, silence=1.0, timeout=8)
    log = outcomes[0].value
    assert log.updates == 20 and "sent nothing" in log.lost[2] and outcomes[1].value == 20
    assert outcomes[2].error == "rank 2 was still at work after 8 s" and time.monotonic() - start < 20


def test_a_slow_worker_slows_a_synchronous_server_and_is_dropped_by_one_with_a_backup():
    slow = launch(ranks.server_and_fault, 3, "slow", 10, 2, 0, 0.05, timeout=60)[0]
    fast = launch(ranks.server_and_fault, 3, "slow", 10, 2, 0, 0.05, backups=1, timeout=60)[0]
    assert slow.used == {1: 10, 2: 10} and slow.seconds > 0.45 and not slow.lost
    assert fast.used.get(2, 0) < 10 == sum(fast.used.values())


def test_a_slow_network_to_one_worker_loses_nothing_and_a_backup_does_without_it():
    log = launch(ranks.server_and_fault, 4, "network", 12, 2, 3, seconds=0.05, timeout=60)[0]
    assert log.updates == 12 and log.used == {1: 12, 2: 12, 3: 12} and not log.lost
    backed = launch(ranks.server_and_fault, 4, "network", 40, 2, 3, seconds=0.2, backups=1, timeout=60)[0]
    assert backed.updates == 40 and sum(backed.used.values()) == 80 and backed.used[2] < 20 and not backed.lost


def test_a_worker_that_joins_late_takes_part():
    log, *steps = launch(ranks.server_and_fault, 4, "late", 1000, 3, 0, 2.0, silence=1.0, timeout=60)
    assert log.updates == 1000 and log.lost == {3: "rank 3 sent nothing for 1 s"}
    assert 0 < log.used[3] <= steps[2] < 1000 == log.used[1]


def test_gradients_that_are_not_finite_are_dropped_and_counted_by_rank():
    log, *_ = launch(ranks.server_and_fault, 3, "nan", 20, 2, 10, timeout=60)
    assert log.bad == {2: 10} and log.used == {1: 20, 2: 10} and torch.isfinite(log.theta).all()


def test_a_model_that_is_not_the_server_s_is_refused_by_name():
    with pytest.raises(RuntimeError, match="rank 2: ValueError: rank 2: this worker's model has 1285 parameters and "
                                           "server 0's another 1210"):
        launch(ranks.mismatched, 3, 2, timeout=30)


def test_a_killed_server_ends_the_run_with_its_name():
    with pytest.raises(RuntimeError, match="rank 0 was killed by SIGKILL"):
        launch(ranks.killed_server, 3, timeout=60)
    outcomes = watch(ranks.killed_server, 3, may_die=[0], timeout=60)
    assert all("server 0 was lost or does not answer" in o.error for o in outcomes[1:])


def test_a_server_that_never_answers_is_named_after_the_patience():
    with pytest.raises(RuntimeError, match="rank [12]: server 0 was lost or does not answer"):
        launch(ranks.stopped_server, 3, timeout=60, patience=1)


def test_a_server_without_workers_stops():
    with pytest.raises(RuntimeError, match="rank 0: RuntimeError: all workers were lost after 0 updates: rank 1 was"):
        launch(ranks.all_workers_die, 3, may_die=[1, 2], timeout=60)


def test_workers_may_end_before_the_servers_do():
    log, *steps = launch(ranks.done_early, 3, 100, 7, timeout=60)
    assert log.updates == 7 and steps == [7, 7] and not log.lost
