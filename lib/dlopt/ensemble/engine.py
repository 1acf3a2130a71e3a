"""``Ensemble``: K copies of a model over seeds and hyper-parameters, one update for all of them."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm import tqdm

from dlopt.checks import non_negative, one_of, whole
from dlopt.device import device as find_device
from dlopt.device import synchronize
from dlopt.ensemble.forward import BatchedModel, per_member
from dlopt.ensemble.memory import check_fits, examples_at_once, keep_heap, members_at_once
from dlopt.ensemble.rule_engine import RuleEngine
from dlopt.rules import RULES
from dlopt.training.batches import Batches
from dlopt.training.evaluation import accuracy, check_data, check_targets

SPLITS = ("train", "val", "test")


@dataclass
class EnsembleHistory:
    """The record of K runs; the first axis of every array is the member.

    Attributes:
        loss: mini-batch loss at the parameters before update t, [K, T]; nan or inf from where a member diverged.
        lr: learning rate of each update, [K, T].
        eval_step: updates done at each evaluation, [E]; the first is 0.
        evaluations: name -> values [K, E]: ``val_loss``, ``val_accuracy``, ...
        seconds: wall-clock time of the training, evaluation left out, for all members together.
    """

    loss: np.ndarray
    lr: np.ndarray
    eval_step: np.ndarray
    evaluations: dict = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def diverged(self):
        """Which members' loss became nan or infinite, [K]."""
        return ~np.isfinite(self.loss).all(axis=1)

    def __getitem__(self, name):
        """``history["loss"]`` [K, T], ``history["val_accuracy"]`` [K, E]."""
        return getattr(self, name) if name in ("loss", "lr") else self.evaluations[
            one_of("curve", name, self.evaluations)
        ]


