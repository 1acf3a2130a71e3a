"""Fair comparisons of pruned models: every arm gets the same number of steps, the dense control too."""

import copy

from dlopt.checks import one_of, whole
from dlopt.compression.pruning import geometric_stages, magnitude_prune
from dlopt.compression.together import retrain

ARMS = ("dense", "one-shot", "iterative", "random")


def retrain_pruned(models, data, sparsity, *, arm, steps, stages=4, **settings):
    """Prune models to one sparsity in one of several ways and retrain them, with the same number of steps in each.

    Args:
        models: trained models of one architecture; not changed.
        data, settings: as in `dlopt.compression.retrain` (``loss``, ``lr``, ...).
        sparsity: in [0, 1); ignored by the dense control.
        arm: ``"dense"`` (nothing is pruned: the control), ``"one-shot"``, ``"iterative"`` (in ``stages`` stages that
            share the steps) or ``"random"`` (one shot, weights chosen by lot).
        steps: updates in all.
        stages: of the iterative arm.

    Returns:
        The retrained models.

    Raises:
        ValueError: an unknown arm, or fewer steps than stages.
    """
    one_of("arm", arm, ARMS)
    models = [copy.deepcopy(model) for model in models]
    if arm == "dense":
        return retrain(models, data, steps=steps, **settings)
    levels = geometric_stages(sparsity, stages) if arm == "iterative" else [sparsity]
    if whole("steps", steps, low=0) < len(levels):
        raise ValueError(f"steps must be at least the number of stages, {len(levels)}, got {steps}")
    for k, level in enumerate(levels):
        for seed, model in enumerate(models):
            magnitude_prune(model, level, criterion="random" if arm == "random" else "magnitude", seed=seed)
        share = steps * (k + 1) // len(levels) - steps * k // len(levels)
        models = retrain(models, data, steps=share, **settings)
    return models
