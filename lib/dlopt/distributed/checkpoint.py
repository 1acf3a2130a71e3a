"""Checkpoints of several ranks: one file a rank, and one file that says when all of them are there.

A rank writes its part atomically; when all have, rank 0 renames a small file over ``latest``. Whatever is killed at
whatever moment, ``latest`` names a complete step, and older steps are removed only after that.
"""

import os
import re
from pathlib import Path

import torch.distributed as dist

from dlopt.training.checkpoint import check_writable, read_checkpoint, write_checkpoint

LATEST = "latest"


def save(folder, step, part):
    """Write this rank's ``part`` of the state after ``step``; called by every rank.

    Args:
        folder: a directory that all ranks see.
        step: whole number >= 0.
        part: dict of tensors, numbers, strings, lists and dicts.

    Raises:
        OSError: a rank cannot write; the last complete checkpoint stays.
    """
    folder, rank, size = Path(folder), dist.get_rank(), dist.get_world_size()
    check_writable(folder / LATEST)
    write_checkpoint(_file(folder, step, rank, size), part)
    dist.barrier()  # every part is on the disk
    if rank == 0:
        write_checkpoint(folder / LATEST, {"step": int(step), "ranks": size})
        for old in folder.glob("step-*"):
            if int(re.match(r"step-(\d+)", old.name)[1]) < step:
                old.unlink(missing_ok=True)
    dist.barrier()  # nobody goes on before it is the newest


def load(folder):
    """The newest complete checkpoint: ``(step, part of this rank)``; ``(0, None)`` where there is none.

    Raises:
        ValueError: it was written by another number of ranks, or a file of it is damaged.
    """
    folder, rank, size = Path(folder), dist.get_rank(), dist.get_world_size()
    if not (folder / LATEST).exists():
        return 0, None
    latest = read_checkpoint(folder / LATEST)
    if latest["ranks"] != size:
        raise ValueError(f"checkpoint {folder} was written by {latest['ranks']} ranks, there are {size}; start as many")
    return latest["step"], read_checkpoint(_file(folder, latest["step"], rank, size))


def _file(folder, step, rank, size):
    return folder / f"step-{step:08d}-rank-{rank}-of-{size}{os.extsep}pt"
