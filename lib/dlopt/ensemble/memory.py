"""How many members fit: asked before memory is."""

from functools import cache
from pathlib import Path

import torch

from dlopt.checks import whole
from dlopt.rules import state_names

SHARE = 0.8  # of what is available, the rest is left to everybody else
TEMPORARIES = 4  # arrays of the size of theta alive inside a rule


@cache
def keep_heap():
    """Make the C library keep freed memory of a few MiB for the next update, once a process.

    glibc gives such blocks back to the system and then has to clear every page again: a third of the time of a small
    CNN's ensemble. Freeing one block of just under 32 MiB, its limit, raises both of its thresholds for good. Other C
    libraries do not mind.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def available_bytes(device):
    """Free memory in bytes on ``device``; None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    found = [value for value in (_meminfo(), _cgroup()) if value is not None]
    return min(found) if found else None


def _meminfo():
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def _cgroup():
    """What a container's limit leaves (version 2 of the interface)."""
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        return limit - int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return None


def check_fits(model, rule, K):
    """Refuse K copies of a model's parameters and of the rule's state that do not fit, before they are made.

    Raises:
        MemoryError: they do not fit.
    """
    tensors = [*model.parameters(), *model.buffers()]
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    needed = K * (sum(t.nbytes for t in tensors) + len(state_names(rule)) * trained)
    available = available_bytes(tensors[0].device) if tensors else None
    if available is not None and needed > SHARE * available:
        raise MemoryError(
            f"{K} member(s) of {sum(t.numel() for t in tensors)} numbers need {needed / 2**30:.3g} GiB, "
            f"{SHARE:.0%} of the {available / 2**30:.3g} GiB available must do; use fewer members"
        )


def bytes_per_member(network, rule, x, batch_size):
    """Bytes that one more member costs while training: parameters, gradient, state, temporaries, activations.

    The activations are counted on one real forward pass of one example and scaled to the batch.

    Args:
        network: the stacked models.
        rule: the rule, for the number of its states.
        x: one input, [1, ...].
        batch_size: examples per member.
    """
    row = network.theta[0].numel() * network.theta.element_size()
    return row * (2 + len(state_names(rule)) + TEMPORARIES) + 2 * activation_bytes(network, x) * batch_size


def examples_at_once(network, x, most=1024):
    """How many examples all members may answer at a time when evaluated: a quarter of the memory, at most ``most``.

    Args:
        network: the stacked models.
        x: one input, [1, ...].
    """
    available = available_bytes(network.theta.device)
    if available is None:
        return most
    return max(1, min(most, int(available / 4 / (network.K * activation_bytes(network, x)))))


def activation_bytes(network, x):
    """Bytes that one example costs one member: input, what the forward pass keeps for the backward pass, answer."""
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model = network.member(0)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model(x)
    return sum(size for pointer, size in saved.items() if pointer not in own) + answer.nbytes + x.nbytes


def members_at_once(network, rule, x, batch_size, chunk=None):
    """Number of members to train at a time.

    Args:
        network, rule, x, batch_size: as for :func:`bytes_per_member`.
        chunk: the number wished for; None: as many as fit.

    Raises:
        MemoryError: ``chunk`` members, or a single one, do not fit.
    """
    K = network.K
    wished = K if chunk is None else min(K, whole("chunk", chunk))
    available = available_bytes(network.theta.device)
    if available is None:
        return wished
    each = bytes_per_member(network, rule, x, batch_size)
    fit = int(SHARE * available // each)
    if fit >= wished:
        return wished
    if chunk is not None or fit < 1:
        way_out = f"use chunk={fit} or None" if fit else "use a smaller batch_size or model"
        raise MemoryError(
            f"{wished if chunk else 1} member(s) need about {each * (wished if chunk else 1) / 2**30:.3g} GiB, "
            f"{SHARE:.0%} of the {available / 2**30:.3g} GiB available must do; {way_out}"
        )
    return fit
