"""torch's own ways to share out a model's training, each behind one short function: replicas, sharded states, hooks."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from dlopt.checks import one_of

HOOKS = (None, "fp16", "powersgd")


def data_parallel(model, hook=None, *, rank=1):
    """Replicas whose gradients are averaged while the backward pass still runs (DDP).

    Args:
        model: the same module on every rank; rank 0's parameters are broadcast.
        hook: None, ``"fp16"`` (gradients travel in half precision) or ``"powersgd"`` (matrices travel as products of
            ``rank`` columns and rows, with error feedback).
        rank: of PowerSGD.

    Returns:
        The module in its wrapper. Call it and ``backward`` as usual, then step any optimizer.

    Source: Li et al. (2020), arXiv:2006.15704; Vogels et al. (2019), arXiv:1905.13727.
    """
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook

    device = next(model.parameters()).device
    wrapped = DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)
    if one_of("hook", hook, HOOKS) == "fp16":
        wrapped.register_comm_hook(dist.group.WORLD, default_hooks.fp16_compress_hook)
    if hook == "powersgd":
        state = powerSGD_hook.PowerSGDState(dist.group.WORLD, matrix_approximation_rank=rank, start_powerSGD_iter=2,
                                            min_compression_rate=0.5)
        wrapped.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return wrapped


def fully_sharded(model, mesh=None):
    """Parameters, gradients and optimizer state cut into one shard for each rank (FSDP2, ZeRO-3).

    Every linear layer and then the rest are gathered just before they are needed and let go afterwards.

    Args:
        model: the same module on every rank; changed in place, its parameters become DTensors.
        mesh: a one-dimensional device mesh; None: all ranks.

    Returns:
        The model. Make its optimizer afterwards; ``full_tensor()`` of a parameter is the whole of it.

    Source: Zhao et al. (2023), arXiv:2304.11277.
    """
    from torch.distributed.fsdp import fully_shard

    mesh = mesh or device_mesh((dist.get_world_size(),), ("data",), next(model.parameters()).device.type)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def sharded_optimizer(parameters, optimizer_class, **options):
    """An optimizer whose state is divided among the ranks (ZeRO-1): each steps its parameters and broadcasts them.

    Args:
        parameters: of a data-parallel model, the same on every rank.
        optimizer_class: an optimizer of ``torch.optim``.
        options: its hyper-parameters.

    Source: Rajbhandari et al. (2020), arXiv:1910.02054.
    """
    from torch.distributed.optim import ZeroRedundancyOptimizer

    return ZeroRedundancyOptimizer(parameters, optimizer_class, **options)


def device_mesh(shape, names, device_type="cpu"):
    """All ranks arranged in a grid, for example ``(2, 2)`` and ``("data", "model")``.

    Raises:
        ValueError: the product of the shape is not the number of ranks.
    """
    from math import prod

    from torch.distributed.device_mesh import init_device_mesh

    if prod(shape) != dist.get_world_size():
        raise ValueError(f"a mesh of shape {tuple(shape)} needs {prod(shape)} ranks, there are {dist.get_world_size()}")
    return init_device_mesh(device_type, tuple(shape), mesh_dim_names=tuple(names))
