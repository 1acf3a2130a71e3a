"""Launching: results come back, failures name rank and reason in bounded time, and nothing outlives the call."""

import os
import socket
import subprocess
import sys
import time

import distributed_ranks as ranks
import pytest
import torch
from dlopt.distributed import launch, watch
from dlopt.distributed import ranks as book

pytestmark = pytest.mark.slow


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_rank_returns_its_result_and_none_outlives_the_call():
    found = launch(ranks.pid_and_sum, 3, timeout=60)
    assert [total for _, total in found] == [6.0] * 3
    assert not any(alive(pid) for pid, _ in found) and len({pid for pid, _ in found}) == 3


def test_eight_ranks_run():
    assert [total for _, total in launch(ranks.pid_and_sum, 8, timeout=60)] == [36.0] * 8


def test_an_error_comes_back_with_rank_reason_and_traceback_although_others_wait_for_that_rank():
    with pytest.raises(RuntimeError, match=r"(?s)rank 1: ValueError: no such luck.*in fail\n"):
        launch(ranks.fail, 3, 1, "no such luck", timeout=60)


def test_a_killed_rank_is_named_although_others_wait_for_it():
    with pytest.raises(RuntimeError, match=r"^rank 2 was killed by SIGKILL$"):
        launch(ranks.kill_self, 3, 2, wait_for_others=True, timeout=60)


def test_a_rank_that_exits_is_named():
    with pytest.raises(RuntimeError, match=r"^rank 0 ended with exit status 3$"):
        launch(ranks.exit_with, 2, 0, 3, timeout=60)


def test_a_rank_that_may_die_does_not_end_the_others():
    assert launch(ranks.kill_self, 3, 1, "alive", may_die=[1], timeout=60) == ["alive", None, "alive"]


def test_watch_tells_how_every_rank_ended():
    outcomes = watch(ranks.kill_self, 2, 1, "alive", timeout=60)
    assert outcomes[0].value == "alive" and outcomes[0].error is None
    assert outcomes[1].error == "rank 1 was killed by SIGKILL"


def test_a_rank_that_hangs_is_named_in_bounded_time():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^rank 1 was still at work after 2 s$"):
        launch(ranks.hang, 2, 1, timeout=2)
    assert time.monotonic() - start < 20


def test_a_collective_that_a_rank_never_enters_ends_after_the_patience():
    with pytest.raises(RuntimeError, match=r"rank [02]: RuntimeError"):
        launch(ranks.collective_without, 3, 1, timeout=60, patience=1)


def test_a_function_of_a_notebook_is_refused():
    with pytest.raises(TypeError, match="fn must be a function of a module that another process can import"):
        launch(lambda: 0, 2)


def test_progress_is_shown_and_does_not_disturb_the_results(capsys):
    assert launch(ranks.count, 2, 3, timeout=60, progress=True) == [3, 3]


def test_ranks_end_when_their_launcher_is_killed(tmp_path):
    code = f"import distributed_ranks as r; r.launch_and_hang({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        process.kill()
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(alive, pids))


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"rank 0: port {port} is in use by another program; choose another"):
            launch(ranks.meet_at, 1, port, 0, 1, 2.0, timeout=60)


def test_too_few_ranks_are_reported_within_the_patience():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(RuntimeError, match="rank 0: only part of 2 ranks came together within 1 s"):
        launch(ranks.meet_at, 1, port, 0, 2, 1.0, timeout=60)


def test_without_torchrun_s_environment_the_message_says_what_to_do():
    with pytest.raises(RuntimeError, match="RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT must be set; start this"):
        launch(ranks.without_environment, 1, timeout=60)


@pytest.mark.parametrize("k, n", [(2, 7), (3, 60), (4, 4), (5, 101), (8, 64)])
@pytest.mark.parametrize("kind", list(book.ALL_REDUCE))
def test_every_all_reduce_is_torch_s(kind, k, n):
    assert max(error for error, _ in launch(book.all_reduce, k, kind, n, timeout=60)) < 1e-14


@pytest.mark.parametrize("kind", list(book.ALL_REDUCE))
def test_synchronous_sgd_is_sgd_with_the_batch_of_all_workers(kind):
    one = book.single_process(4, 8, 30, 0.1)
    for theta in launch(book.synchronous_sgd, 4, 8, 30, 0.1, kind=kind, timeout=60):
        torch.testing.assert_close(theta, one, rtol=0, atol=1e-12)


def test_the_printed_factor_one_over_n_is_not_sgd():
    one = book.single_process(2, 8, 10, 0.1)
    wrong = launch(book.synchronous_sgd, 2, 8, 10, 0.1, divisor=1257, timeout=60)[0]
    assert (wrong - one).abs().max() > 1e-3
