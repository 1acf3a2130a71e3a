"""What the losses refuse, and how the value per example becomes one number.

Shapes are checked always: they are known without looking at a number. Values (nan targets, class numbers out of range)
are checked where a number can be looked at: not inside ``torch.func.vmap``, ``torch.compile``, tracing or a CUDA graph,
where a decision on data is impossible, and not inside :func:`unchecked`. There the caller has checked the data before.
"""

import contextlib
import contextvars

import torch

from dlopt.checks import one_of

REDUCTIONS = ("mean", "sum", "none")
_checking = contextvars.ContextVar("dlopt_losses_checking", default=True)


@contextlib.contextmanager
def unchecked():
    """Within this context the losses do not look at values: for a loop over data that were checked once before.

    On a GPU each look waits for the device (some tens of microseconds); shapes are checked all the same.
    """
    token = _checking.set(False)
    try:
        yield
    finally:
        _checking.reset(token)


def readable(tensor):
    """Whether python may look at the values of ``tensor`` here."""
    if torch.compiler.is_compiling() or not _checking.get() or tensor.is_meta or torch.jit.is_tracing():
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    return not (tensor.is_cuda and torch.cuda.is_current_stream_capturing())


def not_empty(name, tensor):
    """Refuse a tensor without elements."""
    if tensor.numel() == 0:
        raise ValueError(f"{name} must hold at least one value, got shape {tuple(tensor.shape)}: no loss of nothing")


def same_shape(prediction, target, names=("prediction", "target")):
    """Refuse shapes that differ: broadcasting [n] against [n, 1] would compare every pair, n * n of them."""
    if prediction.shape != target.shape:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"{names[0]} and {names[1]} must have the same shape, got {shapes}; reshape one of them")
    not_empty(names[0], prediction)


def finite_values(name, tensor):
    """Refuse nan and infinity."""
    if readable(tensor) and not torch.isfinite(tensor).all():
        at = tuple(torch.nonzero(~torch.isfinite(tensor))[0].tolist())
        value = tensor[at].item()
        raise ValueError(f"{name} must be finite, got {value} at index {at}; drop or impute such examples")


def values_in(name, tensor, low, high):
    """Refuse values outside [low, high], and nan."""
    if readable(tensor) and not ((tensor >= low) & (tensor <= high)).all():
        worst = tensor[~((tensor >= low) & (tensor <= high))].flatten()[0].item()
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {worst:g}")


def class_numbers(target, n_classes, ignore_index=None):
    """Refuse class numbers outside 0 ... n_classes - 1 (``ignore_index`` apart)."""
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"class numbers must be whole numbers (int64), got {target.dtype}; use target.long()")
    if not readable(target):
        return
    wrong = (target < 0) | (target >= n_classes)
    if ignore_index is not None:
        wrong = wrong & (target != ignore_index)
        if (target == ignore_index).all():
            raise ValueError(f"every target is ignore_index = {ignore_index}: there is nothing to average")
    if wrong.any():
        raise ValueError(f"class numbers must lie in 0 ... {n_classes - 1}, got {target[wrong].flatten()[0].item()}")


def class_weights(weight, n_classes):
    """Refuse class weights that are not one finite number >= 0 per class."""
    if tuple(weight.shape) != (n_classes,):
        raise ValueError(f"weight must have one entry per class, shape ({n_classes},), got {tuple(weight.shape)}")
    if readable(weight) and not ((weight >= 0) & torch.isfinite(weight)).all():
        raise ValueError(f"weight must be finite and >= 0, got {weight.tolist()}")


def reduce(values, reduction):
    """``values`` as they are (``"none"``), their sum, or their mean over all elements."""
    one_of("reduction", reduction, REDUCTIONS)
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
