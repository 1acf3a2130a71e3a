"""What ranks do in the tests of `dlopt.distributed`; another process must be able to import it."""

import os
import signal
import time

import torch
import torch.distributed as dist
from dlopt.distributed import init_group, launch, report


def pid_and_sum():
    x = torch.tensor([float(dist.get_rank() + 1)])
    dist.all_reduce(x)
    return os.getpid(), x.item()


def kill_self(rank, value="alive", wait_for_others=False):
    """Rank ``rank`` dies by SIGKILL; the others return, or wait in a collective for it."""
    if dist.get_rank() == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    if wait_for_others:
        dist.all_reduce(torch.zeros(1))
    return value


def hang(rank):
    if dist.get_rank() == rank:
        time.sleep(1000)
    return "done"


def collective_without(rank):
    """All but one rank enter a collective."""
    if dist.get_rank() == rank:
        time.sleep(1000)
    dist.all_reduce(torch.zeros(1))


def fail(rank, message):
    if dist.get_rank() == rank:
        raise ValueError(message)
    dist.all_reduce(torch.zeros(1))


def exit_with(rank, status):
    if dist.get_rank() == rank:
        os._exit(status)
    return "done"


def count(total):
    for i in range(total):
        report(i + 1, total, f"loss {i}")
    return total


def meet_at(port, rank, world_size, patience):
    """Form another group, by the environment, as under torchrun."""
    dist.destroy_process_group()
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    init_group(None, None, patience=patience)


def without_environment():
    dist.destroy_process_group()
    init_group(None, None)


def launch_and_hang(path):
    """What the subprocess of a test does: it starts ranks that write down their pids and hang, and is then killed."""
    launch(write_pid_and_hang, 2, path, timeout=600)


def write_pid_and_hang(path):
    with open(f"{path}/{dist.get_rank()}.part", "w") as file:
        file.write(str(os.getpid()))
    os.replace(f"{path}/{dist.get_rank()}.part", f"{path}/{dist.get_rank()}.pid")
    time.sleep(1000)
