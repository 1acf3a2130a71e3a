"""The loop: what it computes, what it records, when it stops, what it refuses."""

import math
import os
import signal
import threading

import numpy as np
import pytest
import torch
from dlopt import losses
from dlopt.data import Dataset, adding, diabetes, digits
from dlopt.models import elman, mlp
from dlopt.training import Batches, EarlyStopping, History, accuracy, evaluate, predict, train
from torch import nn
from torch.nn import functional

DIGITS = digits(dtype=torch.float64)
SMALL = Dataset("small", *(t[:60] for t in (DIGITS.x_train, DIGITS.y_train, DIGITS.x_val, DIGITS.y_val,
                                            DIGITS.x_test, DIGITS.y_test)), n_classes=10)  # fmt: skip


def net(seed=0, **keywords):
    return mlp([64, 16, 10], seed=seed, **keywords).double()


def sgd(model, lr=0.1, **keywords):
    return torch.optim.SGD(model.parameters(), lr=lr, **keywords)


def fit(model=None, data=SMALL, **keywords):
    model = net() if model is None else model
    keywords = {"loss": losses.cross_entropy, "steps": 6, "batch_size": 16, **keywords}
    keywords.setdefault("optimizer", sgd(model))
    return model, train(model, data, **keywords)


def by_hand(model, steps, lr=0.1, batch_size=16, seed=0, factor=lambda t: 1.0):
    """An independent loop: plain gradients and additions."""
    batches, seen = Batches(len(SMALL.x_train), batch_size, seed), []
    for t in range(steps):
        index = next(batches)
        loss = functional.cross_entropy(model(SMALL.x_train[index]), SMALL.y_train[index])
        grads = torch.autograd.grad(loss, list(model.parameters()))
        seen.append(loss.item())
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads):
                p -= lr * factor(t) * g
    return seen


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_iterates_equal_a_loop_written_by_hand():
    model, history = fit(steps=9)
    other = net()
    assert history.loss == pytest.approx(by_hand(other, 9), rel=1e-12)
    for p, q in zip(model.parameters(), other.parameters()):
        assert torch.allclose(p, q, rtol=0, atol=1e-14)


def test_history_counts_steps_examples_and_epochs_through_a_short_last_batch():
    _, history = fit(epochs=2, steps=None)  # 60 examples in batches of 16: 16 + 16 + 16 + 12
    assert history.steps == 8 and history.step.tolist() == list(range(1, 9))
    assert history.examples.tolist() == [16, 32, 48, 60, 76, 92, 108, 120]
    assert history.epochs == 2 and history.eval_step.tolist() == [0, 4, 8]
    assert np.all(np.diff(history.seconds) > 0) and len(history.eval_seconds) == 3
    assert set(history.evaluations) == {"val_loss", "val_accuracy"}


def test_recorded_validation_loss_is_that_of_the_final_model():
    model, history = fit()
    with torch.no_grad():
        expected = functional.cross_entropy(model(SMALL.x_val), SMALL.y_val).item()
        right = (model(SMALL.x_val).argmax(1) == SMALL.y_val).double().mean().item()
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-12)
    assert history["val_accuracy"][-1] == pytest.approx(right, rel=1e-6)


def test_evaluations_come_at_the_interval_and_on_the_splits_asked_for():
    _, history = fit(steps=7, evaluate_every=3, evaluate_on=("train", "test"), metrics={"mean": lambda p, y: p.mean()})
    assert history.eval_step.tolist() == [0, 3, 6, 7]
    assert set(history.evaluations) == {"train_loss", "train_mean", "test_loss", "test_mean"}


def test_evaluation_in_pieces_weighs_each_example_once():
    model = net()
    whole = evaluate(model, SMALL.x_val, SMALL.y_val, losses.cross_entropy, {"accuracy": accuracy})
    pieces = evaluate(model, SMALL.x_val, SMALL.y_val, losses.cross_entropy, {"accuracy": accuracy}, batch_size=7)
    assert pieces == pytest.approx(whole, rel=1e-6)
    assert torch.allclose(predict(model, SMALL.x_val, 7), model(SMALL.x_val))


