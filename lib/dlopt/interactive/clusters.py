"""Figures about training on several machines."""

from dlopt.checks import in_closed, one_of, whole
from dlopt.interactive.figure import Interactive


def workers(mode="sync", *, workers=6, backups=0, chance=0.1, delay=8.0, id="workers"):
    """Gantt chart of workers and a server, with the number of gradients used beside it.

    A gradient takes 1 time unit, give or take a tenth, and now and then a delay; the traces are those of
    `dlopt.distributed.simulate`.

    Args:
        mode: ``"sync"`` or ``"async"``.
        workers: M, 1 ... 16.
        backups: how many of them a synchronous round does not wait for, 0 ... 8 (and below M).
        chance: of a delay, in [0, 0.5].
        delay: in units of an undelayed computation, in [0, 20].
        id: HTML id, unique on its page.

    Returns:
        The figure; it displays itself as the last expression of a cell.

    Raises:
        ValueError: an argument out of its range.
    """
    config = {"mode": one_of("mode", mode, ("sync", "async")),
              "workers": in_closed("workers", whole("workers", workers), 1, 16),
              "backups": in_closed("backups", whole("backups", backups, low=0), 0, min(8, workers - 1)),
              "chance": in_closed("chance", chance, 0, 0.5), "delay": in_closed("delay", delay, 0, 20)}
    return Interactive("workers", "Who waits for whom?", "Change the delays, add workers and backups, let the server "
                       "wait or not; bars are gradients, lines the synchronous updates.", config, id)
