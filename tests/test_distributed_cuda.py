"""The same programs where there is a GPU: NCCL for its tensors in one process, gloo for the server in several."""

import distributed_ranks as ranks
import pytest
import torch
from dlopt.distributed import launch
from dlopt.distributed import ranks as book
from dlopt.distributed.train import train

DEVICE = "cuda"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


def test_tensors_on_the_gpu_are_summed_by_nccl_and_others_by_gloo():
    for device, backend in ((DEVICE, "nccl"), ("cpu", "gloo")):
        found, backends = launch(ranks.sum_on, 1, device)[0]
        assert torch.equal(found, torch.ones(5)) and f"{device}:{backend}" in backends


def test_training_on_the_gpu_is_training_in_one_process():
    theta, _ = launch(train, 1, steps=30, rule="sgd", lr=0.1)[0]
    torch.testing.assert_close(theta, book.single_process(1, 16, 30, 0.1), rtol=0, atol=1e-9)


def test_a_run_that_is_killed_on_the_gpu_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    undisturbed = launch(train, 1, steps=30)[0][0]
    launch(train, 1, steps=20, checkpoints=tmp_path, every=10)
    theta, start = launch(train, 1, steps=30, checkpoints=tmp_path, every=10)[0]
    assert start == 20 and torch.equal(theta, undisturbed)


@pytest.mark.parametrize("servers", [1, 2])
def test_workers_on_the_gpu_with_servers_on_the_cpu_are_one_process(servers):
    log = launch(book.serve_or_work, servers + 2, 30, 8, servers=servers, same=True, server={"lr": 0.1}, device=DEVICE)
    theta = torch.cat([log[server].theta for server in range(servers)])
    torch.testing.assert_close(theta, book.single_process(2, 8, 30, 0.1), rtol=0, atol=1e-9)


def test_workers_on_the_gpu_push_sums_and_fetch_seldom():
    worker = {"n_push": 2, "n_fetch": 3}
    log = launch(book.serve_or_work, 3, 40, 8, worker=worker, server={"lr": 0.05, "mode": "async"}, device=DEVICE)[0]
    assert log.updates == 40 and book.loss_at(log.theta) < book.loss_at(book.problem_start())
