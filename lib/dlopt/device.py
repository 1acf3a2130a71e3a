"""Which device the book computes on: a GPU if there is one, else the CPU; ``DLOPT_DEVICE`` overrides."""

import os

import torch


def device(name=None):
    """The device to compute on.

    Args:
        name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None reads ``DLOPT_DEVICE`` and else takes the first CUDA
            device, else the CPU.

    Raises:
        ValueError: no such device on this machine.
    """
    name = name or os.environ.get("DLOPT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be one that this machine has, got {name!r} ({reason}); use 'cpu'") from None
    return found


def synchronize(where):
    """Wait until all work queued on ``where`` is done; a no-op on the CPU."""
    if torch.device(where).type == "cuda":
        torch.cuda.synchronize(where)


def describe(where=None):
    """One line naming the device, for tables and logs."""
    where = device(where) if not isinstance(where, torch.device) else where
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    return f"CPU, {torch.get_num_threads()} thread(s)"
