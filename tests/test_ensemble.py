"""K models at once end where K runs of ``train`` end; a diverged member disturbs nobody; memory is asked for first."""

import math
import shutil

import numpy as np
import pytest
import torch
from dlopt import losses
from dlopt.data import Dataset, adding, digits
from dlopt.ensemble import Ensemble, memory, sweep
from dlopt.models import elman, gru, lstm, mlp, small_cnn, transformer
from dlopt.optimizers import Optimizer
from dlopt.rules import adam, momentum, rule
from dlopt.training import train
from torch import nn
from torch.nn import functional

FULL = digits(dtype=torch.float64)
DATA = Dataset("small", *(t[:60] for t in (*FULL.train, *FULL.val, *FULL.test)), n_classes=10)
IMAGES = Dataset("images", *(t[:40].view(-1, 1, 8, 8) if t.ndim == 2 else t[:40] for t in (
    *FULL.train, *FULL.val, *FULL.test)), n_classes=10)  # fmt: skip
SEQUENCES = adding(48, 6, dtype=torch.float64)
TOKENS = torch.arange(40 * 9).view(40, 9) * 7 % 11
TEXT = Dataset("text", *(TOKENS[:, :-1], TOKENS[:, 1:]) * 3, n_classes=11)


def dense(seed, **keywords):
    return mlp([64, 16, 10], seed=seed, **keywords).double()


def token_loss(logits, target):
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten())


def with_torch_layers(seed):
    torch.manual_seed(seed)
    norm, conv = nn.BatchNorm2d(4), nn.Conv2d(1, 4, 3, padding=1)
    return nn.Sequential(conv, norm, nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)).double()


def with_frozen_layer(seed):
    model = dense(seed)
    model.linear1.requires_grad_(False)
    return model


def assert_equals_sequential(make_model, data, loss, rule="momentum", hyper=None, schedule=None, atol=1e-12, steps=9,
                             optimizer=None, clip_norm=None, ensemble=None, **keywords):  # fmt: skip
    """Train an ensemble over 2 rates x 2 seeds and its members one by one, by the torch adapter of the rule."""
    seeds, K = [5, 6, 5, 6], 4
    hyper = {"lr": [0.05, 0.05, 0.02, 0.02], **(hyper or {})}
    options = {"rule": rule, "hyper": hyper, "loss": loss, "clip_norm": clip_norm, **(ensemble or {})}
    together = Ensemble(make_model, seeds=seeds, **options)
    schedules = schedule if isinstance(schedule, list) else [schedule] * K
    keywords = {"steps": steps, "batch_size": 16, "evaluate_every": 4, **keywords}
    history = together.train(data, schedule=schedule, **keywords)
    keywords.pop("chunk", None)
    for k in range(K):
        model = make_model(seed=seeds[k])
        own = {name: v[k] if isinstance(v, list) else v for name, v in hyper.items()}
        alone = train(model, data, optimizer=lambda p, own=own: Optimizer(p, rule, **own), loss=loss, seed=seeds[k],
                      schedule=schedules[k], clip_norm=clip_norm, **keywords)  # fmt: skip
        np.testing.assert_allclose(history.loss[k], alone.loss, rtol=0, atol=atol)
        np.testing.assert_allclose(history.lr[k], alone.lr, rtol=1e-15)
        assert history.eval_step.tolist() == alone.eval_step.tolist()
        for name, values in alone.evaluations.items():
            np.testing.assert_allclose(history[name][k], values, rtol=0, atol=max(atol, 1e-6 * ("accuracy" in name)))
        for (name, a), b in zip(model.state_dict().items(), together.model(k).state_dict().values(), strict=True):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=0, atol=atol, err_msg=name)
    return together, history


TAME = {"eps": 1e-3}  # Adam's quotient g / (|g| + eps) enlarges the rounding of gradients that are zero by 1 / eps

