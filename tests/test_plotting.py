"""Figures: one look, safe colors, nothing shown or trained, and the same bytes for the same figure."""

import io
import warnings

import matplotlib
import matplotlib.colors as mcolors
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

matplotlib.use("agg")

from dlopt import objectives, plotting, rules  # noqa: E402
from dlopt.plotting import output, style  # noqa: E402
from dlopt.statistics import mean_interval  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def linear(color):
    rgb = np.array(mcolors.to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast_with_white(color):
    return 1.05 / (linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05)


# Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB
DEFICIENCY = {
    "none": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
}


def lab(color, deficiency):
    rgb = np.clip(DEFICIENCY[deficiency] @ linear(color), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# --- the palette

def test_every_color_stands_out_from_white():
    assert min(contrast_with_white(color) for color in plotting.PALETTE.values()) >= 3


@pytest.mark.parametrize("deficiency", DEFICIENCY)
def test_any_two_of_the_first_five_colors_stay_apart_for_color_blind_readers(deficiency):
    colors = [lab(color, deficiency) for color in list(plotting.PALETTE.values())[:5]]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(colors) for b in colors[i + 1:]]
    assert min(distances) > 20  # a just noticeable difference is about 2.3


def test_red_and_green_of_equal_lightness_would_fail_that_test():
    assert np.linalg.norm(lab("#c05040", "deuteranopia") - lab("#7a7a30", "deuteranopia")) < 15


def test_lines_of_one_panel_differ_by_dashes_as_well_as_color():
    looks = [style.line_style(i) for i in range(5)]
    assert len({str(look["linestyle"]) for look in looks}) == 5 and len({look["color"] for look in looks}) == 5


def test_the_look_is_applied_on_import_and_figures_are_white():
    figure, _ = plotting.subplots()
    assert mcolors.to_hex(figure.get_facecolor()) == "#ffffff" and matplotlib.rcParams["svg.hashsalt"] == "dlopt"


# --- helpers take data and return axes

RUNS = np.exp(-np.arange(30) / 10) + np.random.default_rng(0).normal(0, 0.05, (3, 5, 30))


def test_curves_draw_the_mean_and_its_interval():
    ax = plotting.curves(np.arange(30), RUNS, ["a", "b", "c"])
    line, band = ax.lines[0], ax.collections[0]
    mean, low, high = mean_interval(RUNS[0])
    assert np.allclose(line.get_ydata(), mean)
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() == pytest.approx(low.min()) and vertices[:, 1].max() == pytest.approx(high.max())
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"] or len(ax.texts) == 3


def test_curves_with_a_median_show_the_range_of_the_runs():
    ax = plotting.curves(np.arange(30), {"a": torch.tensor(RUNS[0])}, center="median")
    assert np.allclose(ax.lines[0].get_ydata(), np.median(RUNS[0], axis=0))
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(RUNS[0].max())


@pytest.mark.parametrize("call, message", [
    (lambda: plotting.curves(np.arange(29), RUNS), r"runs must have shape \[seeds, 29\], got \[5, 30\]"),
    (lambda: plotting.curves(np.arange(30), RUNS, ["a"]), "labels must name 3 methods, got 1"),
    (lambda: plotting.curves(np.arange(30), RUNS, center="mode"), "center must be one of mean, median"),
    (lambda: plotting.sweep([1, 2], np.ones((3, 5))), r"runs must have shape \[2, seeds\], got \[3, 5\]"),
    (lambda: plotting.contours(lambda x: x.sum(-1)), "domain must be"),
    (lambda: plotting.trajectory(np.ones((5, 3))), r"path must have shape \[T\+1, 2\], got \[5, 3\]"),
    (lambda: plotting.histogram([np.nan]), "at least one finite number"),
])
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_diverged_rate_is_left_out_of_the_sweep_and_marked():
    values = np.ones((4, 5))
    values[3, 2] = np.inf
    ax = plotting.sweep([0.1, 0.2, 0.4, 0.8], {"SGD": values})
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False, False, False, True]
    assert ax.lines[1].get_xdata().tolist() == [0.8] and ax.get_xscale() == "log"


def test_the_theory_line_is_dashed_and_unlike_the_measured_one():
    steps = np.arange(50)
    ax = plotting.rate_plot(steps, {"run": 0.9**steps}, {"theory": 0.9**steps})
    assert [line.get_label() for line in ax.lines] == ["run", "theory"] and ax.get_yscale() == "log"
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()


def test_contours_mark_the_minima_and_keep_the_domain():
    ax = plotting.contours(objectives.himmelblau(), resolution=40)
    assert len(ax.lines[0].get_xdata()) == 4 and ax.get_xlim() == (-6, 6)


