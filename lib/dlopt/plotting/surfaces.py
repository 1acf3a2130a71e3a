"""Surfaces over two parameters and the paths that methods take on them."""

import numpy as np
import torch
from matplotlib.patheffects import withStroke

from dlopt.plotting.lines import as_array
from dlopt.plotting.style import axes, color, line_style


def contours(objective, ax=None, *, domain=None, levels=18, resolution=160, log=True, xlabel="$x$", ylabel="$y$"):
    """Level lines of a function of two parameters, thin and gray so that paths stand out; minima are stars.

    Args:
        objective: a `dlopt.objectives.Objective` with ``dimension == 2`` (or any function of points ``[..., 2]``).
        ax: axes to draw on; a new, square figure if None.
        domain: ``((x_low, x_high), (y_low, y_high))``; the objective's own if None.
        levels: number of level lines.
        resolution: points per axis at which the function is evaluated.
        log: levels equally spaced in the logarithm of the height above the lowest point of the grid.
        xlabel, ylabel: axis labels.

    Returns:
        The axes.

    Raises:
        ValueError: no domain given and none known.
    """
    domain = domain if domain is not None else getattr(objective, "domain", None)
    if domain is None:
        raise ValueError("domain must be ((x_low, x_high), (y_low, y_high)): this objective has none of its own")
    ax = axes(ax, width=4.6, height=4.2)
    x, y = (np.linspace(low, high, resolution) for low, high in domain)
    grid = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1))
    z = as_array(objective(grid))
    ax.contour(x, y, z, levels=_levels(z, levels, log), colors="#9a9a9a", linewidths=0.7)
    minima = getattr(objective, "minima", None)
    if minima is not None:
        ax.plot(*as_array(minima).T, "*", color=color("black"), markersize=10, label="_minimum", zorder=4)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=domain[0], ylim=domain[1])
    ax.grid(False)
    return ax


def trajectory(path, ax=None, *, label=None, index=0, markers=True):
    """The path of a method over a surface: a line with a dot for every step, an open circle at the start.

    Args:
        path: points ``[T+1, 2]``, or a `dlopt.objectives.Trajectory`. Points that are not finite end the line.
        ax: axes, usually those that `contours` returned.
        label: name, written at the end of the path.
        index: which color and dashes of the palette.
        markers: draw the dots.

    Returns:
        The axes.

    Raises:
        ValueError: points that do not have two coordinates.
    """
    ax, points = axes(ax), as_array(getattr(path, "positions", path))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"path must have shape [T+1, 2], got {list(points.shape)}")
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    points = points[: bad[0]] if bad.size else points
    look = line_style(index)
    ax.plot(*points.T, label=label or "_", marker="o" if markers else None, markersize=2.6, linewidth=1.3,
            rasterized=len(points) > 1000, **look)
    ax.plot(*points[:1].T, "o", markersize=7, markerfacecolor="white", color=look["color"], label="_start", zorder=5)
    return label_path(ax, points, label, look["color"]) if label else ax


def label_path(ax, points, label, ink):
    """Write ``label`` beside the last point of a path that lies inside the axes."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    inside = (points[:, 0] >= left) & (points[:, 0] <= right) & (points[:, 1] >= bottom) & (points[:, 1] <= top)
    if inside.any():
        last = points[np.flatnonzero(inside)[-1]]
        ax.annotate(label, last, (6, 6), textcoords="offset points", color=ink, fontsize=9,
                    path_effects=[withStroke(linewidth=3, foreground="white")])
    return ax


def _levels(z, number, log):
    finite = z[np.isfinite(z)]
    low, high = finite.min(), finite.max()
    if not log:
        return np.linspace(low, high, number + 2)[1:-1]
    span = max(high - low, np.finfo(float).tiny)
    return low + span * np.geomspace(3e-4, 0.9, number)