ARCHITECTURES = {
    "mlp": (dense, DATA, losses.cross_entropy),
    "mlp with torch's loss": (dense, DATA, functional.cross_entropy),
    "mlp without bias, tanh": (lambda seed: dense(seed, bias=False, activation="tanh"), DATA, losses.cross_entropy),
    "mlp with batch norm": (lambda seed: dense(seed, normalization="batch"), DATA, losses.cross_entropy),
    "mlp with layer norm": (lambda seed: dense(seed, normalization="layer"), DATA, losses.cross_entropy),
    "frozen layer": (with_frozen_layer, DATA, losses.cross_entropy),
    "cnn": (lambda seed: small_cnn(side=8, widths=(3, 4), seed=seed).double(), IMAGES, losses.cross_entropy),
    "torch's conv, batch norm, pooling": (with_torch_layers, IMAGES, losses.cross_entropy),
    "elman": (lambda seed: elman(2, 5, 1, seed=seed).double(), SEQUENCES, losses.mse),
    "lstm": (lambda seed: lstm(2, 5, 1, seed=seed).double(), SEQUENCES, functional.mse_loss),
    "gru": (lambda seed: gru(2, 5, 1, seed=seed).double(), SEQUENCES, losses.huber),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_members_end_where_sequential_runs_end(name):
    assert_equals_sequential(*ARCHITECTURES[name])


def test_members_of_a_transformer_end_where_sequential_runs_end():
    def make(seed):
        return transformer(11, length=8, width=8, heads=2, layers=1, seed=seed).double()

    assert_equals_sequential(make, TEXT, token_loss, rule="adam", hyper={"lr": [0.01, 0.01, 0.02, 0.02]})


RULES = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "amsgrad", "nadam", "radam", "lion"]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", ["groups", "columns"])
def test_every_rule_equals_its_optimizer(name, kind, monkeypatch):
    monkeypatch.setattr("dlopt.ensemble.steppers.GROUP_FROM", 0 if kind == "groups" else 10**9)
    assert_equals_sequential(dense, DATA, losses.cross_entropy, rule=name)


@pytest.mark.parametrize("kind", ["groups", "columns"])
def test_members_may_differ_in_every_number(kind, monkeypatch):
    monkeypatch.setattr("dlopt.ensemble.steppers.GROUP_FROM", 0 if kind == "groups" else 10**9)
    hyper = {"beta1": [0.9, 0.8, 0.5, 0.0], "beta2": [0.999, 0.99, 0.9, 0.5], "weight_decay": [0.0, 0.1, 0.2, 0.3],
             "l2": [0.01, 0.0, 0.0, 0.02], "eps": 1e-6}  # fmt: skip
    assert_equals_sequential(dense, DATA, losses.cross_entropy, rule="nadam", hyper=hyper)


def test_a_rule_that_needs_matrices_runs_on_each_parameter():
    def make(seed):
        return dense(seed, bias=False)

    hyper = {"mu": [0.9, 0.9, 0.5, 0.5], "l2": 0.1}
    assert_equals_sequential(make, DATA, losses.cross_entropy, rule="muon", hyper=hyper)


def test_a_rule_of_ones_own_that_cannot_be_recorded_runs_too():
    def made_up(g, m, *, t, lr=0.01):
        m = m + g if t < 4 else g
        return -lr * m, m

    assert_equals_sequential(dense, DATA, losses.cross_entropy, rule=_registered(made_up))


def _registered(function):
    from dlopt.rules import RULES

    made = rule(function)
    del RULES[function.__name__]
    return made


def test_a_state_that_is_the_gradient_itself_is_kept_apart_from_the_next_gradient():
    def difference(g, last, *, t, lr=0.01):
        return -lr * (2 * g - last), g

    assert_equals_sequential(dense, DATA, losses.cross_entropy, rule=_registered(difference))


@pytest.mark.parametrize("kind", ["groups", "columns"])
def test_members_may_have_schedules_of_their_own(kind, monkeypatch):
    monkeypatch.setattr("dlopt.ensemble.steppers.GROUP_FROM", 0 if kind == "groups" else 10**9)
    schedules = [None, lambda t: 1 / (1 + t), lambda t: 0.5**t, None]
    assert_equals_sequential(dense, DATA, losses.cross_entropy, schedule=schedules)


def test_each_member_is_clipped_by_its_own_norm():
    assert_equals_sequential(dense, DATA, losses.cross_entropy, clip_norm=0.5)


@pytest.mark.parametrize("keywords", [
    {"replacement": True}, {"chunk": 3}, {"chunk": 1}, {"steps": None, "epochs": 2, "evaluate_every": None},
    {"batch_size": lambda epoch: 10 + 10 * epoch, "steps": 8}, {"evaluate_on": ("train", "test")},
])  # fmt: skip
def test_settings_of_the_run_mean_what_they_mean_in_train(keywords):
    steps = keywords.pop("steps", 9)
    assert_equals_sequential(lambda seed: dense(seed, normalization="batch"), DATA, losses.cross_entropy, steps=steps,
                             rule="nadam", hyper=TAME, **keywords)  # fmt: skip


