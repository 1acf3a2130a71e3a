"""Start processes on this machine, run one function in all of them, bring back what each returned or why it did not.

The processes come from a fork server that has imported torch once and computed nothing, so forking it is safe, unlike
forking a notebook's kernel, which hangs once it has run a backward pass. They start in 0.1 to 0.3 s; with
``torch.distributed.launcher.elastic_launch`` and ``spawn`` every rank imports torch anew, and a launch takes 3 to 9 s
(two cores). Where the platform has no fork server, ``spawn`` is used. On many machines `torchrun` takes the launcher's
place, with the same functions: :mod:`dlopt.distributed.train`.
"""

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait

import torch
import torch.distributed as dist
from tqdm import tqdm

from dlopt.checks import positive, whole

SETTLE = 0.5  # seconds in which, after a first failure, the failures that caused it or follow from it come in
PRELOAD = ["torch", "torch.distributed", "dlopt.distributed.ranks", "dlopt.models", "dlopt.data"]
_pipe = None  # of a launched process: where progress and results go


@dataclass(frozen=True)
class Outcome:
    """How one rank ended.

    Attributes:
        rank: its number.
        value: what the function returned, None if it did not.
        error: None, or one line on why it did not return, which names the rank.
        trace: the traceback, where the function raised.
        seconds: from the launch to the end.
    """

    rank: int
    value: object = None
    error: str | None = None
    trace: str = ""
    seconds: float = 0.0


def launch(fn, nproc, *args, timeout=120.0, patience=None, may_die=(), progress=False, **kwargs):
    """Run ``fn(*args, **kwargs)`` in ``nproc`` processes of one group on this machine.

    Inside, ``torch.distributed`` is initialized (gloo; NCCL for CUDA tensors where there are GPUs). The first failure
    ends all ranks; ranks in ``may_die`` may fail without that. Nothing outlives the call, however it ends, and if this
    process is killed, its ranks end themselves.

    Args:
        fn: a function of an importable module (a notebook's own functions are not; its arguments are free).
        nproc: number of processes, >= 1.
        args, kwargs: passed to every rank.
        timeout: seconds for everything; then the ranks still at work are ended.
        patience: seconds that a collective waits for the others; None: ``timeout``.
        may_die: ranks whose end is part of the experiment.
        progress: show what rank 0 reports by :func:`report`.

    Returns:
        The list of what each rank returned; None for a rank that died.

    Raises:
        RuntimeError: a rank raised or was killed; the message names rank and reason.
        TimeoutError: ranks were still at work after ``timeout`` seconds; the message names them.
        TypeError: ``fn`` cannot be imported by another process.
    """
    outcomes = watch(fn, nproc, *args, timeout=timeout, patience=patience, may_die=may_die, progress=progress, **kwargs)
    if failed := [o for o in outcomes if o.error and o.rank not in may_die]:
        first = min(failed, key=lambda o: (_consequence(o.error), o.seconds))
        kind = TimeoutError if "was still at work" in first.error else RuntimeError
        others = [o.error for o in failed if o is not first and kind is TimeoutError]
        raise kind("\n".join(["; ".join([first.error, *others]), first.trace]).rstrip())
    return [o.value for o in outcomes]


def watch(fn, nproc, *args, timeout=120.0, patience=None, may_die=(), progress=False, **kwargs):
    """As :func:`launch`, but returns the `Outcome` of every rank and raises for none of them."""
    nproc, start = whole("nproc", nproc), time.monotonic()
    _check_importable(fn)
    patience = positive("timeout", timeout) if patience is None else positive("patience", patience)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=patience))
    context, ranks = _context(), {}
    try:
        for rank in range(nproc):
            mine, theirs = context.Pipe()
            group = rank, nproc, store.port, patience
            process = context.Process(target=_run_rank, args=(theirs, group, fn, args, kwargs), daemon=True)
            process.start()
            theirs.close()
            ranks[rank] = process, mine
        with tqdm(disable=not progress, leave=False) as bar:
            return _collect(ranks, start, start + timeout, set(may_die), bar)
    finally:
        for process, pipe in ranks.values():
            _end(process)
            pipe.close()


def report(done, total=None, text=""):
    """Tell whoever launched this process how far it is; does nothing in other processes and on other ranks than 0."""
    if _pipe is not None and dist.get_rank() == 0:
        _pipe.send(("progress", done, total, text))