def test_a_schedule_multiplies_the_rate_and_leaves_the_optimizer_as_it_was():
    model, other = net(), net()
    optimizer, factor = sgd(model), lambda t: 1 / (1 + t)
    _, history = fit(model, optimizer=optimizer, steps=5, schedule=factor)
    assert history.loss == pytest.approx(by_hand(other, 5, factor=factor), rel=1e-12)
    assert history.lr == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025, 0.02])
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_torch_schedulers_step_after_each_update():
    model = net()
    optimizer = sgd(model)
    _, history = fit(model, optimizer=optimizer, schedule=torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
    assert history.lr == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_plateau_scheduler_lowers_the_rate_when_validation_stands_still():
    model = net()
    optimizer = sgd(model, lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    _, history = fit(model, optimizer=optimizer, schedule=plateau, evaluate_every=2, loss=lambda p, y: 0 * p.sum() + 1)
    assert history.lr == pytest.approx([1, 1, 1, 1, 0.1, 0.1])


def test_clipping_bounds_the_gradient_and_records_its_norm_before():
    model = net()
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    _, history = fit(model, steps=1, clip_norm=1e-3)
    moved = torch.nn.utils.parameters_to_vector(model.parameters()) - start
    assert moved.norm().item() == pytest.approx(0.1 * 1e-3, rel=1e-2)
    assert history.grad_norm[0] > 0.1
    _, unclipped = fit(steps=1, record_grad_norm=True)
    assert unclipped.grad_norm[0] == pytest.approx(history.grad_norm[0], rel=1e-10)


def test_early_stopping_ends_after_patience_and_restores_the_best_parameters():
    values, kept = iter([3.0, 2.0, 1.0, 5.0, 4.0, 0.0]), []
    model, history = fit(
        steps=100, evaluate_every=1, early_stopping=EarlyStopping(2, monitor="val_made_up", mode="min"),
        metrics={"made_up": lambda p, y: torch.tensor(next(values))},
        callback=lambda run: kept.append({k: v.clone() for k, v in run.model.state_dict().items()}),
    )  # fmt: skip
    assert history.stopped_early and history.steps == 4 and history.best_step == 2
    assert all(torch.equal(v, kept[1][k]) for k, v in model.state_dict().items())


def test_early_stopping_counts_less_than_min_delta_as_no_improvement():
    values = iter([1.0, 0.95, 0.9, 0.85])
    _, history = fit(
        steps=100, evaluate_every=1, early_stopping=EarlyStopping(2, min_delta=0.2, monitor="val_v", mode="min"),
        metrics={"v": lambda p, y: torch.tensor(next(values))},
    )  # fmt: skip
    assert history.steps == 2 and history.best_step == 0


def test_nonfinite_loss_stops_with_the_examples_used_and_keeps_the_parameters():
    model = net()
    seen, kept = [], []

    def loss(prediction, target):
        if model.training:
            seen.append(None)
        return losses.cross_entropy(prediction, target) * (math.nan if len(seen) > 4 else 1.0)

    def keep(run):
        kept.append({k: v.clone() for k, v in run.model.state_dict().items()})

    with pytest.raises(FloatingPointError, match="loss became nan after 64 examples; lower lr") as caught:
        train(model, (SMALL.x_train, SMALL.y_train), optimizer=sgd(model, lr=1e-6), loss=loss, steps=9, batch_size=16,
              replacement=True, callback=keep)  # fmt: skip
    assert all(torch.equal(v, kept[-1][k]) for k, v in model.state_dict().items())
    assert caught.value.history.steps == 4 and caught.value.history.diverged


def test_a_rate_of_a_million_gives_the_error_that_names_it():
    with pytest.raises(FloatingPointError, match=r"after \d+ examples; lower lr \(now 1e\+300\) or clip the gradient"):
        fit(optimizer=lambda p: torch.optim.SGD(p, lr=1e300), steps=50)


def test_nonfinite_stop_returns_the_history_for_experiments_that_diverge():
    _, history = fit(optimizer=lambda p: torch.optim.SGD(p, lr=1e300), steps=50, nonfinite="stop")
    assert history.diverged and history.steps < 50 and np.isfinite(history.loss).all()


def test_a_nonfinite_gradient_is_not_applied_when_clipped():
    model = net()
    before = [p.detach().clone() for p in model.parameters()]

    def loss(prediction, target):  # finite value, infinite slope
        return (prediction - prediction.detach()).abs().sum().add(0).pow(0.5)

    with pytest.raises(FloatingPointError, match="gradient norm became (nan|inf)"):
        fit(model, loss=loss, clip_norm=1.0, data=(SMALL.x_train, SMALL.y_train))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before))


def test_ctrl_c_ends_after_the_update_in_progress_and_returns_what_was_reached(keyboard):
    def press(run):
        if run.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    model, history = fit(steps=1000, callback=press)
    assert history.interrupted and history.steps == 3 and history.eval_step[-1] == 3
    assert same(model, fit(steps=3)[0])
    assert signal.getsignal(signal.SIGINT) is before


