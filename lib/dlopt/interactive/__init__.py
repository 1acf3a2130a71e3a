"""Interactive figures: small self-contained scripts inlined into the page.

They work from a server, from ``file://`` and in JupyterLab, by mouse, touch and keyboard, follow light and dark themes,
say in words what they show, and fetch nothing. Each weighs less than 25 kB with the framework it brings along.
"""

from dlopt.interactive.clusters import workers
from dlopt.interactive.figure import Interactive, figures
from dlopt.interactive.gallery import descent, estimators, noise_scale, optimizer_race, phase_map, schedule_exponent
from dlopt.interactive.live import Live
from dlopt.interactive.tradeoffs import pareto_explorer

__all__ = ["Interactive", "Live", "descent", "estimators", "figures", "noise_scale", "optimizer_race",
           "pareto_explorer", "phase_map", "schedule_exponent", "workers"]
