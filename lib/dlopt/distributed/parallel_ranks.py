"""What ranks do to show that every kind of parallelism trains the same model as one process.

Each function trains the shared-out model and, on every rank, the whole model by plain means on the whole batch, and
returns the largest difference of a parameter that this rank holds.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy

from dlopt import data, models
from dlopt.distributed.flat import Flat, shard
from dlopt.distributed.parallel import data_parallel, device_mesh, fully_sharded, sharded_optimizer
from dlopt.distributed.pipeline import pipeline_step
from dlopt.distributed.ranks import batch, identity, problem
from dlopt.distributed.sparse import TopK, shared_vector
from dlopt.distributed.tensor_parallel import Hybrid, tensor_parallel


def whole_model(make, x, y, indices, lr, optimizer=torch.optim.SGD):
    """A model trained in this process on the batches ``indices`` [steps, examples].

    Args:
        make: a function of nothing that builds the model.
        optimizer: a class of ``torch.optim``.

    Returns:
        The trained model.
    """
    model = make()
    stepper = optimizer(model.parameters(), lr=lr)
    for index in indices:
        stepper.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        stepper.step()
    return model


def largest(differences):
    """The largest absolute entry of several tensors."""
    return max((d.abs().max().item() for d in differences if d.numel()), default=0.0)


def replicas(kind, steps=20, batch_size=8, lr=0.1, hook=None, seed=0):
    """DDP (``"ddp"``), FSDP2 (``"fsdp"``) or DDP with ZeRO-1 Adam (``"zero1"``) against one process."""
    rank, size = identity()
    model, x, y = problem(seed)
    indices = [batch(t, size, batch_size, len(x), seed) for t in range(steps)]
    kept = torch.optim.Adam if kind == "zero1" else torch.optim.SGD
    alone = whole_model(lambda: problem(seed)[0], x, y, [i.flatten() for i in indices], lr, kept)
    shared = fully_sharded(model) if kind == "fsdp" else data_parallel(model, hook)
    stepper = (sharded_optimizer(shared.parameters(), kept, lr=lr) if kind == "zero1"
               else kept(shared.parameters(), lr=lr))
    for index in indices:
        stepper.zero_grad()
        cross_entropy(shared(x[index[rank]]), y[index[rank]]).backward()
        stepper.step()
    ours = [p.full_tensor() if kind == "fsdp" else p for p in shared.parameters()]
    return largest(a.detach() - b.detach() for a, b in zip(ours, alone.parameters()))


def cut_layers(steps=20, examples=16, lr=0.1, seed=0):
    """A perceptron whose layers are cut by columns and rows; every rank sees the whole batch."""
    rank, size = identity()
    model, x, y = problem(seed)
    indices = [batch(t, 1, examples, len(x), seed)[0] for t in range(steps)]
    alone = whole_model(lambda: problem(seed)[0], x, y, indices, lr)
    flatten, first, act, second = model
    cut = tensor_parallel(first, act, second)
    trained = whole_model(lambda: nn.Sequential(flatten, cut), x, y, indices, lr)[1]
    return largest(_cut_differences(trained, alone[1], alone[3], size, rank))


def _cut_differences(cut, first, second, size, rank):
    """This rank's parts of two cut layers minus those of the whole ones."""
    part = shard(first.out_features, size, rank)
    yield cut[0].weight.detach() - first.weight.detach()[part]
    yield cut[0].bias.detach() - first.bias.detach()[part]
    yield cut[2].weight.detach() - second.weight.detach()[:, part]
    yield cut[2].bias.detach() - second.bias.detach()


