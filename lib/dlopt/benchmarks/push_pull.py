"""A synchronous round of the parameter server against plain sends of the same bytes, and against an all-reduce."""

import statistics
import time

import torch
import torch.distributed as dist

from dlopt.benchmarks.measuring import ratio
from dlopt.distributed import ParameterServer, Worker, launch

SIZES = {"100 thousand": 100_000, "5 million": 5_000_000}
WORKERS = (2, 4)
TURNS = 4  # of the three programs in a block
PATIENCE = 300  # seconds, on top of ten times what the measurement should take: for machines that do much else


class Vector(torch.nn.Module):
    """A model that is nothing but n parameters."""

    def __init__(self, n):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(n))


def run(seconds=100.0, sizes=SIZES, workers=WORKERS, blocks=5):
    """Measure every size with every number of workers.

    In each block the three programs take turns; each gives the median time of its rounds in that block. Wall time,
    because what is measured is waiting for one another; every process has one thread.

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
            times = launch(measure, M + 1, n, share, blocks, timeout=PATIENCE + 10 * seconds)[0]
            row = {"size": name, "workers": M, "overhead": ratio(times["server"], times["sends"])}
            rows.append(row | {f"{program}_ms": 1e3 * statistics.median(found) for program, found in times.items()})
    return {"statistic": "median round of each block, median ratio and range over the blocks", "rows": rows}


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
    """What every rank does: ``{program: [median seconds of a round, one for each block]}``, right on rank 0.

    How many rounds a block has is settled anew before every block, from the time that the last one took: a machine that
    becomes busy makes it shorter, not late.
    """
    x = torch.zeros(n)
    buffers = [torch.zeros(n) for _ in range(dist.get_world_size() - 1)]
    programs = {"server": lambda rounds: _serve(n, rounds), "sends": lambda rounds: _each(rounds, _send, x, buffers),
                "all_reduce": lambda rounds: _each(rounds, _all_reduce, x, buffers)}
    found, rounds = {name: [] for name in programs}, torch.tensor([3])
    for block in range(blocks + 1):  # the first makes the connections and is not counted
        start, times = time.perf_counter(), {name: [] for name in programs}
        for _ in range(TURNS):
            for name, program in programs.items():
                dist.barrier()
                times[name] += program(int(rounds))
        if block:
            for name in programs:
                found[name].append(statistics.median(times[name]))
        rounds[0] = max(3, min(200, int(rounds) * seconds / (time.perf_counter() - start)))
        dist.broadcast(rounds, 0)
    return found


def _serve(n, rounds):
    """Seconds of each synchronous update of the server, plain SGD on all n parameters."""
    if dist.get_rank() == 0:
        ends = []
        ParameterServer(Vector(n), updates=rounds + 1, lr=0.1, every=1,
                        on_update=lambda store: ends.append(time.perf_counter())).serve()
        return [b - a for a, b in zip(ends[:-1], ends[1:], strict=True)]
    worker = Worker(Vector(n))
    worker.flat.gradient.fill_(1e-3)
    while worker.running:
        worker.step()
    return [0.0]


def _each(rounds, action, x, buffers):
    """Seconds of each round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action(x, buffers)
        times.append(time.perf_counter() - start)
    return times


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
