"""Scores of a few models on a testbed by one fixed protocol: what data can tell apart, before methods are compared."""

from dataclasses import dataclass
from functools import partial

from dlopt.checks import positive, whole
from dlopt.device import device as find_device
from dlopt.optimizers import Adam
from dlopt.race.protocol import Entry, tune
from dlopt.schedules import linear
from dlopt.statistics import mean_interval
from dlopt.training import evaluate, train

WARMUP = 30  # steps
CLIP = 1.0  # norm of the gradient


@dataclass(frozen=True)
class Reference:
    """What one model reached on a testbed.

    Attributes:
        lr: the learning rate of the runs.
        tried: validation loss of every rate tried; empty where one rate was given.
        scores: of the test part, one for each seed.
    """

    lr: float
    tried: dict
    scores: tuple

    @property
    def interval(self):
        """Mean score with its 95 % interval over the seeds."""
        return mean_interval(self.scores)


def train_reference(model, data, loss, *, epochs, lr, seed, batch_size=64):
    """Train by the protocol: Adam, a warmup of 30 steps, a linear decay to zero, the gradient clipped at norm 1.

    Args:
        model: trained in place; it is on the device of ``data``.
        data: ``Dataset``.
        loss: ``loss(prediction, target)``, a mean over examples.
        epochs, batch_size, seed: as in :func:`dlopt.training.train`.
        lr: highest learning rate, > 0.

    Returns:
        The model.
    """
    decay = linear(whole("epochs", epochs) * -(-len(data.x_train) // whole("batch_size", batch_size)))
    train(model, data, optimizer=partial(Adam, lr=positive("lr", lr)), loss=loss, epochs=epochs, batch_size=batch_size,
          seed=seed, clip_norm=CLIP, schedule=lambda t: min(1, (t + 1) / WARMUP) * decay(t), evaluate_every=0)
    return model


def reference_scores(load, models, loss, *, epochs, seeds, metric=None, lr=(0.003, 0.01, 0.03), tuning_seed=None,
                     batch_size=64):
    """Score every model on the test part for every seed; the learning rate is chosen on a validation part.

    Of several rates :func:`tune` takes the one with the least validation loss on ``tuning_seed``; while that is the
    lowest or the highest, it tries more beyond it.

    Args:
        load: ``load(seed)`` -> ``Dataset``: a seed draws the data, or their split.
        models: name -> ``make(seed)`` -> ``nn.Module``.
        loss: what is minimized.
        epochs, batch_size: of every run.
        seeds: of the runs that are reported; two or more.
        metric: ``metric(prediction, target)``, a mean over examples, of the test part; None: the loss.
        lr: rates to choose from, at least three; or one number.
        tuning_seed: must not be among ``seeds``; needed where there is a choice.

    Returns:
        name -> :class:`Reference`.

    Raises:
        ValueError: fewer than two seeds, two rates, a tuning seed that is missing or among the others.
    """
    fixed = isinstance(lr, int | float)
    if len(set(seeds)) < 2:
        raise ValueError(f"seeds must hold at least two different seeds, got {list(seeds)}")
    if not fixed and len(set(lr)) < 3:
        raise ValueError(f"lr must be one rate or at least three to choose from, got {list(lr)}")
    if not fixed and (tuning_seed is None or tuning_seed in seeds):
        raise ValueError(f"tuning_seed must be given and not be among the seeds {list(seeds)}, got {tuning_seed}")

    def fitted(make, data, rate, seed):
        model = make(seed).to(find_device())
        return train_reference(model, data, loss, epochs=epochs, lr=rate, seed=seed, batch_size=batch_size)

    tried = {name: {} for name in models}
    if not fixed:
        data = load(tuning_seed).to(find_device())
        for name, make in models.items():
            found = tune(lambda rates, make=make: {rate: evaluate(
                fitted(make, data, rate, tuning_seed), *data.val, loss)["loss"] for rate in rates}, Entry("adam", lr))
            tried[name] = dict(zip(found["rates"], found["costs"], strict=True))
    best = {name: lr if fixed else min(found, key=found.get) for name, found in tried.items()}
    scores = {name: [] for name in models}
    for seed in seeds:
        data = load(seed).to(find_device())
        for name, make in models.items():
            model = fitted(make, data, best[name], seed)
            scores[name].append(evaluate(model, *data.test, metric or loss)["loss"])
    return {name: Reference(best[name], tried[name], tuple(scores[name])) for name in models}
