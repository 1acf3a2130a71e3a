"""Palette, line styles, sizes and direct labels: what makes every figure of the book look like one hand drew it."""

import matplotlib
import matplotlib.pyplot as plt

# Blue and vermillion are Okabe and Ito's; the others were chosen so that each line keeps a contrast of 3:1 against
# white and any two stay far apart for readers with protanopia or deuteranopia (tests compute both).
PALETTE = {"blue": "#0072b2", "vermillion": "#d55e00", "green": "#148f7a", "purple": "#a32fe0", "brown": "#5c2e00",
           "black": "#222222", "gray": "#767676"}
LINESTYLES = ["-", (0, (6, 2)), (0, (2, 1.4)), (0, (7, 2, 1.5, 2)), (0, (10, 3)), "-"]
WIDTH, HEIGHT = 6.4, 3.6  # inches, for one panel

RC = {
    "figure.figsize": (WIDTH, HEIGHT), "figure.dpi": 100, "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 150, "savefig.facecolor": "white", "savefig.bbox": "tight", "savefig.pad_inches": 0.06,
    "svg.hashsalt": "dlopt", "svg.fonttype": "path",
    "axes.facecolor": "white", "axes.edgecolor": "#555555", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.7,
    "axes.titlesize": 11, "axes.titleweight": "normal", "axes.titlelocation": "left", "axes.labelsize": 10,
    "font.size": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "xtick.color": "#333333", "ytick.color": "#333333",
    "lines.linewidth": 1.8, "lines.markersize": 5, "legend.frameon": False, "legend.fontsize": 9,
    "axes.formatter.use_mathtext": True, "image.cmap": "cividis",
    "axes.prop_cycle": matplotlib.cycler(color=list(PALETTE.values())),
}


def apply_style():
    """Apply the book's look to matplotlib; called when `dlopt.plotting` is imported."""
    matplotlib.rcParams.update(RC)


def color(i):
    """The ``i``-th color of the palette (an int, cyclic), or the one of that name; other strings pass through."""
    if isinstance(i, str):
        return PALETTE.get(i, i)
    return list(PALETTE.values())[i % len(PALETTE)]


def line_style(i):
    """Color and dashes of the ``i``-th line of a panel: two lines never differ by color alone."""
    return {"color": color(i), "linestyle": LINESTYLES[i % len(LINESTYLES)]}


def subplots(rows=1, columns=1, *, height=None, width=None, **kwargs):
    """``plt.subplots`` in the book's sizes: panels share the page's width; further arguments go to matplotlib.

    Args:
        rows, columns: number of panels.
        height: inches per row; by default a panel is a little wider than high.
        width: inches of the whole figure (6.4 for one panel, 8.4 for several).

    Returns:
        The figure and the axes, as ``plt.subplots`` does.
    """
    width = width or (WIDTH if columns == 1 else 8.4)
    height = height or (HEIGHT if columns == 1 else max(2.6, 0.86 * width / columns))
    return plt.subplots(rows, columns, figsize=(width, height * rows), **kwargs)


def axes(ax=None, **kwargs):
    """``ax``, or the axes of a new figure of the book's size."""
    return subplots(**kwargs)[1] if ax is None else ax


def label_lines(ax, lines=None):
    """Name lines at their right ends, in their own color and without overlap, instead of in a legend.

    Args:
        ax: the axes.
        lines: the lines to name, each by its ``label``; by default all that have one. May be called again after adding
            lines or changing limits: earlier labels are replaced.

    Returns:
        The axes.
    """
    for old in [text for text in ax.texts if text.get_gid() == "line-label"]:
        old.remove()
    named = [line for line in (ax.lines if lines is None else lines) if not line.get_label().startswith("_")]
    ends = [(line, end) for line in named if (end := _last_point(ax, line)) is not None]
    ends.sort(key=lambda pair: pair[1][1])
    scale = 72 / ax.figure.dpi  # points per pixel
    heights = [height * scale for _, (_, height) in ends]
    for (line, (point, _)), height, place in zip(ends, heights, _spread(heights, 12)):
        ax.annotate(line.get_label(), point, (6, place - height), textcoords="offset points", va="center", fontsize=9,
                    color=line.get_color(), gid="line-label", annotation_clip=False)
    return ax


def _spread(heights, gap):
    """Ascending heights moved as little as possible (least squares) so that neighbors are at least ``gap`` apart."""
    blocks = []  # (number of labels, mean of height - gap * rank): merge neighbors whose order is violated
    for rank, height in enumerate(heights):
        blocks.append((1, height - gap * rank))
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            (n, a), (m, b) = blocks.pop(-2), blocks.pop()
            blocks.append((n + m, (n * a + m * b) / (n + m)))
    levels = [level for n, level in blocks for _ in range(n)]
    return [level + gap * rank for rank, level in enumerate(levels)]


def _last_point(ax, line):
    """The last visible point of a line, and its height in pixels."""
    (low, high), xy = sorted(ax.get_xlim()), line.get_xydata()
    inside = [p for p in xy if p[0] == p[0] and p[1] == p[1] and abs(p[1]) != float("inf") and low <= p[0] <= high]
    if not inside:
        return None
    x, y = max(inside, key=lambda p: p[0])
    bottom, top = sorted(ax.get_ylim())
    y = min(max(y, bottom), top)
    return (x, y), ax.transData.transform((x, y))[1]
