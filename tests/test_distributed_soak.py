"""A soak: many updates with random kills end at the right loss and at the same bits.

The short version runs with the other tests. The long one: ``DLOPT_SOAK=2000 pytest tests/test_distributed_soak.py``.
"""

import os
import random

import distributed_ranks as ranks
import pytest
import torch
from dlopt.distributed import launch, watch
from dlopt.distributed import ranks as book
from dlopt.distributed.train import train

pytestmark = pytest.mark.slow
UPDATES = int(os.environ.get("DLOPT_SOAK", "120"))


def test_a_server_whose_workers_are_killed_at_random_ends_at_the_loss_of_an_undisturbed_one():
    draw = random.Random(UPDATES)
    kills = {rank: draw.randint(5, UPDATES // 8) for rank in (1, 3, 4)}  # worker 2 survives
    outcomes = watch(ranks.soak, 5, UPDATES, kills, 0, may_die=list(kills), timeout=60 + UPDATES)
    log = outcomes[0].value
    calm = launch(ranks.soak, 5, UPDATES, {}, 0, timeout=60 + UPDATES)[0]
    assert log.updates == calm.updates == UPDATES == sum(log.used.values())
    assert {rank: log.used[rank] for rank in kills} == kills and set(log.lost) == set(kills)
    assert abs(book.loss_at(log.theta) - book.loss_at(calm.theta)) < 0.1 * book.loss_at(book.problem_start())


def test_a_synchronous_run_killed_again_and_again_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    draw, done, crashes = random.Random(UPDATES + 1), 0, 0
    while done < UPDATES:
        kill = done + draw.randint(1, max(2, UPDATES // 3))
        outcomes = watch(train, 2, steps=UPDATES, checkpoints=tmp_path, every=10, kill=kill, timeout=60 + UPDATES)
        crashed = outcomes[1].error is not None
        assert not crashed or outcomes[1].error == "rank 1 was killed by SIGKILL"
        crashes, done = crashes + crashed, UPDATES if not crashed else kill - kill % 10
    theta, start = launch(train, 2, steps=UPDATES, checkpoints=tmp_path, every=10, timeout=60)[0]
    assert crashes >= 1 and start == UPDATES
    assert torch.equal(theta, launch(train, 2, steps=UPDATES, timeout=60 + UPDATES)[0][0])
