"""What ranks do in the tests of `dlopt.distributed`; another process must be able to import it."""

import os
import signal
import time

import torch
import torch.distributed as dist
from dlopt.distributed import ParameterServer, Worker, checkpoint, init_group, launch, report
from dlopt.distributed import ranks as book
from dlopt.distributed.train import train
from torch.nn.functional import cross_entropy


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


def sum_on(device):
    """An all-reduce of a tensor on ``device``: its sum and the backend that made it."""
    x = torch.full((5,), dist.get_rank() + 1.0, device=device)
    dist.all_reduce(x)
    return x.cpu(), dist.get_backend_config()


# --- parameter servers and faults

def serve(updates, **server):
    """Rank 0 serves; what the other ranks do is `work` below."""
    model, x, y = book.problem()
    return ParameterServer(model, updates=updates, lr=0.1, **server).serve()


def work(before=lambda t, worker: None, seed=0):
    """A worker that calls ``before(t, worker)`` after each backward pass; returns its number of steps."""
    model, x, y = book.problem()
    worker, source = Worker(model), torch.Generator().manual_seed(seed + dist.get_rank())
    while worker.running:
        index = torch.randint(len(x), (8,), generator=source)
        worker.flat.zero_grad()
        cross_entropy(model(x[index]), y[index]).backward()
        before(worker.steps, worker)
        worker.step()
    return worker.steps


def server_and_fault(fault, updates, rank, at, seconds=0.0, **server):
    """Rank 0 serves, the others work; rank ``rank`` has a fault before its step ``at``, or from then on."""

    def before(t, worker):
        if dist.get_rank() != rank or t < at:
            return
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "pause" and t == at or fault == "slow":
            time.sleep(seconds)
        if fault == "network" and t == at:
            send = dist.send
            dist.send = lambda *message: time.sleep(seconds) or send(*message)
        if fault == "nan":
            worker.flat.gradient[0] = float("nan")

    if dist.get_rank() == 0:
        return serve(updates, **server)
    if fault == "late" and dist.get_rank() == rank:
        time.sleep(seconds)
    return work(before)


def mismatched(rank):
    """Rank ``rank`` builds a wider model than the server."""
    if dist.get_rank() == 0:
        return serve(10)
    Worker(book.problem(hidden=16 + (dist.get_rank() == rank))[0])
    time.sleep(1000)


def killed_server():
    """The server dies in the middle."""
    if dist.get_rank() == 0:
        return serve(100, mode="async", every=20, on_update=lambda store: os.kill(os.getpid(), signal.SIGKILL))
    return work()


def stopped_server():
    """The server never answers."""
    if dist.get_rank() == 0:
        time.sleep(1000)
    return work()


def all_workers_die():
    if dist.get_rank() == 0:
        return serve(100)
    os.kill(os.getpid(), signal.SIGKILL)


def done_early(updates, steps):
    """Workers that say goodbye after ``steps`` steps."""
    if dist.get_rank() == 0:
        return serve(updates)

    def before(t, worker):
        if t == steps:
            worker.done()
            worker.step = lambda: None

    return work(before)


# --- checkpoints

def save_parts(folder, steps):
    for step in steps:
        checkpoint.save(folder, step, {"rank": dist.get_rank(), "x": torch.full((3,), float(step))})
    return checkpoint.load(folder)


def load_part(folder):
    return checkpoint.load(folder)


def die_while_saving(folder):
    """Rank 1 dies when it has written its part of step 2, before the others know."""
    checkpoint.save(folder, 1, {"x": torch.ones(3)})
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.save(folder, 2, {"x": torch.zeros(3)})


def train_and_die(folder, kill):
    return train(steps=60, checkpoints=folder, every=20, kill=kill)


# --- the soak

def soak(updates, kills, seed):
    """An asynchronous server whose workers die at random steps; see `test_distributed_soak`."""
    if dist.get_rank() == 0:
        model, _, _ = book.problem()
        return ParameterServer(model, updates=updates, mode="async", lr=0.05, silence=20).serve()

    def before(t, worker):
        if t == kills.get(dist.get_rank()):
            os.kill(os.getpid(), signal.SIGKILL)

    return work(before, seed)
