"""``train``: the one loop over batches."""

import torch

from dlopt.checks import non_negative, one_of, positive, whole
from dlopt.device import device as find_device
from dlopt.training.batches import Batches
from dlopt.training.evaluation import check_data
from dlopt.training.run import Run


def train(model, data, *, optimizer, loss, steps=None, epochs=None, batch_size=32, seed=0, schedule=None, device=None,
          autocast=False, clip_norm=None, early_stopping=None, evaluate_every=None, evaluate_on=("val",), metrics=None,
          progress=False, checkpoint=None, checkpoint_every=None, resume=False, callback=None, replacement=False,
          record_grad_norm=False, nonfinite="raise"):  # fmt: skip
    r"""Train a model: draw a batch, compute the loss and its gradient, let the optimizer step, and record it all.

    .. math:: \theta_{t+1} = \theta_t + \Delta(g_t), \qquad
              g_t = \nabla_\theta \frac{1}{|B_t|} \sum_{i \in B_t} \ell(f_\theta(x_i), y_i)

    The run is a function of its arguments: batches come from ``seed``, and what the model draws itself (dropout) comes
    from torch's global generator, seeded with ``seed`` for the length of the run and then put back as it was.

    Args:
        model: ``nn.Module``. It is trained in place and left in evaluation mode.
        data: ``Dataset``, or ``(x, y)`` to train without evaluation; tensors [n, ...] on the model's device.
        optimizer: a ``torch.optim.Optimizer`` over the model's parameters (ours are such), or a function that makes
            one from ``model.parameters()``.
        loss: ``loss(prediction, target)`` -> 0-d tensor, a mean over examples.
        steps, epochs: length of the run, one of the two: number of updates, or of passes over the training set. A
            resumed run goes on *to* this number.
        batch_size: examples per update; or a function of the epoch (from 0) for batches that grow.
        seed: of the batch order and of dropout.
        schedule: ``f(t)``, the factor on every group's learning rate at update t = 0, 1, ...; or a
            ``torch.optim.lr_scheduler`` (stepped after each update; ``ReduceLROnPlateau`` after each evaluation, on
            the loss of the first of ``evaluate_on``).
        device: where to compute; model and data are moved there. None: where the model is.
        autocast: compute the model's answer in bfloat16 where torch deems it safe; parameters stay as they are.
        clip_norm: shorten the gradient to this Euclidean norm where it is longer, > 0.
        early_stopping: an ``EarlyStopping``, or its patience.
        evaluate_every: updates between evaluations; None: once an epoch; 0: never. Otherwise also before the first
            and after the last update.
        evaluate_on: splits to evaluate: some of ``"train"``, ``"val"``, ``"test"``.
        metrics: dict name -> ``metric(prediction, target)``; None: accuracy where the data has classes.
        progress: show a bar.
        checkpoint: file to keep the run in, written after every ``checkpoint_every`` updates (None: after each
            evaluation) and at the end.
        resume: go on from ``checkpoint`` if it exists: the result is, bit for bit, that of a run never stopped.
        callback: ``callback(run)`` after each update, with ``run.step``, ``run.loss``, ``run.model``,
            ``run.optimizer``, ``run.history()``; returning True ends the run. Its method ``end(run)``, if there
            is one, is called when the run has ended, however it has; ``run.stopped`` says how.
        replacement: draw batches with replacement (the theory's SGD) instead of by permutations.
        record_grad_norm: fill ``History.grad_norm``.
        nonfinite: ``"raise"``, or ``"stop"`` to end the run with ``History.diverged`` (for experiments that diverge).

    Returns:
        :class:`~dlopt.training.History`. Ctrl-C ends the run after the update in progress, with what was reached in
        the model, the checkpoint and the history (``interrupted`` is True).

    Raises:
        FloatingPointError: the loss (or a clipped gradient) is nan or infinite. That gradient is not applied: the model
            keeps the parameters at which it arose; the error carries the record in its attribute ``history``.
        FileExistsError: ``checkpoint`` exists and ``resume`` is False; nothing is overwritten.
        ValueError: arguments out of range, empty data, targets out of range, a model on another device than the data,
            an optimizer over other parameters, a checkpoint of another model or truncated.
        OSError: the checkpoint's directory cannot be written (found out before training).
    """
    if device is not None:
        device = find_device(device)
        model.to(device)
        data = data.to(device) if hasattr(data, "to") else tuple(tensor.to(device) for tensor in data)
    optimizer = _optimizer(optimizer, model)
    batches = _batches(model, data, batch_size, seed, replacement)
    if (steps is None) == (epochs is None):
        raise ValueError(f"exactly one of steps and epochs must be given, got steps={steps} and epochs={epochs}")
    run = Run(model, data, optimizer, loss, batches, seed)
    run.total = whole("steps", steps, low=0) if epochs is None else batches.steps(epochs)
    run.set_schedule(schedule)
    run.set_evaluation(evaluate_every, evaluate_on, metrics, early_stopping)
    run.autocast, run.callback = bool(autocast), callback
    run.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
    run.record_grad_norm, run.nonfinite = record_grad_norm, one_of("nonfinite", nonfinite, ("raise", "stop"))
    run.set_checkpoint(checkpoint, checkpoint_every, resume)
    return run.go(progress)


def _optimizer(optimizer, model):
    """The optimizer, made if it is a factory; it must hold the model's parameters and sane learning rates."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        if not callable(optimizer):
            raise ValueError(f"optimizer must be a torch Optimizer or make one from parameters, got {optimizer!r}")
        optimizer = optimizer(model.parameters())
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("optimizer must hold parameters of this model; build it from model.parameters()")
    for group in optimizer.param_groups:
        non_negative("lr", float(group["lr"]))
    return optimizer


def _batches(model, data, batch_size, seed, replacement):
    x, y = data.train if hasattr(data, "train") else data
    check_data(model, x, y, name="the training data")
    return Batches(len(x), batch_size, seed, replacement, x.device)