def hybrid(steps=10, batch_size=4, lr=0.05, mesh=None, seed=0):
    """Convolutions replicated, dense layers cut: over the same ranks, or over the two axes of a mesh.

    Args:
        mesh: None, or (data, model) sizes: ranks in a row of the mesh share a batch and hold different columns.
    """
    rank, size = identity()
    digits = data.digits(flat=False, dtype=torch.float64)
    x, y = digits.x_train, digits.y_train
    grid = device_mesh(mesh, ("data", "model")) if mesh else None
    groups = {"data": grid.get_group("data"), "model": grid.get_group("model")} if grid else {}
    across, mine = (mesh[0], grid.get_local_rank("data")) if grid else (size, rank)
    k, j = (mesh[1], grid.get_local_rank("model")) if grid else (size, rank)
    indices = [batch(t, across, batch_size, len(x), seed) for t in range(steps)]
    make = lambda: models.lenet(widths=(4, 6), hidden=12, seed=seed).double()  # noqa: E731
    alone, net = whole_model(make, x, y, [i.flatten() for i in indices], lr), make()
    model = Hybrid(net[:7], net[7], net[8], net[9], **groups)
    stepper = torch.optim.SGD(model.parameters(), lr=lr)
    for index in indices:
        stepper.zero_grad()
        cross_entropy(model(x[index[mine]]), y[index.flatten()]).backward()
        model.sum_gradients()
        stepper.step()
    convolutions = [a.detach() - b.detach() for a, b in zip(model.features.parameters(), alone[:7].parameters())]
    return largest([*convolutions, *_cut_differences(model.dense, alone[7], alone[9], k, j)])


def pipeline(schedule, microbatches, steps=10, lr=0.1, seed=0):
    """A perceptron with as many hidden layers as needed, one layer a stage.

    Returns:
        The largest difference, and the most microbatches whose activations this stage stored.
    """
    rank, size = identity()
    _, x, y = problem(seed)
    widths = [64, *[12] * (size - 1), 10]
    make = lambda: models.mlp(widths, activation="tanh", seed=seed).double()  # noqa: E731
    indices = [batch(t, 1, 4 * microbatches, len(x), seed)[0] for t in range(steps)]
    alone, net = whole_model(make, x, y, indices, lr), make()
    stage = net[1 + 2 * rank : 3 + 2 * rank]  # after the flattening layer: linear, activation, linear, ...
    stepper, most = torch.optim.SGD(stage.parameters(), lr=lr), 0
    for index in indices:
        stepper.zero_grad()
        shapes = (widths[rank],), (widths[rank + 1],)
        _, held = pipeline_step(stage, shapes, x[index], y[index], cross_entropy, microbatches=microbatches,
                                schedule=schedule)
        stepper.step()
        most = max(most, held)
    whole = alone[1 + 2 * rank : 3 + 2 * rank]
    return largest(a.detach() - b.detach() for a, b in zip(stage.parameters(), whole.parameters())), most


def local_sgd(local_steps, rounds=5, batch_size=4, lr=0.1, seed=0):
    """Local SGD: steps of each rank's own, then the mean of the parameters; returns them, [n]."""
    rank, size = identity()
    model, x, y = problem(seed)
    flat = Flat(model)
    for t in range(rounds * local_steps):
        index = batch(t, size, batch_size, len(x), seed)[rank]
        flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        flat.theta -= lr * flat.gradient
        if (t + 1) % local_steps == 0:
            dist.all_reduce(flat.theta)
            flat.theta /= size
    return flat.theta


def sparse_sgd(share, steps, lr, batch_size=8, feedback=True, seed=0):
    """Synchronous SGD in which each rank sends the ``share`` largest entries of its gradient; returns theta, [n]."""
    rank, size = identity()
    model, x, y = problem(seed)
    flat = Flat(model)
    n = len(flat.theta)
    top = TopK(n, max(1, round(share * n)), feedback=feedback, dtype=flat.theta.dtype)
    for t in range(steps):
        index = batch(t, size, batch_size, len(x), seed)[rank]
        flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        flat.theta -= lr * top.average(flat.gradient)
    return flat.theta


def hogwild(path, steps, lr, features=200, active=4, seed=0):
    """Least squares on sparse inputs: ranks update one shared vector, an example at a time, without any lock.

    The targets are exact for the vector ``1 ... 1``, so that it is the solution.

    Args:
        path: file of the shared vector.
        steps: updates of each rank.
        features: n.
        active: entries of an input that are not zero.

    Returns:
        The mean squared distance of the shared vector to the solution after all ranks have ended.
    """
    rank, _ = identity()
    theta, source = shared_vector(path, features), torch.Generator().manual_seed(seed * 1000 + rank)
    for _ in range(steps):
        index = torch.randperm(features, generator=source)[:active]
        a = torch.randn(active, generator=source, dtype=theta.dtype)
        theta[index] -= lr * a * (a @ (theta[index] - 1))
    dist.barrier()
    return (theta - 1).square().mean().item()