def test_a_second_call_goes_on_with_state_and_step_count():
    def fresh():
        return Ensemble(dense, seeds=[1, 2], rule=adam, hyper={"lr": [0.01, 0.02]}, loss=losses.cross_entropy)

    once, twice = fresh(), fresh()
    full_batch = {"batch_size": 60, "evaluate_every": 0}
    once.train(DATA, steps=6, **full_batch)
    twice.train(DATA, steps=3, **full_batch)
    twice.train(DATA, steps=3, **full_batch)
    torch.testing.assert_close(once.network.theta, twice.network.theta, rtol=0, atol=1e-13)


def test_classes_marked_to_be_ignored_count_for_nothing_as_in_train():
    y = DATA.y_train.clone()
    y[::7] = -100
    assert_equals_sequential(dense, (DATA.x_train, y), functional.cross_entropy)


def test_a_diverged_member_is_recorded_and_disturbs_nobody():
    def run(rates):
        ensemble = Ensemble(dense, seeds=[0] * len(rates), rule="sgd", hyper={"lr": rates}, loss=losses.cross_entropy)
        return ensemble.train(DATA, steps=20, batch_size=16)

    alone, mixed = run([0.1]), run([1e300, 0.1])
    assert mixed.diverged.tolist() == [True, False]
    assert not np.isfinite(mixed.loss[0, -1]) and not np.isfinite(mixed["val_loss"][0, -1])
    np.testing.assert_allclose(mixed.loss[1], alone.loss[0], rtol=0, atol=1e-13)


def test_dropout_differs_between_members_of_one_seed():
    def make(seed):
        return nn.Sequential(*dense(seed), nn.Dropout(0.5))

    history = Ensemble(make, seeds=[0, 0], rule="sgd", loss=losses.cross_entropy).train(DATA, steps=2)
    assert history.loss[0, 0] != history.loss[1, 0] and history["val_loss"][0, 0] == history["val_loss"][1, 0]


def test_predictions_and_evaluation_are_those_of_the_members():
    ensemble = Ensemble(dense, seeds=[0, 1, 2], rule="sgd", loss=losses.cross_entropy)
    answers = ensemble.predict(DATA.x_val, batch_size=7)
    for k in range(3):
        torch.testing.assert_close(answers[k], ensemble.model(k)(DATA.x_val))
        expected = functional.cross_entropy(answers[k], DATA.y_val).item()
        assert ensemble.evaluate(*DATA.val, batch_size=9)["loss"][k] == pytest.approx(expected, rel=1e-12)


def test_batch_seeds_part_the_start_from_the_order():
    ensemble = Ensemble(dense, seeds=[0, 0], batch_seeds=[1, 2], rule="sgd", loss=losses.cross_entropy)
    start = ensemble.network.theta.clone()
    assert torch.equal(start[0], start[1])
    history = ensemble.train(DATA, steps=3, batch_size=8)
    assert history.loss[0, 0] != history.loss[1, 0]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mlp", "mlp with batch norm"])
def test_compiled_updates_equal_sequential_runs(name):
    assert_equals_sequential(*ARCHITECTURES[name], rule="adam", hyper=TAME, ensemble={"compile": True})


def test_compile_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="compile=True needs a C.. compiler, none was found; use compile=False"):
        Ensemble(dense, seeds=[0], rule="sgd", loss=losses.cross_entropy, compile=True)


def test_memory_is_checked_before_it_is_asked_for(monkeypatch):
    ensemble = Ensemble(dense, seeds=range(8), rule="adam", loss=losses.cross_entropy)
    each = memory.bytes_per_member(ensemble.network, adam, DATA.x_train[:1], 16)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 3.5 * each / memory.SHARE)
    assert memory.members_at_once(ensemble.network, adam, DATA.x_train[:1], 16) == 3
    with pytest.raises(MemoryError, match=r"5 member.s. need about .* GiB.*; use chunk=3 or None"):
        ensemble.train(DATA, steps=1, batch_size=16, chunk=5)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 0.5 * each)
    with pytest.raises(MemoryError, match="use a smaller batch_size or model"):
        ensemble.train(DATA, steps=1, batch_size=16)
    with pytest.raises(MemoryError, match="8 member.s. of"):
        monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
        Ensemble(dense, seeds=range(8), rule="adam", loss=losses.cross_entropy)


