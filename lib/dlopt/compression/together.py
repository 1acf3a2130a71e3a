"""Retraining of many compressed models at once."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from dlopt.checks import whole
from dlopt.compression.pruning import Mask, bake, prunable, rewind
from dlopt.ensemble import Ensemble
from dlopt.normalization import BatchNorm
from dlopt.rules import adam


def masked_adam(g, m, v, keep, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    r"""Adam that never sees the gradient of a pruned weight: ``keep`` holds 1 for weights that live and 0 for others.

    With :math:`g_t \odot k` in place of :math:`g_t`, both averages of a pruned weight stay zero, and so does its step:
    a weight that is zero stays zero. The same as training under a `Mask`, at the price of one multiplication.

    Args:
        g, m, v, t, lr, beta1, beta2, eps: as in `dlopt.rules.adam`.
        keep: ones and zeros, the shape of ``g``; never changed.

    Returns:
        The step, and the state ``m``, ``v``, ``keep``.
    """
    step, m, v = adam(keep * g, m, v, t=t, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    return step, m, v, keep


# What ``@rule`` attaches; it is not registered, because it makes no sense without masks.
masked_adam.elementwise = masked_adam.any_shape = True
masked_adam.scalar_state, masked_adam.initial, masked_adam.ranges = (), {"keep": 1.0}, {}


def retrain(models, data, *, loss, steps, lr, rule="adam", batch_size=64, seeds=None, schedule=None, hyper=None):
    """Train models of one architecture together, each from where it stands, each under its own masks or codebooks.

    One `dlopt.ensemble.Ensemble` whose members start from the given models. Models whose only parametrizations are
    masks are trained by `masked_adam`, which is faster and gives the same weights.

    Args:
        models: list of K modules with parameters and buffers of equal shapes; they are not changed.
        data: ``Dataset`` or ``(x, y)``.
        loss, steps, rule, batch_size, schedule: as in `dlopt.ensemble.Ensemble` and its ``train``.
        lr: learning rate, one or K.
        seeds: K seeds of the batch order; None: 0 ... K - 1. Give equal seeds to models that are compared.
        hyper: further hyper-parameters of the rule.

    Returns:
        List of K trained models, in evaluation mode.

    Raises:
        ValueError: no models, or models of different architectures.
    """
    models = list(models)
    if not models:
        raise ValueError("models must hold at least one model, got none")
    by_mask = rule == "adam" and all(_only_masks(model) for model in models)
    starts = [bake(copy.deepcopy(model)) for model in models] if by_mask else models
    K = len(models)
    ensemble = Ensemble(lambda seed: copy.deepcopy(starts[seed]), seeds=range(K), loss=loss,
                        rule=masked_adam if by_mask else rule, hyper={"lr": lr, **(hyper or {})},
                        batch_seeds=range(K) if seeds is None else seeds)
    if by_mask:
        _, v, keep = ensemble.state
        keep.copy_(torch.stack([_keep(model, ensemble.network.shapes) for model in models]))
        v.copy_(1 - keep)  # of pruned weights any v gives a step of zero; roots of zeros are several times slower
    ensemble.train(data, steps=whole("steps", steps, low=0), batch_size=batch_size, schedule=schedule, evaluate_every=0)
    trained = [ensemble.model(k) for k in range(K)]
    if not by_mask:
        return trained
    return [rewind(copy.deepcopy(model), new).eval() for model, new in zip(models, trained)]


@torch.no_grad()
def accuracies(models, x, y, batch_size=2000):
    """Share of right answers of each model on the same examples, float64 array [K].

    Args:
        models: modules, of any architectures, in evaluation mode.
        x, y: inputs [n, ...] and class numbers [n].
        batch_size: examples at a time.
    """
    right = [sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(batch_size), y.split(batch_size)))
             for model in models]
    return torch.tensor(right, dtype=torch.float64).numpy() / len(x)


def _only_masks(model):
    """Whether the model is masked on weights of its layers, has no other parametrization and no running averages."""
    found = [p for module in model.modules() if parametrize.is_parametrized(module)
             for several in module.parametrizations.values() for p in several]
    norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm | BatchNorm) for module in model.modules())
    return bool(found) and all(isinstance(p, Mask) for p in found) and not norms


def _keep(model, shapes):
    """Ones and zeros for all parameters in the order of an ensemble's row, [P]."""
    masks = {f"{name}.weight": layer.parametrizations.weight[0].mask for name, layer in prunable(model).items()}
    like = next(iter(masks.values()))
    parts = [masks[n].flatten() if n in masks else like.new_ones(shape.numel()) for n, shape in shapes.items()]
    return torch.cat(parts)