class Ensemble:
    r"""K models of one architecture, trained together: member k has its own seed, hyper-parameters and batch order.

    All parameters live in one matrix :math:`\Theta \in \mathbb{R}^{K \times P}`, one member a row. The members' losses
    are independent, so the gradient of their sum holds every member's own gradient; the rule is the one that every
    other engine runs. Member k ends where ``train`` with the same seed, rule and settings ends, up to rounding.

    Args:
        make_model: ``make_model(seed=...)`` -> ``nn.Module``; the architecture must not depend on the seed.
        seeds: K whole numbers: member k starts from ``make_model(seed=seeds[k])`` and draws its batches with this seed.
            Equal seeds give equal starts and batches: so that hyper-parameters are compared like with like.
        rule: a rule of ``dlopt.rules``, or its name.
        hyper: hyper-parameters of the rule by name, each one number for all or K numbers; missing ones keep the rule's
            defaults. Also ``weight_decay`` (decoupled: theta is scaled by ``1 - lr * weight_decay`` before the step)
            and ``l2`` (``l2 * theta`` is added to the gradient).
        loss: ``loss(prediction, target)`` -> 0-d tensor, a mean over examples.
        batch_seeds: K seeds of the batch order, where it shall differ from ``seeds``.
        clip_norm: shorten each member's gradient to this Euclidean norm where it is longer.
        device: where to compute; None: where ``make_model`` puts its models.
        compile: compile the update with ``torch.compile`` (needs a C++ compiler; the first update takes some seconds).

    Raises:
        ValueError: no members, lists of unequal length, unknown or invalid hyper-parameters, a name of no rule.

    Dropout draws differently here than in ``train`` (equal in distribution); running averages of batch normalization
    are kept per member.
    """

    def __init__(self, make_model, *, seeds, rule, hyper=None, loss, batch_seeds=None, clip_norm=None, device=None,
                 compile=False):  # fmt: skip
        self.seeds = [whole("each of seeds", seed, low=0) for seed in seeds]
        self.K = len(self.seeds)
        if self.K == 0:
            raise ValueError("seeds must hold at least one seed, got none")
        self.batch_seeds = self.seeds if batch_seeds is None else list(batch_seeds)
        if len(self.batch_seeds) != self.K:
            raise ValueError(f"batch_seeds must be as long as seeds ({self.K}), got {len(self.batch_seeds)}")
        self.rule = RULES[one_of("rule", rule, RULES)] if isinstance(rule, str) else rule
        models = {seed: make_model(seed=seed) for seed in dict.fromkeys(self.seeds)}
        if device is not None:
            models = {seed: model.to(find_device(device)) for seed, model in models.items()}
        check_fits(next(iter(models.values())), self.rule, self.K)
        self.network = BatchedModel(models, self.seeds)
        if compile:
            RuleEngine.check_compiler(self.network.theta.device)
        self.engine = RuleEngine(self.rule, self.network.shapes, self.K, hyper or {}, clip_norm, compile)
        self.state = self.engine.initial_state(self.network.theta)
        self.loss_function, self.t = loss, 0

    @property
    def parameters(self):
        """name -> parameters of all members, [K, shape ...]; views of one matrix [K, P]."""
        return self.network.parameters

    def model(self, k):
        """Member ``k`` as a module of its own, in evaluation mode."""
        return self.network.member(whole("k", k, low=0))

    def predict(self, x, batch_size=1024):
        """Answers of all members in evaluation mode: x [n, ...] -> [K, n, ...]."""
        return torch.cat([self.network.predict(part) for part in x.split(max(1, batch_size))], 1)

    def evaluate(self, x, y, metrics=None, batch_size=1024):
        """Loss and metrics of every member on one set of examples.

        Args:
            x, y: inputs and targets, [n, ...].
            metrics: name -> ``metric(prediction, target)``, each a mean over examples.
            batch_size: examples at a time.

        Returns:
            name -> float64 array [K]; ``"loss"`` and the metrics.
        """
        functions = {"loss": self.loss_function, **(metrics or {})}
        totals, plain = {name: 0.0 for name in functions}, _no_negative(y)
        for xs, ys in zip(x.split(batch_size), y.split(batch_size)):
            prediction = self.network.predict(xs)
            for name, function in functions.items():
                values = per_member(function, prediction, ys.expand(self.K, *ys.shape), plain)
                totals[name] = totals[name] + values.double() * len(xs)
        return {name: (total / len(x)).cpu().numpy() for name, total in totals.items()}

    def train(self, data, *, steps=None, epochs=None, batch_size=32, schedule=None, evaluate_every=None,
              evaluate_on=("val",), metrics=None, progress=False, replacement=False, chunk=None):  # fmt: skip
        """Train all members; arguments mean what they mean in :func:`dlopt.training.train`.

        Args:
            data: ``Dataset`` or ``(x, y)``, shared by the members.
            steps, epochs: length of the run, one of the two.
            batch_size: examples per update and member; or a function of the epoch.
            schedule: ``f(t)``, the factor on the learning rate, or K of them.
            evaluate_every, evaluate_on, metrics: as in ``train``.
            progress: show a bar.
            replacement: draw batches with replacement.
            chunk: members trained at once. None: as many as fit the memory; a number that does not fit is refused.

        Returns:
            :class:`EnsembleHistory`. A member whose loss becomes nan or infinite goes on as such; the others do not
            notice.

        Raises:
            ValueError: arguments out of range, empty data, targets out of range, data on another device.
            MemoryError: ``chunk`` members (or a single one) do not fit; nothing was allocated.
        """
        return Session(self, data, batch_size, schedule, evaluate_every, evaluate_on, metrics, replacement).run(
            steps, epochs, chunk, progress
        )


