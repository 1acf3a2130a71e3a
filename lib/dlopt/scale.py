"""How big and with which seeds the book runs: ``DLOPT_SCALE`` and ``DLOPT_SEED``."""

import os

import torch

from dlopt.checks import one_of, whole

SCALES = ("quick", "full")
SEED_STRIDE = 10_000  # two values of DLOPT_SEED share no seed as long as a chapter uses fewer than this many


def scale():
    """``"quick"`` (default: two CPU cores, under two minutes a chapter) or ``"full"``, from ``DLOPT_SCALE``."""
    return one_of("DLOPT_SCALE", os.environ.get("DLOPT_SCALE", "quick"), SCALES)


def pick(quick, full):
    """Return the argument that belongs to the current scale."""
    return full if scale() == "full" else quick


def base_seed():
    """The whole number in ``DLOPT_SEED`` (default 0); it shifts every seed of the book."""
    text = os.environ.get("DLOPT_SEED", "0")
    try:
        return int(text) if int(text) >= 0 else whole("DLOPT_SEED", int(text), low=0)
    except ValueError:
        raise ValueError(f"DLOPT_SEED must be a whole number >= 0, got {text!r}") from None


def seed(i=0):
    """The ``i``-th seed of the current ``DLOPT_SEED``."""
    return base_seed() * SEED_STRIDE + whole("i", i, low=0)


def seeds(n, start=0):
    """``n`` distinct seeds, shifted by ``DLOPT_SEED``; ``start`` leaves the first ones to another experiment."""
    return [seed(start + i) for i in range(whole("n", n))]


def generator(seed, device="cpu"):
    """A fresh ``torch.Generator`` on ``device``, seeded with ``seed``."""
    return torch.Generator(device=device).manual_seed(seed)
