"""Unstructured pruning: single weights are removed, a mask keeps them removed while the rest is trained."""

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from dlopt.checks import in_half_open, one_of, whole
from dlopt.scale import generator

SCOPES = ("global", "layer")
CRITERIA = ("magnitude", "random")


class Mask(nn.Module):
    r"""Parametrization :math:`\theta = m \odot w` of a weight.

    The model computes with :math:`\theta`; the optimizer sees :math:`w`, whose gradient
    :math:`m \odot \nabla_\theta L` is zero where the mask is. Whatever the optimizer remembers (momentum) or adds
    (weight decay) may move :math:`w` there, and :math:`\theta` stays zero.

    Args:
        mask: ones and zeros in the shape and dtype of the weight.
    """

    def __init__(self, mask):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, w):
        """The weight that the layer uses."""
        return w * self.mask

    def right_inverse(self, theta):
        """What is stored when a weight is assigned: the weight itself; the mask hides what it hides."""
        return theta


def prunable(model):
    """The layers whose weights are pruned, name -> module: linear and convolutional ones; biases are left alone."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def masks(model):
    """name -> mask (bool, the weight's shape) of every layer of `prunable`; all True where none was pruned."""
    return {name: _mask(layer).bool() for name, layer in prunable(model).items()}


def sparsity(model):
    """Share of the prunable weights that are exactly zero, in [0, 1]."""
    weights = [layer.weight.detach() for layer in prunable(model).values()]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def magnitude_prune(model, sparsity, scope="global", *, criterion="magnitude", seed=0):
    r"""Remove the smallest weights until a share ``sparsity`` of all prunable weights is gone.

    Among all vectors with k nonzero entries, keeping the k largest magnitudes of :math:`\theta` is the closest in
    Euclidean distance. Weights that were pruned before stay pruned and count: two calls with 0.5 and 0.75 remove half
    and then a quarter. (``amount`` of ``torch.nn.utils.prune``, which does the work here, is a share of what remains.)

    Args:
        model: module; changed in place: each prunable weight gets a `Mask`.
        sparsity: in [0, 1), at least what the model already has.
        scope: ``"global"``: one threshold for all layers; ``"layer"``: the same share in every layer.
        criterion: ``"magnitude"``, or ``"random"`` as the control that knows nothing.
        seed: of the random criterion.

    Returns:
        The model.

    Raises:
        ValueError: ``sparsity`` out of range or below the present one; unknown scope or criterion; nothing to prune.

    Source: Han, Pool, Tran and Dally (2015), arXiv:1506.02626.
    """
    in_half_open("sparsity", sparsity)
    one_of("scope", scope, SCOPES), one_of("criterion", criterion, CRITERIA)
    layers = prunable(model)
    if not layers:
        raise ValueError("model must have a linear or convolutional layer to prune, it has none")
    holders = {name: _Holder(layer.weight) for name, layer in layers.items()}
    g = generator(whole("seed", seed, low=0))
    scores = {name: _scores(layer, criterion, g) for name, layer in layers.items()}
    groups = [list(layers)] if scope == "global" else [[name] for name in layers]
    for names in groups:
        gone = sum(int((_mask(layers[name]) == 0).sum()) for name in names)
        size = sum(layers[name].weight.numel() for name in names)
        amount = round(sparsity * size)
        if amount < gone:
            raise ValueError(f"sparsity must be at least the present {gone / size:.4f}, got {sparsity}; weights that "
                             "were pruned do not come back")
        prune.global_unstructured(
            [(holders[name], "weight") for name in names], pruning_method=prune.L1Unstructured, amount=amount,
            importance_scores={(holders[name], "weight"): scores[name] for name in names})
    for name, layer in layers.items():
        set_mask(layer, holders[name].weight_mask)
    return model


def iterative_prune(model, stages, retrain, scope="global"):
    """Prune a little, retrain, prune more: the loop of Han et al.

    Args:
        model: module, changed in place.
        stages: rising sparsities, e.g. ``geometric_stages(0.9, 4)``.
        retrain: ``retrain(model, sparsity)`` trains the model in place after each pruning.
        scope: as in `magnitude_prune`.

    Returns:
        The model.

    Raises:
        ValueError: stages that do not rise, and what `magnitude_prune` refuses.
    """
    stages = list(stages)
    if not stages or any(b <= a for a, b in zip(stages, stages[1:])):
        raise ValueError(f"stages must rise, got {stages}")
    for stage in stages:
        magnitude_prune(model, stage, scope)
        retrain(model, stage)
    return model


def geometric_stages(final, n):
    r"""Sparsities of n stages that each keep the same share of what is left: :math:`1-(1-s)^{k/n}`, k = 1 ... n.

    Args:
        final: the last sparsity s, in [0, 1).
        n: number of stages, >= 1.
    """
    in_half_open("final", final)
    return [1 - (1 - final) ** (k / n) for k in range(1, whole("n", n) + 1)]


def rewind(model, start):
    """Set the weights that survive (and all other parameters) back to those of another model; masks stay.

    Args:
        model: pruned module, changed in place.
        start: module of the same layers without masks, e.g. the model as it was initialized.

    Returns:
        The model.

    Raises:
        ValueError: a parameter has another shape in ``start``, or is not there.
    """
    theirs, layers = dict(start.named_parameters()), dict(model.named_modules())
    with torch.no_grad():
        for path, value in _plain_parameters(model).items():
            if path not in theirs or theirs[path].shape != value.shape:
                raise ValueError(f"start must have a parameter {path} of shape {list(value.shape)}")
            module, _, name = path.rpartition(".")
            target = layers[module]
            if parametrize.is_parametrized(target, name):
                setattr(target, name, theirs[path].detach().clone())
            else:
                getattr(target, name).copy_(theirs[path])
    return model


def shuffle_masks(model, seed=0):
    """Keep in every layer as many weights as its mask keeps, but others, chosen by lot, in place.

    The control for a mask's *places*: pruning by one threshold also decides how many weights each layer keeps, and
    that alone is worth something. A random mask over the whole network (``criterion="random"``) loses both.

    Args:
        model: module with masks, e.g. from `magnitude_prune`; to reset the weights under the new masks see `rewind`.
        seed: of the lot.

    Returns:
        The model.

    Source: Su et al. (2020), arXiv:2009.11094 (layerwise rearranging).
    """
    g = generator(whole("seed", seed, low=0))
    for name, mask in masks(model).items():
        places = torch.randperm(mask.numel(), generator=g).to(mask.device)
        set_mask(prunable(model)[name], mask.flatten()[places].view_as(mask))
    return model


def bake(model):
    """Replace every parametrization (masks, shared and quantized weights) by the weight it stands for, in place.

    Returns:
        The model with plain parameters, which can be saved, exported and timed.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            weights = {name: nn.Parameter(getattr(module, name).detach() + 0.0) for name in module.parametrizations}
            # + 0.0 turns the -0.0 of a masked negative weight into 0.0.
            # Not remove_parametrizations: it changes the class, which copies of the module share.
            module.__class__ = type(module).__bases__[0]
            others = {name: p for name, p in module._parameters.items() if p is not None}
            del module.parametrizations
            for name in others:
                delattr(module, name)
            for name, parameter in {**weights, **others}.items():
                module.register_parameter(name, parameter)
    return model


def set_mask(layer, mask):
    """Give a layer's weight a mask, or replace the one it has."""
    mask = mask.to(layer.weight.dtype)
    own = _parametrization(layer)
    if own is None:
        parametrize.register_parametrization(layer, "weight", Mask(mask))
    else:
        own.mask.copy_(mask)


class _Holder(nn.Module):
    """A weight of its own for ``torch.nn.utils.prune``, whose hooks would keep the model from being copied."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())


def _parametrization(layer):
    found = layer.parametrizations.weight[0] if parametrize.is_parametrized(layer, "weight") else None
    if found is not None and not isinstance(found, Mask):
        raise ValueError(f"weights under {type(found).__name__} cannot be pruned; prune first, or call bake(model)")
    return found


def _mask(layer):
    own = _parametrization(layer)
    return torch.ones_like(layer.weight.detach()) if own is None else own.mask


def _scores(layer, criterion, g):
    weight = layer.weight.detach()
    if criterion == "magnitude":
        return weight.abs()
    random = torch.rand(weight.shape, generator=g).to(weight.device, weight.dtype)
    return (random + 1) * _mask(layer)  # what is gone has the smallest score of all


def _plain_parameters(model):
    """name -> value of every parameter by the name it has without parametrizations."""
    found = {}
    for module_name, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList) or isinstance(module, Mask):
            continue
        prefix = f"{module_name}." if module_name else ""
        for name, parameter in module.named_parameters(recurse=False):
            if not isinstance(module, parametrize.ParametrizationList):
                found[prefix + name] = parameter
        if parametrize.is_parametrized(module):
            for name in module.parametrizations:
                found[prefix + name] = getattr(module, name)
    return found