def test_the_estimate_of_memory_grows_with_the_batch_and_covers_the_activations():
    ensemble = Ensemble(dense, seeds=[0], rule="sgd", loss=losses.cross_entropy)
    small, large = (memory.bytes_per_member(ensemble.network, momentum, DATA.x_train[:1], b) for b in (1, 101))
    assert (large - small) / 100 >= 8 * (64 + 16 + 10)  # input, hidden layer, output in float64


def test_evaluation_takes_as_many_examples_as_fit(monkeypatch):
    ensemble = Ensemble(dense, seeds=range(4), rule="adam", loss=losses.cross_entropy)
    each = memory.activation_bytes(ensemble.network, DATA.x_train[:1])
    assert memory.examples_at_once(ensemble.network, DATA.x_train[:1]) == 1024
    monkeypatch.setattr(memory, "available_bytes", lambda device: 4 * 4 * 7 * each)
    assert memory.examples_at_once(ensemble.network, DATA.x_train[:1]) == 7


def test_automatic_chunks_give_the_same_result(monkeypatch):
    whole = Ensemble(dense, seeds=range(5), rule="adam", loss=losses.cross_entropy)
    parts = Ensemble(dense, seeds=range(5), rule="adam", loss=losses.cross_entropy)
    expected = whole.train(DATA, steps=5, batch_size=16)
    monkeypatch.setattr("dlopt.ensemble.engine.members_at_once", lambda *a: 2)
    found = parts.train(DATA, steps=5, batch_size=16)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=1e-13)
    torch.testing.assert_close(parts.network.theta, whole.network.theta, rtol=0, atol=1e-13)
    for a, b in zip(parts.state, whole.state):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


GRID = {"lr": [1e-4, 0.1, 0.3], "mu": [0.0, 0.9]}


def grid_sweep(**keywords):
    keywords = {"grid": GRID, "seeds": [0, 1], "loss": losses.cross_entropy, "steps": 12, "batch_size": 16, **keywords}
    return sweep(dense, DATA, "momentum", **keywords)


def test_sweep_arrays_are_indexed_by_grid_seed_time():
    result = grid_sweep(evaluate_every=6)
    assert result.loss.shape == (6, 2, 12) and result["val_loss"].shape == (6, 2, 3)
    assert result.points[3] == {"lr": 0.1, "mu": 0.9} and result.eval_step.tolist() == [0, 6, 12]
    model = dense(seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    alone = train(model, DATA, optimizer=optimizer, steps=12, batch_size=16, loss=losses.cross_entropy, seed=1,
                  evaluate_every=6)  # fmt: skip
    np.testing.assert_allclose(result.loss[3, 1], alone.loss, atol=1e-12)
    np.testing.assert_allclose(result["val_loss"][3, 1], alone["val_loss"], atol=1e-12)


def test_best_minimizes_losses_maximizes_metrics_and_rejects_diverged_points():
    result = grid_sweep(grid={"lr": [1e-4, 0.1, 1e300]})
    assert result.diverged.tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert result.best() == (1, {"lr": 0.1}) == result.best("val_accuracy")
    assert result.scores()[2] == math.inf and result.edge() is None
    assert result.final("val_accuracy").shape == (3, 2)


@pytest.mark.parametrize(("rates", "edge"), [([1e-4, 1e-3], "high"), ([0.1, 1e300], "low"), ([0.1], "low")])
def test_an_optimum_on_the_edge_of_the_grid_is_told(rates, edge):
    assert grid_sweep(grid={"lr": rates}).edge() == edge


def test_sweep_without_a_finite_point_has_no_best():
    with pytest.raises(ValueError, match="no grid point has all its runs finite; extend the grid to lower"):
        grid_sweep(grid={"lr": [1e300]}).best()


LOSS = {"loss": losses.cross_entropy}


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Ensemble(dense, seeds=[], rule="sgd", **LOSS), "seeds must hold at least one seed"),
    (lambda: Ensemble(dense, seeds=[-1], rule="sgd", **LOSS), "each of seeds must be a whole number >= 0"),
    (lambda: Ensemble(dense, seeds=[0], rule="sgdd", **LOSS), "rule must be one of .*; got 'sgdd'"),
    (lambda: Ensemble(dense, seeds=[0], rule="sgd", hyper={"mu": 0.9}, **LOSS), "sgd has no hyper-parameter 'mu'"),
    (lambda: Ensemble(dense, seeds=[0, 1], rule="sgd", hyper={"lr": [0.1]}, **LOSS), "lr must be one number or 2"),
    (lambda: Ensemble(dense, seeds=[0, 1], rule="sgd", hyper={"lr": [0.1, math.nan]}, **LOSS), "lr must be a finite"),
    (lambda: Ensemble(dense, seeds=[0], rule="adam", hyper={"beta2": 1.0}, **LOSS), r"beta2 must be in \[0, 1\)"),
    (lambda: Ensemble(dense, seeds=[0], rule="sgd", hyper={"l2": -1.0}, **LOSS), "l2 must be >= 0"),
    (lambda: Ensemble(dense, seeds=[0], rule="muon", **LOSS), "muon needs .* >= 2 dimensions, linear1.bias has"),
    (lambda: Ensemble(dense, seeds=[0], rule="sgd", clip_norm=0, **LOSS), "clip_norm must be > 0"),
    (lambda: Ensemble(lambda seed: mlp([64, 8 + seed, 10]), seeds=[0, 1], rule="sgd", **LOSS), "one architecture for"),
    (lambda: Ensemble(dense, seeds=[0], batch_seeds=[0, 1], rule="sgd", **LOSS), "batch_seeds must be as long"),
    (lambda: grid_sweep(grid={}), "grid and seeds must not be empty"),
    (lambda: grid_sweep(grid={"lr": []}), "grid of lr must hold different values, at least one"),
    (lambda: grid_sweep(grid={"lr": [0.1, 0.1]}), "grid of lr must hold different values"),
    (lambda: grid_sweep(seeds=[]), "grid and seeds must not be empty"),
    (lambda: grid_sweep(hyper={"mu": 0.5}), "mu must stand in grid or in hyper, got both"),
])  # fmt: skip
def test_bad_ensembles_and_grids_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


