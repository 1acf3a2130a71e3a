"""Our optimizers beside those of PyTorch: which is the twin of which, and how far apart the two get."""

from dataclasses import dataclass

import torch

from dlopt.checks import one_of, whole
from dlopt.optimizers.adapter import Optimizer
from dlopt.scale import generator

TWINS = {
    "sgd": ("sgd", {"lr": 0.01}, torch.optim.SGD, {"lr": 0.01}),
    "momentum": ("momentum", {"lr": 0.01}, torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "nesterov": ("nesterov", {"lr": 0.01}, torch.optim.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    "adagrad": ("adagrad", {}, torch.optim.Adagrad, {}),
    "rmsprop": ("rmsprop", {}, torch.optim.RMSprop, {}),
    "adadelta": ("adadelta", {}, torch.optim.Adadelta, {}),
    "adam": ("adam", {}, torch.optim.Adam, {}),
    "amsgrad": ("amsgrad", {}, torch.optim.Adam, {"amsgrad": True}),
    "adam with L2": ("adam", {"l2": 0.1}, torch.optim.Adam, {"weight_decay": 0.1}),
    "adamw": ("adamw", {"weight_decay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
    "nadam": ("nadam", {}, torch.optim.NAdam, {}),
    "radam": ("radam", {}, torch.optim.RAdam, {}),
    "muon": ("muon", {"precision": torch.bfloat16}, torch.optim.Muon, {"weight_decay": 0.0}),
}
"""Name -> (rule, our settings, PyTorch's class, its settings)."""


def distance_to_torch(name, *, steps=200, seed=0):
    r"""Largest distance of any parameter between our optimizer and PyTorch's on the same gradients.

    Both start from the same random matrix :math:`\theta` [3, 4] in float64 and get the gradients
    :math:`h\,\theta_t + \xi_t`, with curvatures h from 0.01 to 10 and normal noise; ours are taken at our parameters,
    theirs at theirs.

    Args:
        name: one of ``TWINS``.
        steps: number of steps, >= 1.
        seed: of start and noise.

    Returns:
        The largest absolute difference over all steps and coordinates.

    Raises:
        ValueError: unknown name, no steps.
    """
    rule, ours, twin, theirs = TWINS[one_of("name", name, TWINS)]
    g = generator(seed)
    start = torch.randn(3, 4, generator=g, dtype=torch.float64)
    a, b = (torch.nn.Parameter(start.clone()) for _ in range(2))
    one, other = Optimizer([a], rule, **ours), twin([b], **theirs)
    h, worst = torch.logspace(-2, 1, 12, dtype=torch.float64).view(3, 4), 0.0
    for _ in range(whole("steps", steps)):
        noise = torch.randn(3, 4, generator=g, dtype=torch.float64)
        a.grad, b.grad = h * a.detach() + noise, h * b.detach() + noise
        one.step(), other.step()
        worst = max(worst, (a - b).abs().max().item())
    return worst


@dataclass
class TwinDistances:
    """Distances of our optimizers from PyTorch's, see :func:`compare_with_torch`.

    Attributes:
        distances: name of ``TWINS`` -> largest distance of each run, [S].
    """

    distances: dict

    def table(self):
        """One line per optimizer, as Markdown text: PyTorch's class and the largest distance of all runs."""
        rows = [f"| {name} | `torch.optim.{TWINS[name][2].__name__}` | {_short(max(found))} |"
                for name, found in self.distances.items()]  # fmt: skip
        return "\n".join(["| ours | PyTorch's | largest distance |", "| --- | --- | --- |", *rows])


def _short(distance):
    return "0" if distance == 0 else f"{distance:.0e}"


def compare_with_torch(seeds, *, steps=200):
    """:func:`distance_to_torch` for all of ``TWINS``.

    Args:
        seeds: of the runs, S whole numbers.
        steps: of each run.

    Returns:
        :class:`TwinDistances`; ``print(compare_with_torch(range(5)).table())``.
    """
    return TwinDistances({name: [distance_to_torch(name, steps=steps, seed=seed) for seed in seeds] for name in TWINS})
