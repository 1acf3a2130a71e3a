"""The race: equal budgets, extended edges, fresh seeds, paired intervals, ties, resumable."""

import inspect
import json
import math

import numpy as np
import pytest
import torch
from dlopt import losses, rules
from dlopt.data import Dataset, diabetes, digits
from dlopt.models import mlp
from dlopt.optimizers import Optimizer
from dlopt.race import Entry, EntryResult, RaceResult, protocol, race, tune
from dlopt.scale import seeds
from dlopt.statistics import paired_difference
from dlopt.training import train

FULL = digits(dtype=torch.float64)
DATA = Dataset("small", *(t[:80] for t in (*FULL.train, *FULL.val, *FULL.test)), n_classes=10)
GRID = [0.03, 0.1, 0.3]


def net(seed):
    return mlp([64, 16, 10], seed=seed).double()


def small_race(entries=None, **keywords):
    entries = {"sgd": Entry("sgd", GRID), "momentum": Entry("momentum", GRID)} if entries is None else entries
    keywords = {"loss": losses.cross_entropy, "steps": 20, "batch_size": 20, "tuning_seeds": 2, "seeds": 5, **keywords}
    return race(entries, net, DATA, **keywords)


@pytest.fixture(scope="module")
def result():
    return small_race()


def test_the_chosen_rate_is_best_on_validation_over_the_tuning_seeds(result):
    costs = []
    for lr in GRID:
        finals = []
        for seed in seeds(2):
            model = net(seed)
            history = train(model, DATA, optimizer=lambda p, lr=lr: Optimizer(p, "sgd", lr), loss=losses.cross_entropy,
                            steps=20, batch_size=20, seed=seed)  # fmt: skip
            finals.append(history["val_loss"][-1])
        costs.append(np.mean(finals))
    tried = result.entries["sgd"].tuning
    assert [tried[lr] for lr in GRID] == pytest.approx(costs, rel=1e-10)
    assert result.entries["sgd"].lr == min(tried, key=tried.get)


def test_final_values_are_those_of_single_runs_with_the_fresh_seeds(result):
    entry = result.entries["momentum"]
    assert len(result.seeds) == 5 and not set(result.seeds) & set(seeds(2))
    model = net(result.seeds[3])
    train(model, DATA.train, optimizer=lambda p: Optimizer(p, "momentum", entry.lr), loss=losses.cross_entropy,
          steps=20, batch_size=20, seed=result.seeds[3])  # fmt: skip
    right = (model(DATA.x_test).argmax(1) == DATA.y_test).double().mean().item()
    assert entry.final("test_accuracy")[3] == pytest.approx(right, abs=1e-6)


def test_an_optimum_on_the_edge_extends_the_grid_until_it_lies_inside():
    low = small_race({"low": Entry("sgd", [1e-4, 3e-4, 9e-4]), "sgd": Entry("sgd", GRID)}).entries["low"]
    assert low.extensions in (2, 4, 6, 8) and (low.edge is None) == (low.lr < max(low.tuning))
    assert max(low.tuning) > 0.05 and low.lr > 9e-4
    rates = sorted(low.tuning)
    assert np.diff(np.log(rates)) == pytest.approx(np.full(len(rates) - 1, math.log(3)), rel=0.01)


def test_a_grid_that_is_too_high_is_extended_downwards():
    entry = small_race({"high": Entry("sgd", [1.0, 3.0, 9.0]), "sgd": Entry("sgd", GRID)}).entries["high"]
    assert entry.extensions > 0 and min(entry.tuning) < 1.0 and entry.lr < 9.0


def test_an_optimum_still_on_the_edge_is_reported(monkeypatch):
    monkeypatch.setattr(protocol, "MOST_EXTENSIONS", 1)
    found = small_race({"low": Entry("sgd", [1e-8, 2e-8, 4e-8]), "sgd": Entry("sgd", GRID)})
    assert found.entries["low"].edge == "high" and found.entries["low"].extensions == 2
    assert found.rows()[0]["edge"] == "high" and found.rows()[0]["rates tried"] == 5


def test_a_rule_that_always_diverges_is_named():
    with pytest.raises(ValueError, match="sgd diverged at every rate tried, 3.88e.297 ... 4e.300; give lower ones"):
        small_race({"bad": Entry("sgd", [1e300, 2e300, 4e300]), "sgd": Entry("sgd", GRID)})


def made_up(values, reference, name="test_loss", level=0.95):
    """A race whose final values are given, [S] each."""
    entries = {
        key: EntryResult(key, key, {}, 0.1, None, 0, np.array([0, 10]),
                         {name: np.stack([np.full(len(v), 9.0), v], 1), "val_loss": np.array([[3.0, 1.0]] * len(v))})
        for key, v in {"reference": reference, **values}.items()
    }  # fmt: skip
    return RaceResult(entries, "reference", name, ("val_loss", 1.0), level, list(range(len(reference))))