X, Y = DATA.train


@pytest.mark.parametrize(("keywords", "message"), [
    ({"steps": None}, "exactly one of steps and epochs"),
    ({"data": (X[:0], Y[:0])}, "at least one, got 0 and 0"),
    ({"data": (X, Y + 1)}, "targets must lie in 0 ... 9 for a model with 10 outputs"),
    ({"data": (X.to("meta"), Y.to("meta"))}, "the model is on cpu and x of the training data on meta"),
    ({"data": (X.float(), Y)}, "model computes in torch.float64"),
    ({"schedule": [None]}, "schedule must be one function or 2 of them, got 1"),
    ({"schedule": lambda t: -1.0}, r"schedule\(0\) must be >= 0"),
    ({"chunk": 0}, "chunk must be a whole number >= 1"),
    ({"evaluate_on": "dev"}, "evaluate_on must be one of"),
])  # fmt: skip
def test_bad_runs_are_refused(keywords, message):
    ensemble = Ensemble(dense, seeds=[0, 1], rule="sgd", **LOSS)
    with pytest.raises(ValueError, match=message):
        ensemble.train(**{"data": DATA, "steps": 2, "batch_size": 16, **keywords})


def test_a_model_that_cannot_be_batched_is_named():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTM(2, 3, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0][:, -1, :1]

    ensemble = Ensemble(lambda seed: Fused().double(), seeds=[0], rule="sgd", loss=losses.mse)
    with pytest.raises(ValueError, match="operators that torch.func.vmap can batch, it uses aten::lstm; the layers of"):
        ensemble.train(SEQUENCES, steps=1)


def test_a_parameter_without_influence_is_named():
    def make(seed):
        model = dense(seed)
        model.register_parameter("idle", nn.Parameter(torch.zeros(3, dtype=torch.float64)))
        return model

    with pytest.raises(ValueError, match="parameter idle has no influence on the loss; freeze it"):
        Ensemble(make, seeds=[0], rule="sgd", loss=losses.cross_entropy).train(DATA, steps=1)


def test_the_benchmark_reports_a_speedup_for_every_problem_and_rule():
    from dlopt.benchmarks import ensembles

    problems = {"tiny": (dense, lambda: DATA.train, losses.cross_entropy, functional.cross_entropy, ("sgd", "adam"), 2)}
    result = ensembles.run(seconds=0.1, problems=problems, seeds=1, blocks=2)
    assert [row["rule"] for row in result["rows"]] == ["sgd", "adam"] and result["rows"][0]["members"] == 8
    for row in result["rows"]:
        assert 0 < row["speedup"]["low"] <= row["speedup"]["high"] and row["us"] > 0
        assert row["speedup"]["high"] == pytest.approx(row["loop_us"] / row["us"], rel=2)
    assert len(ensembles.lines(result)) == 3
