"""Every kind of parallelism trains the model that one process trains; what it saves and sends is what is claimed."""

import pytest
import torch
from dlopt.distributed import launch, thrift
from dlopt.distributed import parallel_ranks as book
from dlopt.distributed import ranks as simple
from dlopt.distributed.flat import Flat
from dlopt.distributed.pipeline import order, pipeline_step
from dlopt.distributed.sparse import TopK, shared_vector
from torch import nn
from torch.nn.functional import cross_entropy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("kind, lr", [("ddp", 0.1), ("fsdp", 0.1), ("zero1", 0.01)])
def test_replicas_and_sharded_states_are_one_process(kind, lr, k):
    assert max(launch(book.replicas, k, kind, lr=lr, timeout=90)) < 1e-12


def test_replicas_on_eight_ranks_are_one_process():
    assert max(launch(book.replicas, 8, "ddp", timeout=90)) < 1e-12


@pytest.mark.parametrize("k", [2, 4, 8])
def test_cut_layers_are_whole_layers(k):
    assert max(launch(book.cut_layers, k, timeout=60)) < 1e-12


@pytest.mark.parametrize("k, mesh", [(2, None), (4, None), (4, (2, 2)), (4, (1, 4)), (4, (4, 1))])
def test_the_hybrid_of_replicated_convolutions_and_cut_dense_layers_is_one_process(k, mesh):
    assert max(launch(book.hybrid, k, mesh=mesh, timeout=60)) < 1e-12


@pytest.mark.parametrize("k, microbatches", [(2, 6), (4, 6), (3, 1)])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_a_pipeline_is_one_process_and_stores_what_its_schedule_says(schedule, k, microbatches):
    found = launch(book.pipeline, k, schedule, microbatches, timeout=60)
    assert max(error for error, _ in found) < 1e-12
    stored = [min(microbatches, k - stage) if schedule == "1f1b" else microbatches for stage in range(k)]
    assert [most for _, most in found] == stored


def test_a_pipeline_s_order_visits_every_microbatch_once_each_way():
    for schedule in ("gpipe", "1f1b"):
        for stage in range(4):
            steps = order(schedule, stage, 4, 6)
            assert sorted(steps) == sorted([("F", i) for i in range(6)] + [("B", i) for i in range(6)])
            assert all(steps.index(("F", i)) < steps.index(("B", i)) for i in range(6))


def test_local_sgd_is_the_mean_of_separate_runs():
    thetas, (k, H) = launch(book.local_sgd, 3, 4, timeout=60), (3, 4)
    model, x, y = simple.problem()
    flat = Flat(model)
    mean = flat.theta.clone()
    for r in range(5):
        ends = []
        for rank in range(k):
            flat.theta.copy_(mean)
            for t in range(r * H, (r + 1) * H):
                index = simple.batch(t, k, 4, len(x))[rank]
                flat.zero_grad()
                cross_entropy(model(x[index]), y[index]).backward()
                flat.theta -= 0.1 * flat.gradient
            ends.append(flat.theta.clone())
        mean = torch.stack(ends).mean(0)
    assert all((theta - mean).abs().max() < 1e-12 for theta in thetas)


def test_half_precision_is_close_and_powersgd_trains_although_it_is_not():
    assert 1e-7 < max(launch(book.replicas, 2, "ddp", hook="fp16", timeout=60)) < 1e-3
    assert 1e-4 < max(launch(book.replicas, 2, "ddp", hook="powersgd", timeout=60)) < 0.5


def test_top_k_of_everything_is_the_mean_of_the_gradients():
    one = simple.single_process(2, 8, 15, 0.1)
    for theta in launch(book.sparse_sgd, 2, 1.0, 15, 0.1, timeout=60):
        torch.testing.assert_close(theta, one, rtol=0, atol=1e-12)


def test_what_top_k_has_sent_and_what_it_remembers_is_all_there_was():
    source, n = torch.Generator().manual_seed(0), 50
    top, gradients, sent = TopK(n, 3), torch.randn(20, n, generator=source), torch.zeros(n)
    for g in gradients:
        index, values = top.compress(g)
        assert len(index) == 3
        sent[index] += values
    torch.testing.assert_close(sent + top.error, gradients.sum(0), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="k must be <= n = 5, got 6"):
        TopK(5, 6)


def test_several_ways_to_say_less_in_one_launch_are_those_of_a_launch_each_and_send_what_the_page_says():
    tries = [("top 1 %", 0.4), ("PowerSGD, rank 1", 0.2), ("top 1 %, no memory", 0.4)]
    together = launch(thrift.thrifty_each, 2, tries, steps=12, timeout=60)[0]
    alone = launch(thrift.thrifty, 2, "PowerSGD, rank 1", steps=12, lr=0.2, timeout=60)[0]
    assert together[1] == pytest.approx(alone) and together[0][0] != together[2][0]
    n, shapes = 64 * 16 + 16 + 16 * 10 + 10, [(16, 64), (16,), (10, 16), (10,)]
    assert [sent for _, sent in together] == [2 * round(0.01 * n), sum(map(sum, shapes)), 2 * round(0.01 * n)]


def test_error_feedback_is_what_makes_sparse_gradients_train():
    loss = {f: simple.loss_at(launch(book.sparse_sgd, 2, 0.01, 150, 0.1, feedback=f, timeout=60)[0])
            for f in (True, False)}
    assert loss[True] < 0.7 * loss[False]


def test_processes_without_locks_on_shared_memory_reach_the_solution(tmp_path):
    alone = launch(book.hogwild, 1, tmp_path / "one", 4000, 0.2, timeout=60)[0]
    found = launch(book.hogwild, 4, tmp_path / "four", 1000, 0.2, timeout=60)
    assert found[0] < 1e-3 and alone < 1e-3 and len(set(found)) == 1
    assert shared_vector(tmp_path / "four", 200).sub(1).square().mean().item() == found[0]


def test_a_mesh_that_does_not_fit_is_refused():
    with pytest.raises(RuntimeError, match=r"a mesh of shape \(2, 2\) needs 4 ranks, there are 2"):
        launch(book.hybrid, 2, mesh=(2, 2), timeout=60)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="microbatches must divide the batch of 10, got 4"):
        pipeline_step(nn.Linear(2, 2), ((2,), (2,)), torch.zeros(10, 2), microbatches=4)
