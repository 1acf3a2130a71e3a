"""A model cut into stages, one for each rank, through which microbatches flow: GPipe and 1F1B."""

import torch
import torch.distributed as dist

from dlopt.checks import one_of, whole

SCHEDULES = ("gpipe", "1f1b")


def order(schedule, stage, stages, microbatches):
    """What a stage does, one after the other: ``("F", m)`` and ``("B", m)`` of microbatch m.

    GPipe: all forward, then all backward. 1F1B: as many forward as the stages behind can keep busy, then one backward
    for each forward, so that at most ``stages - stage`` activations are stored instead of all.

    Source: Huang et al. (2019), arXiv:1811.06965; Narayanan et al. (2019), PipeDream.
    """
    m = whole("microbatches", microbatches)
    ahead = m if one_of("schedule", schedule, SCHEDULES) == "gpipe" else min(m, stages - 1 - stage)
    steps = [("F", i) for i in range(ahead)]
    for i in range(m - ahead):
        steps += [("F", ahead + i), ("B", i)]
    return steps + [("B", i) for i in range(m - ahead, m)]


def pipeline_step(stage, shapes, x=None, y=None, loss=None, *, microbatches, schedule="1f1b"):
    """Forward and backward of one batch through all stages; gradients are left in this stage's parameters.

    Args:
        stage: this rank's module; rank 0 has the first, the last rank the last.
        shapes: ``(in, out)``: shapes of one example's input to this stage and of its output.
        x: the batch, [B, ...]; needed on the first rank, its length on all.
        y: targets; needed on the last rank.
        loss: mean loss of a microbatch; needed on the last rank.
        microbatches: number of equal parts of the batch.
        schedule: ``"gpipe"`` or ``"1f1b"``.

    Returns:
        The loss (on the last rank, else None) and the largest number of microbatches whose activations were stored.

    Raises:
        ValueError: the batch cannot be divided.
    """
    if len(x) % microbatches:
        raise ValueError(f"microbatches must divide the batch of {len(x)}, got {microbatches}")
    rank, k, kind = dist.get_rank(), dist.get_world_size(), next(stage.parameters())
    size, first, last = len(x) // microbatches, rank == 0, rank == k - 1
    held, total, most, sending = {}, 0.0, 0, []
    for what, m in order(schedule, rank, k, microbatches):
        part = slice(m * size, (m + 1) * size)
        if what == "F":
            inputs = x[part] if first else _receive((size, *shapes[0]), rank - 1, kind).requires_grad_()
            outputs = stage(inputs)
            if last:
                outputs = loss(outputs, y[part]) / microbatches
                total += outputs.item()
            else:
                sending.append((dist.isend(sent := outputs.detach().contiguous(), rank + 1), sent))
            held[m] = inputs, outputs
            most = max(most, len(held))
        else:
            inputs, outputs = held.pop(m)
            outputs.backward(None if last else _receive((size, *shapes[1]), rank + 1, kind))
            if not first:
                sending.append((dist.isend(inputs.grad.contiguous(), rank - 1), inputs.grad))
    for work, _ in sending:
        work.wait()
    return (total if last else None), most


def _receive(shape, source, kind):
    buffer = torch.empty(shape, dtype=kind.dtype, device=kind.device)
    dist.recv(buffer, source)
    return buffer