class Session:
    """One call of ``Ensemble.train``."""

    def __init__(self, ensemble, data, batch_size, schedule, evaluate_every, evaluate_on, metrics, replacement):
        self.ensemble, self.data = ensemble, data
        self.x, self.y = data.train if hasattr(data, "train") else data
        check_data(ensemble.network.template, self.x, self.y, name="the training data")
        splits = (evaluate_on,) if isinstance(evaluate_on, str) else evaluate_on
        for split in splits:
            one_of("evaluate_on", split, SPLITS)
        self.splits = {split: getattr(data, split) for split in splits} if hasattr(data, "train") else {}
        for name, (x, y) in self.splits.items():
            check_data(ensemble.network.template, x, y, name=f"the {name} data")
        if metrics is None:
            metrics = {"accuracy": accuracy} if getattr(data, "n_classes", None) else {}
        self.metrics, self.batch_size, self.replacement = metrics, batch_size, replacement
        self.every = evaluate_every if evaluate_every is None else whole("evaluate_every", evaluate_every, low=0)
        schedules = list(schedule) if isinstance(schedule, (list, tuple)) else [schedule] * ensemble.K
        if len(schedules) != ensemble.K:
            raise ValueError(f"schedule must be one function or {ensemble.K} of them, got {len(schedules)}")
        self.schedules = schedules

    def batches(self, seed):
        return Batches(len(self.x), self.batch_size, seed, self.replacement, self.x.device)

    def factors(self, total):
        """Factor on the learning rate, [K, total], float64; one row per different schedule is computed once."""
        known = {}
        for f in self.schedules:
            if id(f) not in known:
                row = [1.0 if f is None else float(f(t)) for t in range(total)]
                for t, value in enumerate(row):
                    non_negative(f"schedule({t})", value)
                known[id(f)] = torch.tensor(row, dtype=torch.float64)
        return torch.stack([known[id(f)] for f in self.schedules]) if total else torch.ones(self.ensemble.K, 0)

    def run(self, steps, epochs, chunk, progress):
        if (steps is None) == (epochs is None):
            raise ValueError(f"exactly one of steps and epochs must be given, got steps={steps} and epochs={epochs}")
        first = self.batches(self.ensemble.batch_seeds[0])
        total = whole("steps", steps, low=0) if epochs is None else first.steps(epochs)
        self._probe(first)
        keep_heap()
        K = self.ensemble.K
        size = members_at_once(self.ensemble.network, self.ensemble.rule, self.x[:1], first.batch_size, chunk)
        factors = self.factors(total)
        parts = [range(low, min(low + size, K)) for low in range(0, K, size)]
        with tqdm(total=total * len(parts), disable=not progress, unit="step", leave=False) as bar:
            histories = [self._run_members(members, total, factors, bar) for members in parts]
        self.ensemble.t += total
        return _joined(histories)

    def _probe(self, batches):
        """One answer of one model on two examples: do the targets fit the outputs?"""
        prediction = self.ensemble.network.template_answer(self.x[:2])
        check_targets(prediction, self.y[:2], self.y, *(targets for _, targets in self.splits.values()))
        self.ensemble.network.plain = _no_negative(self.y)

    def _run_members(self, members, total, factors, bar):
        ensemble, rows = self.ensemble, slice(members.start, members.stop)
        part = ensemble if len(members) == ensemble.K else _Part(ensemble, rows)
        seeds = ensemble.batch_seeds[rows]
        samplers = {seed: self.batches(seed) for seed in dict.fromkeys(seeds)}
        where = {seed: i for i, seed in enumerate(samplers)}
        place = torch.tensor([where[seed] for seed in seeds], device=self.x.device)
        engine = ensemble.engine.members(rows)
        rates = engine.rates(factors[rows])  # [K, T]
        losses = torch.empty(total, len(members), device=self.x.device, dtype=part.network.theta.dtype)
        eval_steps, evaluations, seconds = [], {}, 0.0
        watch = next(iter(samplers.values()))
        self._evaluate(part, 0, eval_steps, evaluations)
        update = engine.update(part.network, ensemble.loss_function, part.state, rates)
        started = time.perf_counter()
        for step in range(total):
            epoch = watch.epoch
            index = torch.stack([next(sampler) for sampler in samplers.values()])[place]
            losses[step] = update(self.x[index], self.y[index], ensemble.t + step + 1, step)
            bar.update()
            due = watch.epoch != epoch if self.every is None else self.every and (step + 1) % self.every == 0
            if due or (step + 1 == total and self.every != 0):
                synchronize(self.x.device)
                seconds += time.perf_counter() - started
                self._evaluate(part, step + 1, eval_steps, evaluations)
                started = time.perf_counter()
        synchronize(self.x.device)
        seconds += time.perf_counter() - started
        arrays = {name: np.stack(values, 1) for name, values in evaluations.items()}
        loss = losses.T.double().cpu().numpy()
        return EnsembleHistory(loss, rates.numpy(), np.array(eval_steps, dtype=int), arrays, seconds)

    def _evaluate(self, part, step, eval_steps, evaluations):
        if not self.splits or self.every == 0:
            return
        eval_steps.append(step)
        for split, (x, y) in self.splits.items():
            at_once = examples_at_once(part.network, x[:1])
            for name, values in part.evaluate(x, y, self.metrics, at_once).items():
                evaluations.setdefault(f"{split}_{name}", []).append(values)


class _Part:
    """Some members of an ensemble, sharing its memory: what ``chunk`` trains at a time."""

    evaluate = Ensemble.evaluate

    def __init__(self, ensemble, rows):
        self.network = ensemble.network.rows(rows)
        self.state = [s[rows] for s in ensemble.state]
        self.loss_function, self.K = ensemble.loss_function, self.network.K


def _no_negative(y):
    return y.is_floating_point() or bool((y >= 0).all())


def _joined(histories):
    first = histories[0]
    names = first.evaluations
    return EnsembleHistory(
        np.concatenate([h.loss for h in histories]),
        np.concatenate([h.lr for h in histories]),
        first.eval_step,
        {name: np.concatenate([h.evaluations[name] for h in histories]) for name in names},
        sum(h.seconds for h in histories),
    )
