"""Comparing times on a machine that is never quiet.

Two programs are compared only within one run in which they take turns, on one thread, by the CPU time of that thread
(on a GPU, by the time until its queue is empty), and only as a ratio. A run is cut into blocks; each block gives one
ratio, of the fastest repetitions in that block, and the spread of the ratios says how far to trust their median.
"""

import os
import platform
import shutil
import time

import torch

from dlopt.device import describe, synchronize


def interleaved(programs, *, seconds, blocks=5, device="cpu", most=200):
    """Run programs in turn and return the least time of each in each block.

    Args:
        programs: functions of nothing, by name. Each is called three times before the clock starts.
        seconds: about how long all of it may take.
        blocks: number of blocks.
        device: where the programs compute.
        most: rounds per block at most.

    Returns:
        ``{name: [seconds, one for each block]}``.
    """
    for program in programs.values():
        for _ in range(3):
            program()
    once = sum(_time(program, device) for program in programs.values())
    rounds = max(2, min(most, int(seconds / blocks / once)))
    best = {name: [] for name in programs}
    for _ in range(blocks):
        times = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                times[name].append(_time(program, device))
        for name in programs:
            best[name].append(min(times[name]))
    return best


def ratio(times, reference):
    """Median, least and greatest ratio over the blocks.

    Args:
        times: the candidate's time in each block.
        reference: the reference's time in each block.
    """
    ratios = sorted(a / b for a, b in zip(times, reference, strict=True))
    return {"median": ratios[len(ratios) // 2], "low": ratios[0], "high": ratios[-1]}


def machine(device):
    """What the figures were measured on: processor, device, versions, load at the start."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "compiler": shutil.which("g++") is not None,
        "load": round(os.getloadavg()[0], 1),
    }


def _time(program, device):
    if torch.device(device).type == "cpu":
        start = time.thread_time()
        program()
        return time.thread_time() - start
    synchronize(device)
    start = time.perf_counter()
    program()
    synchronize(device)
    return time.perf_counter() - start


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
