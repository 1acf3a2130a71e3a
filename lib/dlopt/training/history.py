"""``History``: what a run has measured; ``EarlyStopping``: when to stop and which parameters to keep."""

import math
from dataclasses import dataclass, field

import numpy as np

from dlopt.checks import non_negative, one_of, whole

CURVES = ("loss", "lr", "grad_norm", "seconds", "examples")


@dataclass
class History:
    """The record of one run; every array is indexed by the update (T of them) or by the evaluation (E of them).

    Attributes:
        loss: mini-batch loss at the parameters *before* update t, [T], in the loss's own units.
        lr: learning rate of update t (first parameter group), [T].
        grad_norm: Euclidean norm of the whole gradient before clipping, [T]; empty unless asked for or clipped.
        seconds: training time up to and including update t, wall clock, evaluation and checkpoints left out, [T].
        examples: examples used up to and including update t, [T].
        eval_step: number of updates done at each evaluation, [E]; the first is 0, the last the end of the run.
        evaluations: name -> values [E]: ``val_loss`` and ``val_<metric>``, as well for other splits asked for.
        epochs: passes over the training set, completed or begun (a fraction).
        stopped: why the run ended: ``"finished"``, ``"early"``, ``"interrupted"``, ``"diverged"``, ``"callback"``.
        best_step: updates done at the best evaluation; None without early stopping.
    """

    loss: np.ndarray = field(default_factory=lambda: np.empty(0))
    lr: np.ndarray = field(default_factory=lambda: np.empty(0))
    grad_norm: np.ndarray = field(default_factory=lambda: np.empty(0))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0))
    examples: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    eval_step: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    evaluations: dict = field(default_factory=dict)
    epochs: float = 0.0
    stopped: str = "finished"
    best_step: int | None = None

    @property
    def steps(self):
        """Number of updates."""
        return len(self.loss)

    @property
    def step(self):
        """1 ... T, the number of the update."""
        return np.arange(1, self.steps + 1)

    @property
    def interrupted(self):
        """Whether the run was stopped from the keyboard."""
        return self.stopped == "interrupted"

    @property
    def diverged(self):
        """Whether the loss (or the gradient, where its norm is known) became nan or infinite."""
        return self.stopped == "diverged"

    @property
    def stopped_early(self):
        """Whether early stopping ended the run."""
        return self.stopped == "early"

    @property
    def eval_seconds(self):
        """Training time in seconds at each evaluation, [E]."""
        return np.concatenate([[0.0], self.seconds])[self.eval_step]

    def __getitem__(self, name):
        """A curve by name: ``history["loss"]`` [T], ``history["val_accuracy"]`` [E]."""
        if name in CURVES:
            return getattr(self, name)
        return self.evaluations[one_of("curve", name, self.evaluations)]

    def curve(self, name):
        """``(steps, values)`` of a curve, ready to plot."""
        return (self.step if name in CURVES else self.eval_step), self[name]

    def steps_to(self, name, target):
        """Updates until evaluation ``name`` first reaches ``target``, to the nearest evaluation; nan if never.

        Losses count as reached at or below the target, all other metrics at or above.
        """
        values = self.evaluations[one_of("curve", name, self.evaluations)]
        reached = np.flatnonzero(values <= target if name.endswith("loss") else values >= target)
        return float(self.eval_step[reached[0]]) if len(reached) else math.nan

    def __repr__(self):
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.evaluations.items() if len(values))
        seconds = self.seconds[-1] if self.steps else 0.0
        return f"History({self.stopped} after {self.steps} steps, {self.epochs:.3g} epochs, {seconds:.3g} s; {last})"


class Recorder:
    """The growing lists behind a ``History``."""

    def __init__(self):
        self.curves = {name: [] for name in CURVES}
        self.eval_step, self.evaluations = [], {}

    @property
    def steps(self):
        return len(self.curves["loss"])

    def last(self, name, default=0.0):
        return self.curves[name][-1] if self.curves[name] else default

    def update(self, **values):
        for name, value in values.items():
            self.curves[name].append(value)

    def evaluation(self, values):
        self.eval_step.append(self.steps)
        for name, value in values.items():
            self.evaluations.setdefault(name, []).append(value)

    def history(self, **rest):
        whole_numbers = {"examples"}
        curves = {k: np.array(v, dtype=int if k in whole_numbers else float) for k, v in self.curves.items()}
        evaluations = {name: np.array(values) for name, values in self.evaluations.items()}
        return History(**curves, eval_step=np.array(self.eval_step, dtype=int), evaluations=evaluations, **rest)

    def state_dict(self):
        return {"curves": self.curves, "eval_step": self.eval_step, "evaluations": self.evaluations}

    def load_state_dict(self, state):
        self.curves = {name: list(values) for name, values in state["curves"].items()}
        self.eval_step = list(state["eval_step"])
        self.evaluations = {name: list(values) for name, values in state["evaluations"].items()}


@dataclass
class EarlyStopping:
    """Stop when an evaluation has not improved for a while, and put the best parameters back.

    Args:
        patience: evaluations without improvement after which the run ends, >= 1.
        min_delta: what counts as an improvement, in the units of ``monitor``, >= 0.
        monitor: name of the evaluation watched.
        mode: ``"min"``, ``"max"``, or None: ``"min"`` for names that end in ``loss``, else ``"max"``.
        restore_best: put the parameters of the best evaluation back at the end, however the run ended.
    """

    patience: int = 5
    min_delta: float = 0.0
    monitor: str = "val_loss"
    mode: str | None = None
    restore_best: bool = True

    def __post_init__(self):
        self.patience = whole("patience", self.patience)
        non_negative("min_delta", self.min_delta)
        self.mode = self.mode or ("min" if self.monitor.endswith("loss") else "max")
        one_of("mode", self.mode, ("min", "max"))


class Patience:
    """The moving state of an ``EarlyStopping``: best value, its step, its parameters, evaluations since."""

    def __init__(self, rule):
        self.rule, self.best, self.best_step, self.waited, self.tensors = rule, math.inf, None, 0, None

    def observe(self, value, step, model):
        """Take in one evaluation; True when it is time to stop. A nan is no improvement."""
        value = value if self.rule.mode == "min" else -value
        if value < self.best - self.rule.min_delta or (self.best_step is None and not math.isnan(value)):
            self.best, self.best_step, self.waited = value, step, 0
            if self.rule.restore_best:
                self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
            return False
        self.waited += 1
        return self.waited >= self.rule.patience

    def restore(self, model):
        """Put the best parameters into ``model``, where they were kept."""
        if self.tensors is not None:
            model.load_state_dict(self.tensors)

    def state_dict(self):
        return {name: getattr(self, name) for name in ("best", "best_step", "waited", "tensors")}

    def load_state_dict(self, state):
        vars(self).update(state)