def test_verdicts_follow_the_paired_difference_and_the_direction_of_the_metric():
    base = np.random.default_rng(0).normal(1.0, 0.5, 8)  # seeds differ by far more than the entries
    noise = 0.001 * np.arange(8)
    values = {"lower": base - 0.1 + noise, "higher": base + 0.1 + noise, "same": base + np.array([1, -1] * 4) * 0.01}
    as_loss, as_accuracy = made_up(values, base), made_up(values, base, name="test_accuracy")
    assert [as_loss.verdict(n) for n in as_loss.entries] == ["reference", "better", "worse", "tie"]
    assert [as_accuracy.verdict(n) for n in as_loss.entries] == ["reference", "worse", "better", "tie"]
    expected = paired_difference(values["lower"], base, 1 - 0.05 / 3, method="bootstrap")
    assert tuple(as_loss.difference("lower")) == tuple(expected)


def test_equal_rules_tie_more_often_than_the_level_says():
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(200):
        wrong += made_up({"twin": rng.normal(size=5)}, rng.normal(size=5)).verdict("twin") != "tie"
    assert wrong <= 0.05 * 200 + 3


def test_the_same_rule_twice_is_a_tie_with_no_difference_at_all():
    twins = small_race({"a": Entry("sgd", GRID), "b": Entry("sgd", GRID)})
    assert twins.verdict("b") == "tie" and tuple(twins.difference("b")) == (0, 0, 0)


def test_a_diverged_entry_is_said_to_have_diverged():
    base = np.ones(5)
    race_ = made_up({"bad": np.array([1, 1, np.nan, 1, 1])}, base)
    assert race_.verdict("bad") == "diverged" and "diverged" in race_.table()


def test_steps_to_target_are_read_at_evaluations_and_nan_if_never():
    curves = {"val_loss": np.array([[3, 2, 1], [3, 3, 3]]), "val_accuracy": np.array([[0.1, 0.9, 0.9]] * 2)}
    entry = EntryResult("a", "a", {}, 0.1, None, 0, np.array([0, 5, 10]), curves)
    np.testing.assert_array_equal(entry.steps_to("val_loss", 1.5), [10, np.nan])
    np.testing.assert_array_equal(entry.steps_to("val_accuracy", 0.9), [5, 5])


def test_table_has_a_row_per_entry_and_agrees_with_the_rows(result):
    lines, rows = result.table().splitlines(), result.table("rows")
    assert len(lines) == 4 and [row["entry"] for row in rows] == ["sgd", "momentum"]
    assert rows[0]["verdict"] == "reference" and rows[0]["difference"] is None
    assert rows[1]["seconds to target"] == pytest.approx(rows[1]["steps to target"] * rows[1]["ms per step"] / 1e3)
    assert 0.01 < rows[0]["ms per step"] < 100
    assert lines[0].startswith("| entry | verdict | difference | test accuracy | lr | rates tried")
    assert rows[1]["edge"] is None


def test_steps_to_target_are_those_of_the_typical_run_also_where_half_of_the_runs_get_there():
    def entry(name, *ends):
        values = np.array([[3.0, end] for end in ends])
        return EntryResult(name, name, {}, 0.1, None, 0, np.array([0, 10]), {"val_loss": values, "test_loss": values})

    found = RaceResult({"a": entry("a", 1, 1.123, 2, 2), "b": entry("b", 1, 2, 2, 2)}, "a", "test_loss",
                       ("val_loss", 1.5), 0.95, [0, 1, 2, 3])
    assert [row["steps to target"] for row in found.rows()] == [10, math.inf]
    assert "| 1.5 [0.7,\N{NO-BREAK SPACE}2.4] |" in found.table() and "never" in found.table().splitlines()[3]


def test_curves_are_the_mean_over_seeds_with_a_band(result):
    steps, band = result.curves("sgd")
    assert steps.tolist() == result.entries["sgd"].eval_step.tolist() and band.low.shape == steps.shape
    assert band.mean[-1] == pytest.approx(result.entries["sgd"].final("val_loss").mean())


def test_regression_is_compared_by_test_loss():
    data = diabetes(dtype=torch.float64)
    entries = {"sgd": Entry("sgd", GRID), "adam": Entry("adam", [0.003, 0.01, 0.03], hyper={"weight_decay": 0.1})}
    found = race(entries, lambda seed: mlp([10, 4, 1], seed=seed).double(), data, loss=losses.mse, steps=10, seeds=5,
                 tuning_seeds=1, reference="adam", target=("val_loss", 0.9))  # fmt: skip
    assert found.metric == "test_loss" and found.verdict("adam") == "reference" and found.target == ("val_loss", 0.9)


