"""``Run``: a training run in progress; ``train`` sets it up."""

import contextlib
import math
import time
from pathlib import Path

import torch
from tqdm import tqdm

from dlopt.checks import non_negative, one_of, whole
from dlopt.losses.validation import unchecked
from dlopt.training.checkpoint import check_same_model, check_writable, read_checkpoint, write_checkpoint
from dlopt.training.evaluation import accuracy, check_data, check_targets, evaluate
from dlopt.training.history import EarlyStopping, Patience, Recorder
from dlopt.training.interrupt import deferred_interrupt

SPLITS = ("train", "val", "test")


class Run:
    """A run in progress; what ``callback`` sees.

    Attributes:
        step: updates done; total: updates to do; loss: mini-batch loss of the last update.
        stopped: how the run ended: "finished", "early", "callback", "interrupted" or "diverged"; "finished" until then.
        model, optimizer: the living objects.
    """

    def __init__(self, model, data, optimizer, loss, batches, seed):
        self.model, self.data, self.optimizer, self.loss_function = model, data, optimizer, loss
        self.x, self.y = data.train if hasattr(data, "train") else data
        self.batches, self.seed = batches, seed
        self.recorder, self.patience, self.stopped, self.loss = Recorder(), None, "finished", math.nan
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
        self.targets_checked, self.seconds_before, self.whole, self.saved_at = False, 0.0, True, None
        mine = {id(p) for p in self.parameters}
        everything = all(id(p) in mine or not p.requires_grad for p in model.parameters())
        self.zero_grad = optimizer.zero_grad if everything else model.zero_grad

    @property
    def step(self):
        return self.recorder.steps

    def history(self):
        """The record so far, a ``History``."""
        best = self.patience.best_step if self.patience else None
        epochs = self.recorder.last("examples", 0) / len(self.x)
        return self.recorder.history(epochs=epochs, stopped=self.stopped, best_step=best)

    # -- settings -------------------------------------------------------------------------------------------------

    def set_schedule(self, schedule):
        self.factor = self.scheduler = self.plateau = None
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.plateau = schedule
        elif isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
            self.scheduler = schedule
        elif schedule is not None:
            if not callable(schedule):
                raise ValueError(f"schedule must be a function of the step or a torch lr_scheduler, got {schedule!r}")
            self.factor = schedule
        attached = self.plateau or self.scheduler
        if attached is not None and attached.optimizer is not self.optimizer:
            raise ValueError("schedule must be attached to the optimizer of this run, it holds another one")

    def set_evaluation(self, every, splits, metrics, early_stopping):
        splits = (splits,) if isinstance(splits, str) else tuple(splits)
        for split in splits:
            one_of("evaluate_on", split, SPLITS)
        self.splits = {s: getattr(self.data, s) for s in splits} if hasattr(self.data, "train") else {}
        for name, (x, y) in self.splits.items():
            check_data(self.model, x, y, name=f"the {name} data")
        if metrics is None:
            metrics = {"accuracy": accuracy} if getattr(self.data, "n_classes", None) else {}
        self.metrics = metrics
        self.evaluate_every = every if every is None else whole("evaluate_every", every, low=0)
        if early_stopping is not None:
            rule = early_stopping if isinstance(early_stopping, EarlyStopping) else EarlyStopping(early_stopping)
            names = [f"{split}_{name}" for split in self.splits for name in ("loss", *metrics)]
            one_of("early_stopping's monitor", rule.monitor, names)
            if every == 0:
                raise ValueError("early_stopping needs evaluations, got evaluate_every=0; use None")
            self.patience = Patience(rule)

    def set_checkpoint(self, path, every, resume):
        self.path = None if path is None else Path(path)
        self.checkpoint_every = None if every is None else whole("checkpoint_every", every)
        self.resumed = None
        if self.path is None:
            if resume:
                raise ValueError("resume needs the file to resume from; give checkpoint='run.pt'")
            return
        if self.path.exists():
            if not resume:
                raise FileExistsError(f"checkpoint {self.path} exists; give resume=True or another path")
            self.resumed = read_checkpoint(self.path)
            self._check(self.resumed)
        check_writable(self.path)

    def _check(self, saved):
        """Refuse, before anything is changed, a checkpoint that does not fit."""
        check_same_model(self.path, saved["model"], self.model)
        kind = type(self.optimizer).__name__
        groups, saved_groups = self.optimizer.state_dict()["param_groups"], saved["optimizer"]["param_groups"]
        if saved["optimizer_kind"] != kind or [len(g["params"]) for g in groups] != [
            len(g["params"]) for g in saved_groups
        ]:
            raise ValueError(
                f"checkpoint {self.path} was made with {saved['optimizer_kind']} over {len(saved_groups)} group(s), "
                f"this run uses {kind} over {len(groups)}; give the same optimizer"
            )
        for part, mine in (("schedule", self.scheduler or self.plateau), ("patience", self.patience)):
            if (saved[part] is None) != (mine is None):
                there, here = ("without", "with") if saved[part] is None else ("with", "without")
                name = {"schedule": "a torch lr_scheduler", "patience": "early stopping"}[part]
                raise ValueError(f"checkpoint {self.path} was made {there} {name}, this run is {here}; give the same")
        self.batches.load_state_dict(saved["batches"])

    # -- checkpoint -----------------------------------------------------------------------------------------------

    def state_dict(self):
        """All that a resumed run needs, as tensors, numbers, strings, lists and dicts."""
        attached = self.scheduler or self.plateau
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": type(self.optimizer).__name__,
            "base_lrs": self.base_lrs,
            "schedule": attached and attached.state_dict(),
            "batches": self.batches.state_dict(),
            "patience": self.patience and self.patience.state_dict(),
            "random": torch.get_rng_state(),
            "random_device": torch.cuda.get_rng_state(self.x.device) if self.x.is_cuda else None,
            "record": self.recorder.state_dict(),
            "stopped": self.stopped,
        }

    def load_state_dict(self, saved):
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.base_lrs = list(saved["base_lrs"])
        for part, mine in ((saved["schedule"], self.scheduler or self.plateau), (saved["patience"], self.patience)):
            if part is not None:
                mine.load_state_dict(part)
        torch.set_rng_state(saved["random"])
        if saved["random_device"] is not None and self.x.is_cuda:
            torch.cuda.set_rng_state(saved["random_device"], self.x.device)
        self.recorder.load_state_dict(saved["record"])
        self.stopped = "early" if saved["stopped"] == "early" else "finished"
        self.seconds_before = self.recorder.last("seconds")

    def save(self):
        if self.path is not None and self.saved_at != self.step:
            write_checkpoint(self.path, self.state_dict())
            self.saved_at = self.step

    # -- the loop -------------------------------------------------------------------------------------------------

    def go(self, progress):
        """Run to the end; put back the random state, the signal handler and the learning rates."""
        cuda = [self.x.device] if self.x.is_cuda else []
        with torch.random.fork_rng(devices=cuda), deferred_interrupt() as pressed:
            torch.manual_seed(self.seed)
            if self.resumed is not None:
                self.load_state_dict(self.resumed)
                self.resumed = None
            bar = tqdm(total=self.total, initial=self.step, disable=not progress, unit="step", leave=False)
            try:
                self._loop(bar, pressed)
                self._last_words()
            except KeyboardInterrupt:
                self.stopped = "interrupted"
                if self.whole:
                    self.save()
            finally:
                bar.close()
                self._tidy()
                if hasattr(self.callback, "end"):
                    self.callback.end(self)
        return self.history()

    def _loop(self, bar, pressed):
        if self.step == 0 and self.stopped == "finished":
            self._evaluate()
        self.started = time.perf_counter()
        while self.step < self.total and self.stopped == "finished":
            self._update()
            self._after_update(bar, pressed)

    def _update(self):
        """One batch, one gradient, one step."""
        self.whole = False  # until the update is complete, no checkpoint may be taken
        if not self.model.training:
            self.model.train()
        epoch_before = self.batches.epoch
        index = next(self.batches)
        self.epoch_ended = self.batches.epoch != epoch_before
        x, y = self.x[index], self.y[index]
        self._set_lr()
        prediction = self._answer(x)
        if not self.targets_checked:
            check_targets(prediction.detach(), y, self.y, *(targets for _, targets in self.splits.values()))
        trusted = self.targets_checked and y.is_cuda  # there each look of a loss at its values waits for the device
        with unchecked() if trusted else contextlib.nullcontext():
            loss = self.loss_function(prediction, y)
        self.targets_checked = True
        self.loss = loss.item()
        if not math.isfinite(self.loss):
            return self._diverged("loss", self.loss)
        self.zero_grad()
        loss.backward()
        values = {"loss": self.loss, "lr": float(self.optimizer.param_groups[0]["lr"])}
        if self.clip_norm is not None or self.record_grad_norm:
            values["grad_norm"] = self._clip()
            if not math.isfinite(values["grad_norm"]):
                return self._diverged("gradient norm", values["grad_norm"])
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        values["examples"] = self.recorder.last("examples", 0) + len(index)
        self.recorder.update(**values, seconds=self.seconds_before + time.perf_counter() - self.started)
        self.whole = True

    def _answer(self, x):
        if not self.autocast:
            return self.model(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()

    def _clip(self):
        """Euclidean norm of the gradient over all parameters; the gradient is shortened to ``clip_norm``."""
        if self.clip_norm is not None:
            return float(torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm))
        return float(torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None]))

    def _set_lr(self):
        if self.factor is None:
            return
        factor = float(self.factor(self.step))
        non_negative(f"schedule({self.step})", factor)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs):
            group["lr"] = base * factor

    def _diverged(self, what, value):
        self.stopped = "diverged"
        if self.nonfinite == "raise":
            lr, examples = float(self.optimizer.param_groups[0]["lr"]), self.recorder.last("examples", 0)
            way_out = "lower lr" if self.clip_norm is not None else f"lower lr (now {lr:g}) or clip the gradient"
            error = FloatingPointError(f"{what} became {value} after {examples} examples; {way_out}")
            error.history = self.history()
            raise error

    def _after_update(self, bar, pressed):
        if self.stopped == "diverged":
            return
        bar.update()
        if bar.n % 20 == 0:
            bar.set_postfix_str(f"loss {self.loss:.4g}", refresh=False)
        if self.callback is not None and self.callback(self):
            self.stopped = "callback"
        every = self.evaluate_every
        evaluated = self.epoch_ended if every is None else every and self.step % every == 0
        if evaluated:
            self._evaluate()
        if pressed and self.stopped == "finished":
            self.stopped = "interrupted"
        if evaluated if self.checkpoint_every is None else self.step % self.checkpoint_every == 0:
            self._off_the_clock(self.save)

    def _last_words(self):
        """The last checkpoint, then the last evaluation: one that a longer run would not make stays out of the file."""
        if self.stopped != "diverged":
            self.save()
        if not self.recorder.eval_step or self.recorder.eval_step[-1] != self.step:
            self._evaluate(last=True)

    def _off_the_clock(self, work):
        began = time.perf_counter()
        work()
        self.started = getattr(self, "started", began) + time.perf_counter() - began

    def _evaluate(self, last=False):
        if self.splits and self.evaluate_every != 0:
            self._off_the_clock(lambda: self._evaluate_splits(last))

    def _evaluate_splits(self, last):
        values = {}
        for split, (x, y) in self.splits.items():
            found = evaluate(self.model, x, y, self.loss_function, self.metrics, autocast=self.autocast)
            values |= {f"{split}_{name}": value for name, value in found.items()}
        self.recorder.evaluation(values)
        if self.plateau is not None and self.step and not last:
            self.plateau.step(values[f"{next(iter(self.splits))}_loss"])
        if self.patience is not None:
            enough = self.patience.observe(values[self.patience.rule.monitor], self.step, self.model)
            self.stopped = "early" if enough and not last else self.stopped

    def _tidy(self):
        """Best parameters and base learning rates back in place, no gradients left, evaluation mode."""
        if self.patience is not None:
            self.patience.restore(self.model)
        if self.factor is not None:
            for group, base in zip(self.optimizer.param_groups, self.base_lrs):
                group["lr"] = base
        self.zero_grad()
        self.model.eval()
