"""Distributions: histograms, spectra and clouds of points."""

import math

import numpy as np

from dlopt.plotting.lines import as_array
from dlopt.plotting.style import axes, color, line_style


def histogram(values, ax=None, *, bins=30, xlabel="value", ylabel="count", log=False):
    """Histograms as outlines with a light fill, so that several can share a panel.

    Args:
        values: ``{label: [N]}`` or an array ``[N]``; values that are not finite are left out.
        ax: axes to draw on; a new figure if None.
        bins: number of bins, common to all, or their edges.
        xlabel, ylabel: axis labels.
        log: logarithmic counts.

    Returns:
        The axes.

    Raises:
        ValueError: no finite value.
    """
    ax = axes(ax)
    groups = {label: as_array(v).ravel() for label, v in (values if isinstance(values, dict) else {"": values}).items()}
    groups = {label: v[np.isfinite(v)] for label, v in groups.items()}
    together = np.concatenate(list(groups.values()))
    if together.size == 0:
        raise ValueError("values must hold at least one finite number")
    edges = np.histogram_bin_edges(together, bins)
    for i, (label, v) in enumerate(groups.items()):
        counts = np.histogram(v, edges)[0]
        ax.stairs(counts, edges, color=color(i), alpha=0.2, fill=True)
        ax.stairs(counts, edges, label=label or "_", linewidth=1.5, **line_style(i))
    if log:
        ax.set_yscale("log")
    if any(groups):
        ax.legend()
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def spectrum(eigenvalues, ax=None, *, xlabel="eigenvalue", linthresh=1e-3):
    """Eigenvalues as sticks on a signed logarithmic axis, one row per matrix; negative ones are vermillion.

    Args:
        eigenvalues: ``{label: [n]}`` or an array ``[n]``.
        ax: axes to draw on; a new figure if None.
        xlabel: axis label.
        linthresh: the axis is linear between plus and minus this value.

    Returns:
        The axes.
    """
    rows = eigenvalues if isinstance(eigenvalues, dict) else {"": eigenvalues}
    ax = axes(ax, height=0.7 + 0.7 * len(rows))
    for i, values in enumerate(rows.values()):
        values = as_array(values).ravel()
        for part, ink in ((values[values >= 0], color("blue")), (values[values < 0], color("vermillion"))):
            ax.vlines(part, -i - 0.35, -i + 0.35, color=ink, linewidth=0.9, alpha=0.75, rasterized=part.size > 500)
    ax.axvline(0, color="#555555", linewidth=0.8)
    ax.set_xscale("symlog", linthresh=linthresh)
    inches = ax.get_position().width * ax.figure.get_figwidth()
    ax.set_xticks(_signed_decades(ax.get_xlim(), linthresh, each=3 if inches > 3.2 else 1))
    ax.set_yticks([-i for i in range(len(rows))], list(rows))
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=xlabel)
    return ax


def _signed_decades(limits, linthresh, each):
    """Zero and at most ``each`` powers of ten on either side of it, within the limits."""
    first = math.ceil(math.log10(linthresh))

    def side(limit):
        powers = list(range(first, math.floor(math.log10(limit)) + 1)) if limit >= 10**first else []
        return [10.0**p for p in powers[:: -max(1, math.ceil(len(powers) / each))]]

    return sorted([-x for x in side(-limits[0])] + [0.0] + side(limits[1]))


def scatter(x, y, ax=None, *, label=None, index=0, xlabel="", ylabel=""):
    """Points; rasterized above a thousand of them.

    Args:
        x, y: ``[N]``.
        ax: axes to draw on; a new figure if None.
        label: name for the legend.
        index: which color of the palette.
        xlabel, ylabel: axis labels (left alone if empty).

    Returns:
        The axes.
    """
    ax, x, y = axes(ax), as_array(x).ravel(), as_array(y).ravel()
    ax.scatter(x, y, s=14, color=color(index), alpha=0.7 if x.size < 300 else 0.35, linewidth=0, label=label,
               rasterized=x.size > 1000)
    if xlabel:
        ax.set_xlabel(xlabel)
    if ylabel:
        ax.set_ylabel(ylabel)
    return ax