def init_group(rank, world_size, store=None, patience=120.0):
    """Initialize ``torch.distributed``: gloo for CPU tensors and, where there are GPUs, NCCL for CUDA tensors.

    Args:
        rank, world_size: None to read them, with address and port, from the environment that ``torchrun`` sets.
        store: where the ranks meet; None: ``MASTER_ADDR`` and ``MASTER_PORT``.
        patience: seconds that an operation waits for the others.

    Raises:
        RuntimeError: the port is in use, or too few ranks came within ``patience``; the message says which.
    """
    if store is None and (missing := [n for n in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
                                      if n not in os.environ]):
        raise RuntimeError(f"{', '.join(missing)} must be set; start this program by torchrun, or by launch()")
    rank = int(os.environ["RANK"]) if rank is None else rank
    world_size = int(os.environ["WORLD_SIZE"]) if world_size is None else world_size
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    try:
        if store is None:
            store = _meet(rank, world_size, patience)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size,
                                timeout=timedelta(seconds=patience))
        store.add("arrived", 1)
    except (dist.DistStoreError, dist.DistNetworkError, dist.DistBackendError, RuntimeError) as error:
        raise RuntimeError(_why_no_group(rank, world_size, error, patience)) from None


def free_port():
    """A TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _meet(rank, world_size, patience):
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's agent holds the store
    master = rank == 0 and not agent
    store = dist.TCPStore(address, port, world_size, master, timedelta(seconds=patience), wait_for_workers=not agent)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"dlopt/{attempt}", store)


def _why_no_group(rank, world_size, error, patience):
    text = str(error)
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        port = os.environ.get("MASTER_PORT", "?")
        return f"rank {rank}: port {port} is in use by another program; choose another --master-port"
    return (f"rank {rank}: only part of {world_size} ranks came together within {patience:g} s; start all of them, "
            f"with the same address and port ({text.splitlines()[0][:160]})")


def _context():
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(PRELOAD)
    return context


def _check_importable(fn):
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    if module in (None, "__main__") or "<" in name:
        raise TypeError(f"fn must be a function of a module that another process can import, got {module}.{name}; "
                        "move it into a file")


def _run_rank(pipe, group, fn, args, kwargs):
    """What a launched process does; it ends by ``os._exit``, so that no blocked thread can keep it."""
    global _pipe
    _pipe = pipe
    rank, world_size, port, patience = group
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted notebook: the launcher ends its ranks
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    try:
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=patience))
        init_group(rank, world_size, store, patience)
        value = fn(*args, **kwargs)
        pipe.send(("value", value))
        wait([pipe])  # stay, with all connections, until the launcher has heard from everybody
    except BaseException as error:
        line = f"rank {rank}: {type(error).__name__}: {str(error) or 'no message'}"
        pipe.send(("error", line, traceback.format_exc()))
    os._exit(0)


def _die_with_parent():
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _loopback():
    names = [name for _, name in socket.if_nameindex()]
    return next((name for name in ("lo", "lo0") if name in names), names[0])


def _collect(ranks, start, end, may_die, bar):
    """Read pipes until every rank has ended, one has failed, or the time is over."""
    outcomes, waiting = {}, dict(ranks)
    while waiting and (left := end - time.monotonic()) > 0:
        ready = wait([pipe for _, pipe in waiting.values()], timeout=left)
        for rank in [rank for rank, (_, pipe) in waiting.items() if pipe in ready]:
            outcome = _read(rank, *waiting[rank], bar)
            if outcome is not None:
                outcomes[rank] = Outcome(**outcome, rank=rank, seconds=time.monotonic() - start)
                del waiting[rank]
                if outcomes[rank].error and rank not in may_die:
                    end = min(end, time.monotonic() + SETTLE)
    failed = any(o.error and o.rank not in may_die for o in outcomes.values())
    for rank in waiting:
        why = "ended because another rank failed" if failed else f"was still at work after {end - start:.0f} s"
        outcomes[rank] = Outcome(rank, error=f"rank {rank} {why}", seconds=time.monotonic() - start)
    return [outcomes[rank] for rank in sorted(outcomes)]


def _read(rank, process, pipe, bar):
    try:
        kind, *content = pipe.recv()
    except (EOFError, OSError):
        process.join(2)
        code = process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit status {code}"
        return {"error": f"rank {rank} {how}"}
    if kind == "progress":
        bar.total, bar.n = content[1], content[0]
        bar.set_postfix_str(content[2])
        return None
    return {"value": content[0]} if kind == "value" else {"error": content[0], "trace": content[1]}


def _consequence(error):
    """0 for a cause, 1 for what a lost connection looks like from another rank, 2 for ranks that we ended."""
    if "because another rank" in error:
        return 2
    return int("losed by peer" in error or "onnection reset" in error or "was lost" in error)


def _end(process):
    if process.is_alive():
        process.kill()
    process.join(5)
