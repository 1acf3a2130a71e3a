"""``Dataset``: six tensors and what is known about them."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from dlopt.checks import in_closed

FRACTIONS = (0.6, 0.2, 0.2)  # train, validation, test


@dataclass(frozen=True)
class Dataset:
    """Training, validation and test examples as tensors that live on one device.

    Attributes:
        name: what it is, with the knobs that made it.
        x_train, x_val, x_test: inputs, first axis = examples; floating point, or whole numbers for text.
        y_train, y_val, y_test: targets: class numbers (int64, [n]) or real values ([n, d_out]).
        n_classes: number of classes; None for regression.
        licence: terms under which the data may be passed on.
        details: further facts by name (feature names, scaling constants, the seed).

    Raises:
        ValueError: inputs and targets of a split differ in length, a split is empty, or a class number is not in
            0 ... n_classes - 1.
    """

    name: str
    x_train: torch.Tensor
    y_train: torch.Tensor
    x_val: torch.Tensor
    y_val: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    n_classes: int | None = None
    licence: str = ""
    details: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        for split in ("train", "val", "test"):
            x, y = getattr(self, f"x_{split}"), getattr(self, f"y_{split}")
            if len(x) != len(y) or len(x) == 0:
                lengths = f"{len(x)} and {len(y)}"
                raise ValueError(f"x_{split} and y_{split} must be equally long and not empty, got {lengths}")
            checkable = self.n_classes is not None and y.device.type != "meta"
            if checkable and (y.min() < 0 or y.max() >= self.n_classes):
                raise ValueError(f"y_{split} must lie in 0 ... {self.n_classes - 1}, got {y.min()} ... {y.max()}")

    @property
    def train(self):
        """``(x_train, y_train)``."""
        return self.x_train, self.y_train

    @property
    def val(self):
        """``(x_val, y_val)``: for every choice that is made after looking."""
        return self.x_val, self.y_val

    @property
    def test(self):
        """``(x_test, y_test)``: for the final number only."""
        return self.x_test, self.y_test

    @property
    def input_shape(self):
        """Shape of one input, without the axis of examples."""
        return tuple(self.x_train.shape[1:])

    def to(self, device=None, dtype=None):
        """The same data on ``device``, floating-point tensors in ``dtype``; whole numbers keep their type."""
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        moved = {k: v.to(device, dtype if v.is_floating_point() else None) for k, v in tensors.items()}
        return replace(self, **moved)

    def flat(self):
        """The same data with every input as one vector, [n, d]."""
        return replace(self, **{k: getattr(self, k).flatten(1) for k in ("x_train", "x_val", "x_test")})

    def __repr__(self):
        sizes = " + ".join(str(len(getattr(self, f"y_{split}"))) for split in ("train", "val", "test"))
        kind = "regression" if self.n_classes is None else f"{self.n_classes} classes"
        return f"Dataset({self.name!r}, {sizes} examples of shape {self.input_shape}, {kind})"


def stream(purpose, *key):
    """A CPU generator of its own for every purpose and key: equal ones give equal draws, others independent ones.

    Args:
        purpose: a word, so that two uses of one seed have nothing in common.
        key: whole numbers.
    """
    digest = hashlib.sha256(repr((purpose, *map(int, key))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def split_indices(y, seed, fractions=FRACTIONS, stratify=True):
    """Three disjoint sets of row numbers that cover all rows, fixed by ``seed``.

    Args:
        y: targets, [n]; with ``stratify`` every class is divided in the same proportions.
        seed: whole number >= 0.
        fractions: shares of train, validation and test; they add to 1.

    Returns:
        Three int64 tensors (train, validation, test), each in random order.
    """
    if len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three shares that add to 1, got {fractions}")
    for share in fractions:
        in_closed("each of fractions", share)
    g = stream("split", seed)
    groups = [torch.nonzero(y == c).flatten() for c in y.unique()] if stratify else [torch.arange(len(y))]
    parts = ([], [], [])
    for group in groups:
        group = group[torch.randperm(len(group), generator=g)]
        ends = np.rint(np.cumsum((0, *fractions)) * len(group)).astype(int)
        for part, low, high in zip(parts, ends[:-1], ends[1:]):
            part.append(group[low:high])
    return tuple(torch.cat(part)[torch.randperm(sum(map(len, part)), generator=g)] for part in parts)
