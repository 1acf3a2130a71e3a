"""A synchronous round of the parameter server against plain sends of the same bytes, and against an all-reduce."""

import time

import torch
import torch.distributed as dist

from dlopt.benchmarks.measuring import ratio
from dlopt.distributed import ParameterServer, Worker, launch

SIZES = {"100 thousand": 100_000, "5 million": 5_000_000}
WORKERS = (2, 4)


class Vector(torch.nn.Module):
    """A model that is nothing but n parameters."""

    def __init__(self, n):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(n))


def run(seconds=100.0, sizes=SIZES, workers=WORKERS, blocks=5):
    """Measure every size with every number of workers.

    In each block the three programs take turns; each gives its least time per round in that block. Wall time, because
    what is measured is waiting for one another; every process has one thread.

    Args:
        seconds: about how long it takes.
        sizes: numbers of float32 parameters, by name.
        workers: numbers of worker processes; the server is one more.
        blocks: number of ratios.

    Returns:
        ``{"rows": [...]}``: ``overhead`` of the server over the plain sends, and milliseconds per round of all three.
    """
    share = seconds / len(sizes) / len(workers) / blocks
    rows = []
    for name, n in sizes.items():
        for M in workers:
            times = launch(measure, M + 1, n, share, blocks, timeout=60 + 10 * seconds)[0]
            row = {"size": name, "workers": M, "overhead": ratio(times["server"], times["sends"])}
            rows.append(row | {f"{program}_ms": 1e3 * min(found) for program, found in times.items()})
    return {"statistic": "least time of each block, median ratio and range over the blocks", "rows": rows}


def lines(result):
    """The rows as a table."""
    out = [f"{'parameters':14} {'workers':>7} {'server / sends':>14}  {'range':13} {'server, ms':>10} "
           f"{'sends, ms':>10} {'all-reduce, ms':>14}"]
    for row in result["rows"]:
        r = row["overhead"]
        span = f"{r['low']:.2f} to {r['high']:.2f}"
        out.append(f"{row['size']:14} {row['workers']:7d} {r['median']:14.2f}  {span:13} {row['server_ms']:10.2f} "
                   f"{row['sends_ms']:10.2f} {row['all_reduce_ms']:14.2f}")
    return out


def measure(n, seconds, blocks):
    """What every rank does: ``{program: [seconds per round, one for each block]}``, right on rank 0."""
    x = torch.zeros(n)
    buffers = [torch.zeros(n) for _ in range(dist.get_world_size() - 1)]
    programs = {"server": lambda rounds: _serve(n, rounds), "sends": lambda rounds: _each(rounds, _send, x, buffers),
                "all_reduce": lambda rounds: _each(rounds, _all_reduce, x, buffers)}
    rounds = torch.tensor([3])
    found = {name: [] for name in programs}
    for program in programs.values():  # connections are made on first use
        program(3)
    start = time.perf_counter()
    _serve(n, 3)
    rounds[0] = max(3, min(200, int(seconds / 6 / (time.perf_counter() - start) * 3)))
    dist.broadcast(rounds, 0)
    for _ in range(blocks):
        best = {name: float("inf") for name in programs}
        for _ in range(2):
            for name, program in programs.items():
                dist.barrier()
                best[name] = min(best[name], program(int(rounds)))
        for name in programs:
            found[name].append(best[name])
    return found


def _serve(n, rounds):
    """Seconds per synchronous update of the server, plain SGD on all n parameters."""
    if dist.get_rank() == 0:
        log = ParameterServer(Vector(n), updates=rounds + 1, lr=0.1).serve()
        return log.seconds / log.updates
    worker = Worker(Vector(n))
    worker.flat.gradient.fill_(1e-3)
    while worker.running:
        worker.step()
    return 0.0


def _each(rounds, action, x, buffers):
    start = time.perf_counter()
    for _ in range(rounds):
        action(x, buffers)
    return (time.perf_counter() - start) / rounds


def _send(x, buffers):
    """The bytes of a round: a vector from every worker to rank 0, and one back to each."""
    if dist.get_rank():
        dist.send(x, 0)
        dist.recv(x, 0)
        return
    for work in [dist.irecv(buffer, rank) for rank, buffer in enumerate(buffers, start=1)]:
        work.wait()
    for work in [dist.isend(x, rank) for rank in range(1, len(buffers) + 1)]:
        work.wait()


def _all_reduce(x, buffers):
    dist.all_reduce(x)