def test_a_race_goes_on_from_its_file_and_gives_the_same_result(tmp_path, monkeypatch, result):
    path, ran = tmp_path / "race.json", []
    tune = protocol._Contest.tune

    def break_off(self, entry):
        ran.append(entry.rule.__name__)
        if ran == ["sgd", "momentum"]:
            raise KeyboardInterrupt
        return tune(self, entry)

    monkeypatch.setattr(protocol._Contest, "tune", break_off)
    with pytest.raises(KeyboardInterrupt):
        small_race(path=path)
    found = small_race(path=path)
    assert ran == ["sgd", "momentum", "momentum"]
    again = small_race(path=path)
    assert ran == ["sgd", "momentum", "momentum"]
    for name, entry in result.entries.items():
        for other in (found.entries[name], again.entries[name]):
            assert other.lr == entry.lr and other.tuning == entry.tuning
            np.testing.assert_array_equal(other.final("test_loss"), entry.final("test_loss"))
    assert again.rows()[0]["ms per step"] == found.rows()[0]["ms per step"]


def test_a_file_of_another_race_is_refused_and_kept(tmp_path):
    path = tmp_path / "race.json"
    small_race(path=path, steps=4)
    before = path.read_text()
    with pytest.raises(ValueError, match="holds a race with other run .*'steps': 4.*; use another path"):
        small_race(path=path, steps=5)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold a race, it does not"):
        small_race(path=tmp_path / "other.json", steps=4)
    assert path.read_text() == before and json.loads(before)["settings"]["data"].startswith("small")


def test_the_ten_lines_of_the_docstring_put_a_rule_of_ones_own_into_a_race(capsys):
    text = inspect.getdoc(race).split("enters like any other::")[1].split("Args:")[0]
    code = inspect.cleandoc(text)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    try:
        exec(code.replace("steps=200", "steps=5"), {})
    finally:
        rules.RULES.pop("sign_momentum", None)
    assert "| mine | " in capsys.readouterr().out


def test_default_grids_are_seven_half_decades_around_the_rules_default():
    assert Entry("adam").lr == pytest.approx([3.16e-5, 1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2])


def test_progress_is_shown_on_request_only(capsys):
    small_race(steps=2, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "stage" in err
    small_race(steps=2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("call", "message"), [
    (lambda: small_race({"sgd": "sgd"}), "a race needs at least two entries, got 1"),
    (lambda: small_race({"a": Entry("sgd", GRID), "b": "sgd"}), "every entry must try equally many rates, got"),
    (lambda: small_race(seeds=4), "a race needs >= 1 tuning seed and >= 5 fresh ones, got 2 and 4"),
    (lambda: small_race(seeds=[0, 1, 2, 3, 3]), ">= 5 fresh ones, got 2 and 4"),
    (lambda: small_race(tuning_seeds=[4], seeds=range(5)), r"must not have been used in tuning, got \[4\] in both"),
    (lambda: small_race(reference="adam"), "reference must be one of sgd, momentum; got 'adam'"),
    (lambda: small_race(select="test_loss"), "select must be one of val_loss, val_accuracy; got 'test_loss'"),
    (lambda: small_race(target=("loss", 1.0)), "target must be one of val_loss, .*, test_accuracy; got 'loss'"),
    (lambda: small_race(select="val_f1"), "select must be one of val_loss, val_accuracy; got 'val_f1'"),
    (lambda: small_race(metric="test_f1"), "metric must be one of test_loss, test_accuracy; got 'test_f1'"),
    (lambda: Entry("adamm"), "rule must be one of"),
    (lambda: Entry("sgd", [0.1, 0.2]), "lr must hold at least three different rates"),
    (lambda: Entry("sgd", [0.1, 0.1, 0.2]), "lr must hold at least three different rates"),
    (lambda: Entry("sgd", [0.0, 0.1, 0.2]), "each of lr must be > 0, got 0.0"),
])  # fmt: skip
def test_unfair_or_unknown_races_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_figure_shows_every_entry_and_every_verdict(result):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from dlopt import plotting

    left, right = plotting.race(result)
    assert {text.get_text() for text in left.texts} == set(result.entries)
    assert [label.get_text() for label in right.get_yticklabels()] == ["momentum"]
    assert result.verdict("momentum") in {text.get_text() for text in right.texts}
    low, high = right.lines[0].get_xdata()
    assert (low, high) == result.difference("momentum").bounds
    left.figure.canvas.draw()
    plt.close("all")


def test_tuning_by_hand_extends_the_grid_as_the_race_does():
    asked = []

    def costs_of(rates):
        asked.append(list(rates))
        return {rate: (math.log(rate / 3.0)) ** 2 for rate in rates}

    found = tune(costs_of, Entry("sgd", GRID))
    assert asked == [[0.03, 0.1, 0.3], [0.9, 2.7], [8.1, 24.3]]
    assert (found["lr"], found["edge"], found["extensions"]) == (2.7, None, 4)
    with pytest.raises(ValueError, match="diverged at every rate"):
        tune(lambda rates: dict.fromkeys(rates, math.inf), Entry("sgd", GRID))