def test_a_path_ends_where_it_stops_being_finite():
    run = objectives.trajectory(objectives.quadratic([1.0, 1.0]), rules.sgd, steps=3000, lr=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plotting.trajectory(run, plotting.contours(objectives.quadratic([1.0, 1.0]), resolution=20), label="GD")
    assert np.isfinite(ax.lines[1].get_xydata()).all() and ax.texts[0].get_text() == "GD"


def test_a_spectrum_shows_every_eigenvalue_on_its_side_of_zero():
    ax = plotting.spectrum({"a": [-2.0, -0.5, 0.0, 1.0], "b": torch.ones(3)})
    drawn = [len(collection.get_segments()) for collection in ax.collections]
    assert drawn == [2, 2, 3, 0] and [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def test_a_histogram_counts_all_finite_values():
    ax = plotting.histogram({"a": [1.0, 2.0, np.nan], "b": [3.0]}, bins=5)
    assert sum(patch.get_data().values.sum() for patch in ax.patches) == 2 * 3  # outline and fill


@pytest.mark.parametrize("helper", [
    lambda ax: plotting.curves(np.arange(30), RUNS, ax=ax),
    lambda ax: plotting.sweep([1, 2, 3], np.ones((3, 5)), ax=ax),
    lambda ax: plotting.rate_plot([1, 2], {"a": [1, 0.5]}, ax=ax), lambda ax: plotting.histogram([1.0, 2.0], ax=ax),
    lambda ax: plotting.spectrum([1.0], ax=ax), lambda ax: plotting.scatter([1, 2], [1, 2], ax=ax),
    lambda ax: plotting.contours(objectives.saddle(), ax=ax, resolution=9),
    lambda ax: plotting.trajectory(np.ones((3, 2)), ax=ax),
])
def test_a_helper_draws_on_the_axes_it_is_given_and_returns_them(helper):
    _, ax = plotting.subplots()
    assert helper(ax) is ax and len(plt.get_fignums()) == 1


# --- labels

def test_labels_at_line_ends_do_not_overlap_and_follow_the_order_of_the_lines():
    ax = plotting.curves(np.arange(30), {name: np.full((2, 30), 1 + 1e-3 * i) for i, name in enumerate("abcde")})
    ax.figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    order = [boxes[name] for name in "abcde"]
    assert all(lower.y1 <= upper.y0 + 2 for lower, upper in zip(order, order[1:]))


def test_labels_that_have_room_stay_at_their_lines():
    assert style._spread([0.0, 50.0, 100.0], 12) == [0.0, 50.0, 100.0]
    assert style._spread([10.0, 10.0], 12) == [4.0, 16.0]


def test_labelling_again_replaces_the_labels():
    ax = plotting.curves(np.arange(30), RUNS, ["a", "b", "c"])
    plotting.label_lines(ax)
    assert len(ax.texts) == 3


# --- how a figure leaves the notebook

def test_few_points_are_svg_and_many_are_png_whatever_draws_them():
    few = plotting.curves(np.arange(30), RUNS).figure
    many = plotting.scatter(np.arange(3000), np.arange(3000)).figure
    assert plotting.is_vector(few) and not plotting.is_vector(many) and plotting.vector_points(many) >= 3000


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_figure_is_the_same_bytes(kind):
    first, again = (output.render(plotting.curves(np.arange(30), RUNS, ["a", "b", "c"]).figure, kind) for _ in range(2))
    assert first == again and b"<dc:date>" not in first and b"Matplotlib v" not in first


def test_a_png_says_how_large_it_is_on_the_page_and_in_jupyterlab():
    figure = plotting.scatter(range(2000), range(2000)).figure
    with Image.open(io.BytesIO(output.render(figure, "png"))) as picture:
        assert np.allclose(picture.info["dpi"], matplotlib.rcParams["savefig.dpi"], atol=.1)
        width = picture.size[0] * 96 / picture.info["dpi"][0]
    assert output._png(figure)[1]["width"] == round(width) < 700


def test_a_png_keeps_the_colors_of_the_palette():
    ax = plotting.curves(np.arange(30), {name: np.full((2, 30), i) for i, name in enumerate("abcde")})
    with Image.open(io.BytesIO(output.render(ax.figure, "png"))) as picture:
        found = np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)
    for color in list(plotting.PALETTE.values())[:5]:
        wanted = np.array([int(color[i: i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(found.astype(int) - wanted).max(axis=1).min() <= 6


def test_a_kernel_shows_svg_or_png_by_the_rule_even_in_its_first_cell():
    cells = ["from dlopt import plotting\nplotting.curves([0, 1], [[[1.0, 0.5]]]);",
             "plotting.scatter(range(2000), range(2000));",
             "import matplotlib.pyplot as plt\nplt.plot([0, 1]);"]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
    shown = [{kind for out in cell.outputs for kind in out.get("data", {}) if kind.startswith("image")}
             for cell in notebook.cells]
    assert shown == [{"image/svg+xml"}, {"image/png"}, {"image/svg+xml"}]
    data = [out["data"][plotting.data.MIME]["csv"] for cell in notebook.cells for out in cell.outputs]
    assert data[2] == "panel,horizontal axis,vertical axis,series,x,y\n1,,,line 1,0,0\n1,,,line 1,1,1\n"


def test_the_data_of_a_figure_is_what_it_shows():
    ax = plotting.subplots()[1]
    ax.plot([1, 2], [3.0, np.nan], label="$\\eta$ = 1")
    ax.fill_between([0, 1], [0, 0], [1, 1])
    ax.scatter([5], [6], label="a point")
    ax.bar([1], [2], width=0.5)
    ax.axvline(7)
    ax.set(xlabel="step", ylabel="loss, nats")
    ax.contour(np.arange(9).reshape(3, 3))
    rows = plotting.figure_rows(ax.figure)
    assert {row[:3] for row in rows} == {(1, "step", "loss, nats")}
    series = {name: [row[4:] for row in rows if row[3] == name] for name in dict.fromkeys(row[3] for row in rows)}
    assert series["\\eta = 1"] == [(1, 3)] and series["a point"] == [(5, 6)] and series["bars"] == [(1, 2)]
    assert {(0, 0), (1, 1), (0, 1), (1, 0)} == set(series.pop("band 1"))
    assert set(series) == {"\\eta = 1", "a point", "bars"}, "a line across the panel or a contour is no data"


def test_a_figure_without_data_or_with_too_much_has_no_table():
    assert plotting.figure_csv(plotting.subplots()[0]) is None
    ax = plotting.scatter(np.arange(20_001), np.arange(20_001))
    assert plotting.figure_csv(ax.figure) is None
