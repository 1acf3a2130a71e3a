"""How a figure leaves the notebook: SVG while it is light, PNG beyond; the same bytes for the same figure."""

import base64
import io
import sys

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from PIL import Image

from dlopt.plotting.data import MIME, figure_csv

VECTOR_LIMIT = 1500  # points; an SVG of 5,000 points weighs twice its PNG, one of 50,000 five times (measured)


def vector_points(figure):
    """How many points an SVG of ``figure`` would have to spell out.

    Rasterized artists count too: an SVG with a picture inside weighs three times the PNG of the whole (measured).
    """
    artists = [a for ax in figure.axes for a in [*ax.lines, *ax.collections, *ax.patches] if a.get_visible()]
    return sum(_points(artist) for artist in artists)


def is_vector(figure):
    """Whether the book shows ``figure`` as SVG: at most `VECTOR_LIMIT` points."""
    return vector_points(figure) <= VECTOR_LIMIT


def _points(artist):
    if isinstance(artist, Collection):
        offsets = len(artist.get_offsets())
        vertices = sum(len(path.vertices) for path in artist.get_paths())
        return max(offsets, vertices)
    return len(artist.get_path().vertices)


def render(figure, format):
    """The bytes of ``figure`` as ``"svg"`` or ``"png"``, without date or software stamps: equal for equal figures.

    A PNG gets 256 colors: line art needs no more, and it weighs a third of the full one (measured). It says how large
    it is, in dots a metre.
    """
    stamp = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[format]
    target = io.BytesIO()
    figure.savefig(target, format=format, metadata=stamp)
    if format == "svg":
        return target.getvalue()
    drawn, small = Image.open(target), io.BytesIO()
    colors = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colors.save(small, "PNG", optimize=True, dpi=drawn.info["dpi"])
    return small.getvalue()


def _svg(figure):
    return render(figure, "svg").decode() if figure.axes and is_vector(figure) else None


def _png(figure):
    if not figure.axes or is_vector(figure):
        return None
    data = render(figure, "png")
    drawn = Image.open(io.BytesIO(data))
    shown = [round(pixels * 96 / dots) for pixels, dots in zip(drawn.size, drawn.info["dpi"])]  # in CSS pixels
    return base64.b64encode(data).decode(), dict(zip(("width", "height"), shown))  # read by JupyterLab


def install():
    """Make a notebook kernel show figures by the rule above; elsewhere do nothing.

    matplotlib's inline backend sets its own formats once, when it loads; it is loaded here so that ours come last.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or "inline" not in str(matplotlib.get_backend()):
        return
    plt.switch_backend(matplotlib.get_backend())
    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type(Figure, _svg)
    formatters["image/png"].for_type(Figure, _png)
    formatters[MIME] = _data_formatter(ipython.core.formatters.JSONFormatter, shell.display_formatter)


def _data_formatter(base, parent):
    """A formatter that adds a figure's numbers to its picture; nothing shows them but the book's site."""
    class FigureData(base):
        format_type, print_method = MIME, "_no_method_of_this_name_"

    formatter = FigureData(parent=parent)
    formatter.for_type(Figure, lambda figure: {"csv": text} if (text := figure_csv(figure)) else None)
    return formatter
