"""Compression: which of a network's parameters are needed, and what the rest costs in bytes and in time."""

from dlopt.compression.pruning import (
    Mask,
    bake,
    geometric_stages,
    iterative_prune,
    magnitude_prune,
    masks,
    prunable,
    rewind,
    sparsity,
)
from dlopt.compression.structured import shrink, unit_norms
from dlopt.compression.together import accuracies, masked_adam, retrain

__all__ = ["Mask", "accuracies", "bake", "geometric_stages", "iterative_prune", "magnitude_prune", "masked_adam",
           "masks", "prunable", "retrain", "rewind", "shrink", "sparsity", "unit_norms"]