def test_keyboard_interrupt_raised_inside_is_returned_too():
    def press(run):
        if run.step == 2:
            raise KeyboardInterrupt

    _, history = fit(steps=1000, callback=press)
    assert history.interrupted and history.steps == 2


def test_training_works_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(fit()[1]))
    thread.start()
    thread.join()
    assert found[0].loss == pytest.approx(fit()[1].loss)


def test_callback_can_end_the_run():
    _, history = fit(steps=100, callback=lambda run: run.step == 5 and run.history().steps == 5)
    assert history.stopped == "callback" and history.steps == 5


def test_dropout_is_on_in_training_off_in_evaluation_and_seeded_by_the_run():
    def dropped():
        model = net()
        model.add_module("dropout", nn.Dropout(0.5))
        return model

    torch.manual_seed(1)
    first, history = fit(dropped())
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second, again = fit(dropped())
    assert history.loss.tolist() == again.loss.tolist() and same(first, second)
    assert history.loss[0] != fit()[1].loss[0]
    plain = evaluate(first, SMALL.x_val, SMALL.y_val, losses.cross_entropy)
    assert history["val_loss"][-1] == plain["loss"] == evaluate(first, *SMALL.val, losses.cross_entropy)["loss"]
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_running_averages_follow_training_batches_only():
    model = net(normalization="batch")
    moved = []
    fit(model, steps=1, callback=lambda run: moved.append(run.model.norm1.running_mean.clone()))
    assert moved[0].abs().max() > 0
    assert torch.equal(model.norm1.running_mean, moved[0])
    assert not model.training


def test_parameters_outside_the_optimizer_stay_and_gather_no_gradient():
    model = net()
    frozen = model.linear1.weight.detach().clone()
    fit(model, optimizer=torch.optim.SGD(model.linear2.parameters(), lr=0.1))
    assert torch.equal(model.linear1.weight, frozen) and model.linear1.weight.grad is None


def test_batches_grow_by_epoch_with_the_permutations_of_the_seed():
    _, history = fit(epochs=3, steps=None, batch_size=lambda epoch: 15 * 2**epoch)
    assert np.diff(history.examples, prepend=0).tolist() == [15] * 4 + [30] * 2 + [60]
    grown, plain = Batches(60, lambda epoch: 15 * 2**epoch, seed=3), Batches(60, 60, seed=3)
    parts = [next(grown) for _ in range(7)]
    next(plain), next(plain)
    assert torch.equal(parts[-1], next(plain))


def test_regression_and_sequences_train_through_the_same_loop():
    data = diabetes(dtype=torch.float64)
    model = mlp([10, 8, 1]).double()
    history = train(model, data, optimizer=sgd(model, lr=0.05), loss=losses.mse, epochs=20)
    assert history["val_loss"][-1] < 0.8 * history["val_loss"][0]
    data = adding(100, 8, dtype=torch.float64)
    model = elman(2, 8, 1).double()
    history = train(model, data, optimizer=lambda p: torch.optim.Adam(p, 1e-2), loss=losses.mse, epochs=10)
    assert set(history.evaluations) == {"val_loss"} and history["val_loss"][-1] < history["val_loss"][0]


def test_language_modelling_scores_every_position():
    x = torch.arange(240).view(20, 12) % 7

    class Next(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 7)

        def forward(self, x):
            return self.table(x)

    def loss(prediction, target):
        return functional.cross_entropy(prediction.flatten(0, 1), target.flatten())

    data = Dataset("counting", x, (x + 1) % 7, x, (x + 1) % 7, x, (x + 1) % 7, n_classes=7)
    history = train(Next(), data, optimizer=lambda p: torch.optim.Adam(p, 0.1), loss=loss, epochs=40, batch_size=5)
    assert history["val_accuracy"][-1] == 1.0


def test_autocast_computes_in_bfloat16_and_keeps_the_parameters():
    model, seen = mlp([64, 16, 10]), []
    model.linear2.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    history = train(model, digits(), optimizer=sgd(model), loss=losses.cross_entropy, epochs=2, autocast=True)
    assert set(seen) == {torch.bfloat16} and model.linear1.weight.dtype is torch.float32
    assert history["val_loss"][-1] < history["val_loss"][0]


