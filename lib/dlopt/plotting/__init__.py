"""The book's figures: one visual language, applied on import.

Helpers take data and an optional ``ax``, return the axes, and neither train nor call ``plt.show``. Lines are named at
their ends rather than in a legend; bands are 95 % intervals over seeds unless the caption says otherwise.
"""

from dlopt.plotting.data import figure_csv, figure_rows
from dlopt.plotting.lines import curves, rate_plot, sweep
from dlopt.plotting.output import install, is_vector, vector_points
from dlopt.plotting.races import race
from dlopt.plotting.style import LINESTYLES, PALETTE, apply_style, color, label_lines, subplots
from dlopt.plotting.surfaces import contours, trajectory
from dlopt.plotting.values import histogram, scatter, spectrum

__all__ = ["LINESTYLES", "PALETTE", "apply_style", "color", "contours", "curves", "figure_csv", "figure_rows",
           "histogram", "is_vector",
           "label_lines", "race", "rate_plot", "scatter", "spectrum", "subplots", "sweep", "trajectory",
           "vector_points"]

apply_style()
install()
