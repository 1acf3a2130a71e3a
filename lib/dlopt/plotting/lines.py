"""Curves over training, learning-rate sweeps and rates of convergence."""

import numpy as np

from dlopt.checks import one_of
from dlopt.plotting.style import axes, color, label_lines, line_style
from dlopt.statistics import mean_interval

THEORY = (0, (4, 3))  # dashes of a line that was computed rather than measured


def as_array(values):
    """``values`` (tensor on any device, list, array) as a float64 NumPy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def curves(x, runs, labels=None, ax=None, *, center="mean", xlabel="step", ylabel="loss", log=False, start=0):
    """One line and one band per method: what its runs over several seeds did.

    Args:
        x: ``[T]`` values of the horizontal axis.
        runs: ``{label: [seeds, T]}``, or an array ``[methods, seeds, T]`` or ``[seeds, T]`` with ``labels``.
        labels: names of the methods.
        ax: axes to draw on; a new figure if None.
        center: ``"mean"`` with its 95 % t interval, or ``"median"`` with the range from the smallest to the largest run
            (better for losses that span decades).
        xlabel, ylabel: axis labels, with units.
        log: logarithmic vertical axis.
        start: index of the first line's color.

    Returns:
        The axes.

    Raises:
        ValueError: shapes that do not fit together, or an unknown ``center``.
    """
    one_of("center", center, ("mean", "median"))
    ax, x = axes(ax), as_array(x)
    if log:
        ax.set_yscale("log")
    for i, (label, values) in enumerate(_named(runs, labels).items(), start=start):
        if values.ndim != 2 or values.shape[1] != x.size:
            raise ValueError(f"runs must have shape [seeds, {x.size}], got {list(values.shape)} for {label!r}")
        middle, low, high = _summary(values, center)
        ax.plot(x, middle, label=label or "_", **line_style(i))
        if len(values) > 1:
            ax.fill_between(x, low, high, color=color(i), alpha=0.18, linewidth=0, rasterized=x.size > 500)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return label_lines(ax)


def sweep(lr, runs, labels=None, ax=None, *, xlabel="learning rate", ylabel="loss", log=False, center="median"):
    """A metric against the learning rate, with the band over seeds; rates at which a run diverged are marked.

    Args:
        lr: ``[K]`` learning rates (logarithmic axis).
        runs: ``{label: [K, seeds]}``, or an array ``[methods, K, seeds]`` or ``[K, seeds]`` with ``labels``. A run that
            is not finite counts as diverged: its rate is left out of the curve and gets a cross on the upper edge.
        labels, ax, xlabel, ylabel, log, center: as in `curves`.

    Returns:
        The axes.
    """
    one_of("center", center, ("mean", "median"))
    ax, lr = axes(ax), as_array(lr)
    ax.set_xscale("log")
    if log:
        ax.set_yscale("log")
    for i, (label, values) in enumerate(_named(runs, labels).items()):
        if values.ndim != 2 or values.shape[0] != lr.size:
            raise ValueError(f"runs must have shape [{lr.size}, seeds], got {list(values.shape)} for {label!r}")
        finite = np.isfinite(values).all(axis=1)
        middle, low, high = (np.full(lr.size, np.nan) for _ in range(3))
        if finite.any():
            middle[finite], low[finite], high[finite] = _summary(values[finite].T, center)
        ax.plot(lr, middle, marker="o", label=label or "_", **line_style(i))
        ax.fill_between(lr, low, high, color=color(i), alpha=0.18, linewidth=0)
        if not finite.all():  # a line without points would upset the layout
            ax.plot(lr[~finite], np.full((~finite).sum(), 0.985 - 0.05 * i), "x", color=color(i), clip_on=False,
                    transform=ax.get_xaxis_transform(), label="_diverged")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return label_lines(ax)


def rate_plot(steps, errors, theory=None, ax=None, *, xlabel="step", ylabel="error", loglog=False):
    """Errors that shrink, on a logarithmic axis, beside the rates that theory gives (dashed, thin, black).

    Args:
        steps: ``[T]``.
        errors: ``{label: [T] or [seeds, T]}``; several seeds are summarized by their median and range.
        theory: ``{label: [T]}`` or None.
        ax, xlabel, ylabel: as in `curves`.
        loglog: logarithmic steps too, on which powers of t are straight lines.

    Returns:
        The axes.
    """
    runs = {label: np.atleast_2d(as_array(e)) for label, e in errors.items()}
    ax = curves(steps, runs, ax=ax, center="median", xlabel=xlabel, ylabel=ylabel, log=True)
    if loglog:
        ax.set_xscale("log")
    for label, values in (theory or {}).items():
        ax.plot(as_array(steps), as_array(values), color=color("black"), linewidth=1, linestyle=THEORY, label=label)
    return label_lines(ax)


def _named(runs, labels):
    if isinstance(runs, dict):
        return {label: as_array(values) for label, values in runs.items()}
    runs = as_array(runs)
    runs = runs[None] if runs.ndim == 2 else runs
    labels = [""] * len(runs) if labels is None else [labels] if isinstance(labels, str) else list(labels)
    if len(labels) != len(runs):
        raise ValueError(f"labels must name {len(runs)} methods, got {len(labels)}")
    return dict(zip(labels, runs)) if len(set(labels)) == len(labels) else {i: run for i, run in enumerate(runs)}


def _summary(values, center):
    """Middle, lower and upper line of ``[seeds, T]``."""
    if center == "mean" and len(values) > 1:
        return tuple(mean_interval(values))
    middle = values.mean(axis=0) if center == "mean" else np.median(values, axis=0)
    return middle, values.min(axis=0), values.max(axis=0)
