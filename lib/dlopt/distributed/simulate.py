r"""Traces: which worker's gradient makes which update, when, and how stale it is, on a virtual clock.

When things happen depends on computing times and the network alone, not on the values of gradients. So the trace of a
run comes first, by an event queue; :mod:`dlopt.distributed.replay` then computes the real gradients in its order.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from dlopt.checks import non_negative, positive, whole


@dataclass(frozen=True)
class Link:
    """Between a worker and the server: ``latency`` for a vector one way, ``service`` for which it occupies the server.

    The service times of different workers add up, because they share the server's own link; seconds.
    """

    latency: float = 0.0
    service: float = 0.0

    def __post_init__(self):
        non_negative("latency", self.latency), non_negative("service", self.service)


DIRECT = Link()  # a network that costs nothing


@dataclass(frozen=True)
class Trace:
    """What happened on the virtual clock.

    Attributes:
        times: when each update was made, [U], seconds.
        workers: whose gradients it took, [U, N]; N = 1 if asynchronous.
        versions: number of updates that the parameters of those gradients had seen, [U, N].
        spans: ``(worker, start, end, fate)`` of every gradient, for Gantt charts; fate is ``"used"`` or ``"late"``.
    """

    times: np.ndarray
    workers: np.ndarray
    versions: np.ndarray
    spans: list

    @property
    def staleness(self):
        """Updates between the parameters of a gradient and its own update, [U, N]."""
        return np.arange(len(self.times))[:, None] - self.versions


def synchronous(law, workers, *, until, seed, backups=0, link=DIRECT):
    """Rounds that end when all but ``backups`` workers have delivered.

    A worker whose gradient comes too late finds out when it delivers, and starts anew with the current parameters.

    Args:
        law: a :class:`dlopt.distributed.stragglers.Law`.
        workers: M, all of them.
        until: seconds; the last update is the last one before.
        seed: of the computing times.
        backups: b < M.
        link: a :class:`Link`; the server serves the N gradients of a round one after the other.

    Returns:
        A `Trace`.
    """
    M, b, rng = whole("workers", workers), whole("backups", backups, low=0), np.random.default_rng(seed)
    if b >= M:
        raise ValueError(f"backups must be < workers = {M}, got {b}")
    N, now, busy = M - b, 0.0, np.zeros(M)  # busy: until when a worker computes a gradient that is already too late
    times, chosen, spans = [], [], []
    while now < positive("until", until):
        start = np.maximum(now, busy)
        arrive = start + law.sample(rng, M) + 2 * link.latency
        order = np.argsort(arrive, kind="stable")
        end = arrive[order[N - 1]] if not link.service else _served(arrive[order[:N]], link.service)
        began = start < end
        on_time = np.zeros(M, dtype=bool)
        on_time[order[:N]] = True
        spans += [(m, start[m], arrive[m], "used" if on_time[m] else "late") for m in np.flatnonzero(began)]
        busy = np.where(began & ~on_time, arrive, np.where(began, 0.0, busy))
        now = end
        times.append(now)
        chosen.append(np.sort(order[:N]))
    return _trace(times, chosen, [[u] * N for u in range(len(times))], spans, until)


def asynchronous(law, workers, *, until, seed, bound=None, link=DIRECT):
    """Every gradient makes an update when it arrives; its worker fetches and starts anew.

    Args:
        law, workers, until, seed, link: as in :func:`synchronous`; the server serves arrivals in their order.
        bound: None, or the number of gradients that a worker may be ahead of the slowest (bounded staleness).

    Returns:
        A `Trace` with N = 1.
    """
    M, rng = whole("workers", workers), np.random.default_rng(seed)
    clock, version, start, waiting = np.zeros(M, dtype=int), np.zeros(M, dtype=int), np.zeros(M), []
    arrivals = [(t, m) for m, t in enumerate(law.sample(rng, M) + 2 * link.latency)]
    heapq.heapify(arrivals)
    times, chosen, versions, spans, free = [], [], [], [], 0.0
    while arrivals[0][0] < positive("until", until):
        arrive, m = heapq.heappop(arrivals)
        free = now = max(arrive, free) + link.service
        times.append(now), chosen.append([m]), versions.append([version[m]])
        spans.append((m, start[m], arrive, "used"))
        clock[m] += 1
        waiting.append(m)
        slowest = clock.min()
        going = [w for w in waiting if bound is None or clock[w] - slowest <= bound]
        waiting = [w for w in waiting if w not in going]
        for w, t in zip(going, law.sample(rng, len(going))):
            version[w], start[w] = len(times), now
            heapq.heappush(arrivals, (now + t + 2 * link.latency, w))
    return _trace(times, chosen, versions, spans, until)


def local(law, workers, *, until, seed, local_steps, link=DIRECT):
    """Local SGD: every worker makes ``local_steps`` steps of its own, then all average their parameters.

    Returns:
        A `Trace` whose updates are the averages, of all workers.
    """
    M, H, rng = whole("workers", workers), whole("local_steps", local_steps), np.random.default_rng(seed)
    times, spans, now = [], [], 0.0
    while now < positive("until", until):
        arrive = now + law.sample(rng, (H, M)).sum(0) + 2 * link.latency
        spans += [(m, now, t, "used") for m, t in enumerate(arrive)]
        now = arrive.max() if not link.service else _served(np.sort(arrive), link.service)
        times.append(now)
    return _trace(times, [list(range(M))] * len(times), [[u] * M for u in range(len(times))], spans, until)


def _served(arrivals, service):
    """When a server that takes ``service`` for each has served sorted ``arrivals``."""
    free = 0.0
    for t in arrivals:
        free = max(t, free) + service
    return free


def _trace(times, chosen, versions, spans, until):
    keep = int(np.searchsorted(times, until, side="right"))
    if keep == 0:
        raise ValueError(f"until must leave time for one update, got {until:g}; the first one ends at {times[0]:g}"
                         if times else f"until must leave time for one update, got {until:g}")
    return Trace(np.array(times[:keep]), np.array(chosen[:keep]), np.array(versions[:keep]), spans)
