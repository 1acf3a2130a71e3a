"""Loss and metrics of a model on a set of examples."""

import torch

from dlopt.checks import whole


def accuracy(prediction, target):
    """Fraction of right answers, in [0, 1].

    Args:
        prediction: scores (logits): [n, C] or, for sequences, [n, T, C] (classes last) or [n, C, T] (torch's order); or
            one score per answer, shaped like ``target`` or [n, 1], counted as class 1 where it is > 0.
        target: class numbers, [n] or [n, T].

    Returns:
        0-d tensor, float32, on the device of ``prediction``.
    """
    axis = class_axis(prediction, target)
    if axis is None:
        right = (prediction.reshape(target.shape) > 0) == (target > 0.5)
    else:
        right = prediction.argmax(axis) == target
    return right.float().mean()


def class_axis(prediction, target):
    """The axis of ``prediction`` that runs over classes; None where there is one score per answer.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    p, y = tuple(prediction.shape), tuple(target.shape)
    if len(p) == len(y) + 1:
        if p[:-1] == y and p[-1] > 1:
            return -1
        if p[:1] + p[2:] == y:
            return 1 if p[1] > 1 else None
    if p == y or p == (*y, 1) or (*p, 1) == y:
        return None
    raise ValueError(f"prediction must be [n, C] or [n, T, C] with targets [n] or [n, T], got {p} with {y}")


@torch.no_grad()
def predict(model, x, batch_size=1024):
    """The model's answers in evaluation mode, computed in pieces; the model's mode is put back.

    Args:
        model: a module.
        x: inputs, [n, ...], on the model's device.
        batch_size: examples at a time; bounds memory, does not change the result.

    Returns:
        Tensor [n, ...].
    """
    with _evaluation_mode(model):
        return torch.cat([model(part) for part in x.split(whole("batch_size", batch_size))])


@torch.no_grad()
def evaluate(model, x, y, loss, metrics=None, batch_size=1024, autocast=False):
    """Loss and metrics over a set of examples, in evaluation mode (dropout off, running averages used).

    Args:
        model: a module; its mode is put back afterwards.
        x, y: inputs and targets, [n, ...], on the model's device.
        loss: ``loss(prediction, target)``, a mean over examples.
        metrics: dict of name -> ``metric(prediction, target)``, each a mean over examples; the pieces are averaged with
            their number of examples as weight.
        batch_size: examples at a time; bounds memory.
        autocast: compute the model's answer in bfloat16 where torch deems it safe.

    Returns:
        dict with ``"loss"`` and the metrics' names, as floats.

    Raises:
        ValueError: no examples, unequal lengths, or data on another device than the model.
    """
    check_data(model, x, y)
    functions = {"loss": loss, **(metrics or {})}
    totals = {name: 0.0 for name in functions}
    with _evaluation_mode(model):
        for xs, ys in zip(x.split(whole("batch_size", batch_size)), y.split(batch_size)):
            with torch.autocast(xs.device.type, torch.bfloat16, enabled=autocast):
                prediction = model(xs)
            prediction = prediction.float() if autocast else prediction
            for name, function in functions.items():
                totals[name] += float(function(prediction, ys)) * len(xs)
    return {name: total / len(x) for name, total in totals.items()}


class _evaluation_mode:
    """``model.eval()`` for a while; every submodule gets its own mode back."""

    def __init__(self, model):
        self.modes = [(module, module.training) for module in model.modules()]
        self.model = model

    def __enter__(self):
        self.model.eval()

    def __exit__(self, *_):
        for module, training in self.modes:
            module.training = training


def check_data(model, x, y, name="data"):
    """Refuse what cannot be trained on: no examples, unequal lengths, nan, another device, another floating type."""
    if len(x) == 0 or len(x) != len(y):
        raise ValueError(f"{name} must hold equally many inputs and targets, at least one, got {len(x)} and {len(y)}")
    parameter = next(iter(model.parameters()), None)
    for what, tensor in (("x", x), ("y", y)):
        if parameter is not None and tensor.device != parameter.device:
            raise ValueError(
                f"the model is on {parameter.device} and {what} of {name} on {tensor.device}; move one of them: "
                f"model.to({str(tensor.device)!r}) or data.to({str(parameter.device)!r})"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise ValueError(f"{what} of {name} must be finite, got {bad} of {tensor.numel()} numbers nan or inf")
    if parameter is not None and x.is_floating_point() and x.dtype != parameter.dtype:
        raise ValueError(
            f"the model computes in {parameter.dtype}, x of {name} is {x.dtype}; use data.to(dtype={parameter.dtype})"
        )


def check_targets(prediction, batch, *targets, ignore=-100):
    """Refuse class numbers outside the model's classes, before they reach a kernel that may crash.

    Args:
        prediction: the model's answer to one batch.
        batch: the targets of that batch, which tell the class axis.
        targets: all target tensors to check.
        ignore: the one negative number that ``cross_entropy`` skips.
    """
    if batch.is_floating_point() or prediction.ndim != batch.ndim + 1:
        return
    axis = class_axis(prediction, batch)
    if axis is None:
        return
    classes = prediction.shape[axis]
    for y in targets:
        known = y[y != ignore]
        if known.numel() and (known.min() < 0 or known.max() >= classes):
            got = f"{int(known.min())} ... {int(known.max())}"
            raise ValueError(f"targets must lie in 0 ... {classes - 1} for a model with {classes} outputs, got {got}")
