"""Checkpoints of several ranks and the script for torchrun: whatever dies, training ends with the same bits."""

import os
import subprocess
import sys

import distributed_ranks as ranks
import pytest
import torch
from dlopt.distributed import launch, watch
from dlopt.distributed.launch import free_port
from dlopt.distributed.train import arguments, train

pytestmark = pytest.mark.slow


def test_every_rank_gets_its_own_part_of_the_newest_checkpoint_and_old_ones_go(tmp_path):
    found = launch(ranks.save_parts, 2, tmp_path, [1, 5, 12], timeout=60)
    assert [(step, part["rank"], part["x"][0].item()) for step, part in found] == [(12, 0, 12.0), (12, 1, 12.0)]
    assert len(list(tmp_path.glob("step-*"))) == 2 and not list(tmp_path.glob("*.part"))


def test_without_a_checkpoint_training_starts_at_zero(tmp_path):
    assert launch(ranks.load_part, 1, tmp_path, timeout=60) == [(0, None)]


def test_another_number_of_ranks_is_refused(tmp_path):
    launch(ranks.save_parts, 2, tmp_path, [1], timeout=60)
    with pytest.raises(RuntimeError, match="was written by 2 ranks, there are 3; start as many"):
        launch(ranks.load_part, 3, tmp_path, timeout=60)


def test_a_rank_that_dies_while_saving_leaves_the_last_complete_checkpoint(tmp_path):
    outcomes = watch(ranks.die_while_saving, 2, tmp_path, timeout=60, patience=5)
    assert outcomes[1].error == "rank 1 was killed by SIGKILL"
    assert [step for step, _ in launch(ranks.load_part, 2, tmp_path, timeout=60)] == [1, 1]


def test_a_damaged_part_is_refused_by_name(tmp_path):
    launch(ranks.save_parts, 1, tmp_path, [3], timeout=60)
    (part,) = tmp_path.glob("step-*")
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(RuntimeError, match="rank 0: ValueError: checkpoint .* is truncated or damaged"):
        launch(ranks.load_part, 1, tmp_path, timeout=60)


def test_a_killed_and_restarted_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    undisturbed = launch(train, 2, steps=60, timeout=60)[0][0]
    with pytest.raises(RuntimeError, match="rank 1 was killed by SIGKILL"):
        launch(ranks.train_and_die, 2, tmp_path, 47, timeout=60)
    theta, start = launch(train, 2, steps=60, checkpoints=tmp_path, timeout=60)[0]
    assert start == 40 and torch.equal(theta, undisturbed)


def test_torchrun_restarts_a_killed_rank_and_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "--max-restarts", "1", "-m", "dlopt.distributed.train", "--steps", "60", "--every", "20",
               "--checkpoints", str(tmp_path), "--kill", "47"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    theta = launch(train, 2, steps=60, timeout=60)[0][0]
    assert f"2 ranks, from step 40 to 60, |theta| = {theta.norm():.17g}" in done.stdout, done.stderr[-2000:]


def test_two_nodes_that_meet_over_the_network_end_with_the_bits_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
               "--rdzv-backend", "c10d", "--rdzv-id", "two", "--rdzv-endpoint", f"127.0.0.1:{free_port()}",
               "-m", "dlopt.distributed.train", "--steps", "20", "--checkpoints", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    settings = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    nodes = [subprocess.Popen(command, **settings) for _ in range(2)]
    said = "".join(node.communicate(timeout=120)[0] for node in nodes)
    theta = launch(train, 2, steps=20, timeout=60)[0][0]
    assert f"2 ranks, from step 0 to 20, |theta| = {theta.norm():.17g}" in said, said[-2000:]


def test_the_command_line_is_the_function_s_arguments():
    given = vars(arguments(["--steps", "7", "--rule", "lion"]))
    assert given["steps"] == 7 and given["rule"] == "lion"
    assert set(given) - {"patience"} == set(train.__code__.co_varnames[:train.__code__.co_argcount])
