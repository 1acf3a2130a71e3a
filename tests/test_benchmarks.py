"""The benchmark measures what it says, and its page and the page on adding a rule say what is true."""

import json
import math
import re
import time
from pathlib import Path

import pytest
import torch
from dlopt.benchmarks import __main__ as command
from dlopt.benchmarks import measuring, optimizer_step
from dlopt.rules import RULES, contract

PAGE = Path(__file__).parents[1] / "chapters" / "adding_a_rule.md"
SMALL = {"two vectors": [(50,), (7,)]}


def test_interleaved_gives_each_program_its_time_in_every_block():
    def burn(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    times = measuring.interleaved({"slow": lambda: burn(4e-3), "fast": lambda: burn(1e-3)}, seconds=0.2, blocks=4)
    assert len(times["slow"]) == len(times["fast"]) == 4
    assert measuring.ratio(times["slow"], times["fast"])["median"] == pytest.approx(4.0, rel=0.2)


def test_ratio_is_the_median_over_blocks_with_its_range():
    assert measuring.ratio([1.0, 2.0, 6.0], [1.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_mobilenet_has_the_published_number_of_parameters():
    shapes = optimizer_step.mobilenet_v2()
    assert len(shapes) == 158 and sum(math.prod(shape) for shape in shapes) == 3_504_872


def test_every_rule_is_measured_in_every_mode_against_every_implementation_of_torch():
    result = optimizer_step.run(1.0, networks=SMALL, rules=("sgd", "rmsprop"), compiled=False)
    assert [(row["rule"], row["mode"]) for row in result["rows"]] == [("sgd", "eager"), ("rmsprop", "eager")]
    for row in result["rows"]:
        assert row["parameters"] == 57 and row["us"] > 0
        assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert result["rows"][0]["reference"] in ("for", "foreach", "fused")
    assert result["rows"][1]["extra_per_parameter"] == 2.0  # one state, one gathered gradient
    assert len(optimizer_step.lines(result)) == 3


def test_a_slowed_optimizer_shows_in_the_ratio(monkeypatch):
    fast = optimizer_step.Optimizer.step

    def slowed(self, closure=None):
        time.sleep(0)
        sum(range(20_000))
        return fast(self, closure)

    slowed.hooked = True
    monkeypatch.setattr(optimizer_step.Optimizer, "step", slowed)
    (row,) = optimizer_step.run(1.0, networks=SMALL, rules=("adam",), compiled=False)["rows"]
    assert row["ratio"]["low"] > 2


def test_the_command_prints_and_writes_what_was_measured(monkeypatch, tmp_path, capsys):
    small = optimizer_step.run(0.5, networks=SMALL, rules=("sgd",), compiled=False)
    monkeypatch.setattr(optimizer_step, "run", lambda seconds: small)
    threads = torch.get_num_threads()
    command.main(["optimizer_step"], folder=tmp_path)
    torch.set_num_threads(threads)
    written = json.loads((tmp_path / "optimizer_step.json").read_text())
    assert written["rows"] == json.loads(json.dumps(small["rows"]))
    assert {"processor", "cores", "device", "torch", "threads", "load"} <= set(written["machine"])
    printed = capsys.readouterr().out
    assert "two vectors" in printed and (tmp_path / "optimizer_step.txt").read_text() == printed.rstrip("\n") + "\n"


@pytest.mark.parametrize("file", sorted(command.RECORDS.glob("*.json")), ids=lambda file: file.stem)
def test_the_table_that_the_book_shows_is_that_of_the_recorded_run(file):
    record = json.loads(file.read_text())
    lines = command.available()[record["benchmark"]].lines
    assert file.with_suffix(".txt").read_text() == command.text(record, lines)


def test_the_book_shows_a_run_of_every_rule():
    record = json.loads((command.RECORDS / "optimizer_step.json").read_text())
    assert {(row["network"], row["rule"]) for row in record["rows"]} == {
        (network, rule) for network in optimizer_step.NETWORKS for rule in optimizer_step.TWINS
    }


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(ValueError, match="benchmark must be one of .*optimizer_step.*; got 'speed'"):
        command.main(["speed"])


def test_the_page_on_adding_a_rule_works_as_printed(monkeypatch, tmp_path):
    monkeypatch.setattr(contract, "RULES", dict(RULES))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 4 and len(re.findall(r"^## \d\. ", PAGE.read_text(), re.MULTILINE)) == 5
    file = tmp_path / "page.py"
    file.write_text("\n".join(blocks))
    namespace = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    assert contract.RULES["signum"] is namespace["signum"]
    assert namespace["losses"][-1] < namespace["losses"][0] / 2
