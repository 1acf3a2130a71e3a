"""The numbers behind a figure, read off what is drawn, so that every figure of the book comes with its data."""

import csv
import io

import numpy as np
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.patches import Rectangle

MIME = "application/vnd.dlopt.figure+json"
HEADER = ("panel", "horizontal axis", "vertical axis", "series", "x", "y")
LIMIT = 20_000  # rows; a larger figure is a picture of a computation that its code describes better


def figure_rows(figure):
    """What a figure shows, as rows (panel, its horizontal and vertical axis, series, x, y).

    Lines and scattered points give their points, bands the points of their outline, error bars their ends, bars the
    middle of their tops. Pictures and contours give nothing. Panels count from 1; series carry their label or kind.

    Args:
        figure: a matplotlib ``Figure``.
    """
    rows = []
    for panel, ax in enumerate(figure.axes, start=1):
        names = panel, _plain(ax.get_xlabel()), _plain(ax.get_ylabel())
        for name, points in _series(ax):
            rows += [(*names, name, float(x), float(y)) for x, y in points if np.isfinite(x) and np.isfinite(y)]
    return rows


def figure_csv(figure):
    """The rows of `figure_rows` as CSV text with a header; None if there are none or more than ``LIMIT``."""
    rows = figure_rows(figure)
    if not 0 < len(rows) <= LIMIT:
        return None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([*row[:4], f"{row[4]:.6g}", f"{row[5]:.6g}"] for row in rows)
    return text.getvalue()


def _series(ax):
    for number, line in enumerate(ax.lines, start=1):
        if line.get_visible() and line.get_transform().contains_branch(ax.transData):
            yield _name(line, f"line {number}"), np.asarray(line.get_xydata(), float)
    for number, collection in enumerate(ax.collections, start=1):
        if not collection.get_visible():
            continue
        if isinstance(collection, PathCollection):
            points = np.ma.asarray(collection.get_offsets(), float)
            yield _name(collection, f"points {number}"), points.filled(np.nan)
        elif isinstance(collection, PolyCollection | LineCollection):
            kind = "error bars" if isinstance(collection, LineCollection) else "band"
            for path in collection.get_paths():
                yield _name(collection, f"{kind} {number}"), path.vertices
    for bar in ax.patches:
        if isinstance(bar, Rectangle) and bar.get_visible():
            yield _name(bar, "bars"), [(bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height())]


def _name(artist, otherwise):
    label = str(artist.get_label())
    return otherwise if not label or label.startswith("_") else _plain(label)


def _plain(text):
    return " ".join(str(text).replace("$", "").split())