def test_progress_bar_goes_to_stderr_and_is_silent_by_default(capsys):
    fit()
    assert capsys.readouterr() == ("", "")
    fit(progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "step" in err


def test_zero_steps_evaluate_and_change_nothing():
    model, history = fit(steps=0)
    assert history.steps == 0 and history.eval_step.tolist() == [0] and same(model, net())


def test_steps_to_target_reads_losses_downward_and_metrics_upward():
    values = {"val_loss": np.array([3, 2, 1]), "val_accuracy": np.array([0.1, 0.5, 0.9])}
    history = History(eval_step=np.array([0, 10, 20]), evaluations=values)
    assert history.steps_to("val_loss", 2) == 10 and history.steps_to("val_accuracy", 0.8) == 20
    assert math.isnan(history.steps_to("val_loss", 0.5))
    with pytest.raises(ValueError, match="curve must be one of val_loss, val_accuracy; got 'loss2'"):
        history["loss2"]


@pytest.mark.parametrize(("prediction", "target", "expected"), [
    ([[2.0, 1.0], [0.0, 1.0]], [0, 0], 0.5),
    ([1.0, -1.0], [1, 1], 0.5),
    ([[1.0], [-1.0]], [1, 0], 1.0),
    ([[[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]], [[1, 0, 0]], 2 / 3),
])  # fmt: skip
def test_accuracy_reads_classes_scores_and_sequences(prediction, target, expected):
    assert accuracy(torch.tensor(prediction), torch.tensor(target)).item() == pytest.approx(expected)


def test_accuracy_takes_torchs_order_of_axes_for_sequences():
    logits = torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(0))
    target = logits.argmax(1)
    assert accuracy(logits, target).item() == 1.0


X, Y = SMALL.train


@pytest.mark.parametrize(("keywords", "message"), [
    ({"steps": None}, "exactly one of steps and epochs"),
    ({"epochs": 1}, "exactly one of steps and epochs"),
    ({"steps": -1}, "steps must be a whole number >= 0"),
    ({"batch_size": 0}, "batch_size must be a whole number >= 1"),
    ({"batch_size": 61}, "batch_size must be <= n = 60, got 61"),
    ({"data": (X[:0], Y[:0])}, "at least one, got 0 and 0"),
    ({"data": (X, Y[:5])}, "equally many inputs and targets, at least one, got 60 and 5"),
    ({"data": (X, Y + 1)}, r"targets must lie in 0 ... 9 for a model with 10 outputs, got 1 ... 10"),
    ({"data": (X.to("meta"), Y.to("meta"))}, r"the model is on cpu and x of the training data on meta; move one"),
    ({"data": (X.float(), Y)}, "model computes in torch.float64, x of the training data is torch.float32"),
    ({"data": (X.index_fill(0, torch.tensor([3]), math.nan), Y)}, "x of .* must be finite, got 64 of 3840"),
    ({"optimizer": "adam"}, "optimizer must be a torch Optimizer or make one from parameters, got 'adam'"),
    ({"optimizer": lambda p: torch.optim.SGD(net().parameters(), lr=0.1)}, "parameters of this model"),
    ({"optimizer": lambda p: torch.optim.SGD(p, lr=math.nan)}, "lr must be a finite number, got nan"),
    ({"schedule": lambda t: -1.0}, r"schedule\(0\) must be >= 0, got -1.0"),
    ({"schedule": lambda t: math.nan}, r"schedule\(0\) must be a finite number, got nan"),
    ({"schedule": 0.5}, "schedule must be a function of the step or a torch lr_scheduler, got 0.5"),
    ({"schedule": torch.optim.lr_scheduler.ConstantLR(sgd(net()))}, "attached to the optimizer of this run"),
    ({"clip_norm": 0.0}, "clip_norm must be > 0, got 0.0"),
    ({"clip_norm": math.nan}, "clip_norm must be a finite number, got nan"),
    ({"evaluate_every": -1}, "evaluate_every must be a whole number >= 0"),
    ({"evaluate_on": "dev"}, "evaluate_on must be one of train, val, test; got 'dev'"),
    ({"early_stopping": 0}, "patience must be a whole number >= 1"),
    ({"early_stopping": 3, "data": (X, Y)}, "early_stopping's monitor must be one of"),
    ({"early_stopping": 3, "evaluate_every": 0}, "early_stopping needs evaluations"),
    ({"nonfinite": "ignore"}, "nonfinite must be one of raise, stop; got 'ignore'"),
    ({"device": "gpu"}, "device must be one that this machine has, got 'gpu'"),
    ({"seed": -1}, "seed must be a whole number >= 0"),
    ({"resume": True}, "resume needs the file"),
])  # fmt: skip
def test_bad_arguments_are_refused_and_nothing_is_trained(keywords, message):
    model = net()
    keywords = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.1), **keywords}
    with pytest.raises(ValueError, match=message):
        fit(model, **keywords)
    assert same(model, net())


def test_unknown_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match="learning_rate"):
        fit(learning_rate=0.1)


def test_evaluating_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        evaluate(net(), X[:0], Y[:0], losses.cross_entropy)
