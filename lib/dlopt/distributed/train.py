"""One script from a laptop to a cluster: data-parallel training that goes on after a crash as if nothing had happened.

    torchrun --nproc-per-node 4 -m dlopt.distributed.train --checkpoints runs/a

starts four processes on this machine. On several machines, the same line runs on each of them, with
``--nnodes 2 --rdzv-backend c10d --rdzv-endpoint HOST:29400``. ``--max-restarts 3`` starts all ranks again when one
dies; they continue from the last complete checkpoint.
"""

import argparse
import os
import signal
import sys

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from dlopt.checks import positive, whole
from dlopt.distributed import checkpoint
from dlopt.distributed.flat import Flat
from dlopt.distributed.launch import init_group, report
from dlopt.distributed.ranks import batch, problem
from dlopt.optimizers import Optimizer


def arguments(text=None):
    """The command line's settings."""
    parser = argparse.ArgumentParser(prog="dlopt.distributed.train", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="examples of each rank")
    parser.add_argument("--rule", default="adam")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", default=None, help="a folder that all ranks see")
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for the other ranks")
    parser.add_argument("--kill", type=int, default=None, help="for tests: rank 1 dies before this step, once")
    return parser.parse_args(text)


def train(steps=200, batch_size=16, rule="adam", lr=0.01, seed=0, checkpoints=None, every=20, kill=None):
    """Train the small problem on all ranks; every rank calls it.

    Args:
        steps: updates in all.
        batch_size: examples of each rank in each step.
        rule, lr: a rule of `dlopt.rules` and its rate.
        seed: of the model and the batches.
        checkpoints: folder from which to go on, and to which to write ``every`` so many steps; None: neither.
        kill: rank 1 ends by SIGKILL before this step, unless it has been restarted.

    Returns:
        The parameters, [n], and the step from which this call started.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    whole("steps", steps), whole("every", every), positive("lr", lr)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    model, x, y = problem(seed)
    model, x, y = model.to(device), x.to(device), y.to(device)
    flat = Flat(model)
    parameter = torch.nn.Parameter(flat.theta)
    parameter.grad = flat.gradient
    optimizer = Optimizer([parameter], rule, lr=lr, pack_below=0)
    start, part = checkpoint.load(checkpoints) if checkpoints else (0, None)
    if part is not None:
        flat.theta.copy_(part["theta"])
        optimizer.load_state_dict(part["optimizer"])
    for t in range(start, steps):
        if t == kill and rank == 1 and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        index = batch(t, size, batch_size, len(x), seed)[rank]
        flat.zero_grad()
        loss = cross_entropy(model(x[index]), y[index])
        loss.backward()
        dist.all_reduce(flat.gradient)
        flat.gradient /= size
        optimizer.step()
        if checkpoints and ((t + 1) % every == 0 or t + 1 == steps):
            checkpoint.save(checkpoints, t + 1, {"theta": flat.theta.cpu(), "optimizer": optimizer.state_dict()})
        report(t + 1, steps, f"loss {loss.item():.3f}")
    return flat.theta.cpu(), start


def main(text=None):
    """What ``torchrun`` starts in every process."""
    settings = vars(arguments(text))
    try:
        init_group(None, None, patience=settings.pop("patience"))
    except RuntimeError as error:
        sys.exit(str(error))
    theta, start = train(**settings)
    if dist.get_rank() == 0:
        print(f"{dist.get_world_size()} ranks, from step {start} to {settings['steps']}, |theta| = {theta.norm():.17g}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
