# ruff: noqa: E501  (a table of one-line edits)
"""Mutation tests of the graders: the reference earns everything, every wrong solution loses in what it breaks."""

import pytest
from homework_harness import Topic
from homework_harness import edit as edited

TOPIC = Topic("distributed")
PARTS = {"test_server": "server", "test_ring": "ring", "test_stale": "stale", "test_future": "stale",
         "test_plan": "plan", "test_rounds": "rounds", "test_backups": "rounds"}


def edit(cell, *changes):
    return edited(TOPIC.sources[PARTS[cell]], *changes)


MUTANTS = {  # (task, name): (edits, requirements that must fail)
    ("test_server", "sum in place of the mean"): ([(" / len(waiting)", "")], [0, 1, 2]),
    ("test_server", "divided by the number of workers"): ([("/ len(waiting)", "/ len({w for w, _, _ in messages})")], [1, 2]),
    ("test_server", "late gradients used"): ([("computed_at < version or ", "")], [1]),
    ("test_server", "late gradients dropped in silence"): ([("            dropped.append(position)\n", "")], [1, 2]),
    ("test_server", "nan poisons"): ([(" or not torch.isfinite(g).all()", "")], [2]),
    ("test_server", "nan counts as an arrival"): ([("            continue\n", "            waiting += [0 * start for start in [theta]] if computed_at == version else []\n            continue\n")], [2]),
    ("test_server", "the last round is closed early"): ([("    return theta, version, dropped", "    if waiting:\n        theta = theta - lr * sum(waiting) / len(waiting)\n    return theta, version, dropped")], [3]),
    ("test_server", "an open round counts as dropped"): ([("    return theta, version, dropped", "    return theta, version, dropped + list(range(len(messages) - len(waiting), len(messages)))")], [3]),
    ("test_server", "theta changed in place"): ([("theta = theta - lr * sum(waiting) / len(waiting)", "theta -= lr * sum(waiting) / len(waiting)")], [0]),
    ("test_server", "waits for the gradients of one round too long"): ([("== needed", "== needed + 1")], [0, 1]),
    ("test_ring", "only the first phase"): ([("    for step in range(k - 1):\n        received = yield parts[(rank + 1 - step) % k]\n        parts[(rank - step) % k] = received\n", "")], [0, 1, 2]),
    ("test_ring", "the whole vector goes around"): ([("parts = list(x.clone().tensor_split(k))", "parts = None\n    total = x.clone()\n    for _ in range(k - 1):\n        x = yield x\n        total = total + x\n    return total\n    parts = []")], [1]),
    ("test_ring", "the mean"): ([("torch.cat(parts)", "torch.cat(parts) / k")], [0, 1, 2]),
    ("test_ring", "one step too few"): ([("    for step in range(k - 1):\n        received = yield parts[(rank - step) % k]", "    for step in range(k - 2):\n        received = yield parts[(rank - step) % k]")], [0, 1, 2]),
    ("test_ring", "parts out of step"): ([("parts[(rank + 1 - step) % k]", "parts[(rank - step) % k]")], [0, 1, 2]),
    ("test_ring", "needs a divisor"): ([("list(x.clone().tensor_split(k))", "list(x.clone().view(k, -1))")], [2]),
    ("test_stale", "divides by tau plus one"): ([("max(1, tau)", "(1 + tau)")], [1]),
    ("test_stale", "does not divide"): ([("lr / max(1, tau)", "lr")], [1]),
    ("test_stale", "infinite gradients count"): ([("        if not torch.isfinite(g).all():\n            continue\n", "        g = torch.nan_to_num(g, posinf=0.0, nan=0.0)\n")], [2]),
    ("test_stale", "infinite gradients make others staler"): ([("            continue\n", "            version += 1\n            continue\n")], [2]),
    ("test_stale", "staleness by message"): ([("tau = version - computed_at", "tau = len(staleness) - computed_at + 1")], [0, 1]),
    ("test_stale", "start overwritten"): ([("theta = theta - lr", "theta -= lr")], [0]),
    ("test_future", "believes everything"): ([("if tau < 0:", "if False:")], [0]),
    ("test_future", "another error"): ([("raise ValueError(", "raise RuntimeError(")], [0]),
    ("test_future", "nobody named"): ([("f\"worker {worker} sent a gradient at version {computed_at}, the server is at {version}\"", "'a gradient from the future'")], [0]),
    ("test_plan", "always replicate"): ([("parameters <= batch * inputs", "True")], [0, 1]),
    ("test_plan", "the other way round"): ([("parameters <= batch", "parameters > batch")], [0, 1]),
    ("test_plan", "batch forgotten"): ([("parameters <= batch * inputs", "parameters <= inputs")], [0]),
    ("test_plan", "cuts on a tie"): ([("parameters <= batch", "parameters < batch")], [1]),
    ("test_plan", "total of one half"): ([("2 * (ranks - 1)", "(ranks - 1)")], [1]),
    ("test_rounds", "the mean time"): ([("sum(1 / i for i in range(workers - needed + 1, workers + 1))", "1")], [0]),
    ("test_rounds", "the maximum whatever is needed"): ([("workers - needed + 1, workers + 1", "1, workers + 1")], [0]),
    ("test_rounds", "off by one"): ([("range(workers - needed + 1,", "range(workers - needed + 2,")], [0]),
    ("test_backups", "always none"): ([("min(range(workers), key=cost)", "0")], [0]),
    ("test_backups", "shortest round"): ([(" / (workers - b)\n", "\n")], [0]),
    ("test_backups", "six percent"): ([("min(range(workers), key=cost)", "round(0.06 * workers)")], [0]),
}  # fmt: skip
EQUIVALENT = {
    "test_server": [("sum(waiting) / len(waiting)", "torch.stack(waiting).mean(0)"), ("not torch.isfinite(g).all()", "bool((g - g != 0).any())")],
    "test_ring": [("list(x.clone().tensor_split(k))", "[x[r::k].clone() for r in range(k)]"), ("return torch.cat(parts)", "out = torch.zeros_like(x)\n    for r in range(k):\n        out[r::k] = parts[r]\n    return out")],
    "test_stale": [("lr / max(1, tau) * g", "(lr * g if tau < 2 else lr * g / tau)")],
    "test_future": [("tau < 0", "computed_at > version")],
    "test_plan": [("2 * (ranks - 1) / ranks *", "(2 - 2 / ranks) *")],
    "test_rounds": [("sum(1 / i for i in range(workers - needed + 1, workers + 1))", "sum(1 / (workers - j) for j in range(needed))")],
    "test_backups": [("min(range(workers), key=cost)", "sorted(range(workers), key=lambda b: (cost(b), b))[0]")],
}  # fmt: skip


@pytest.mark.parametrize("cell", EQUIVALENT)
def test_a_different_right_solution_earns_everything(cell):
    TOPIC.check_right(cell, edit(cell, *EQUIVALENT[cell]), seeds=(b"1", b"2"))


@pytest.mark.parametrize("cell, name", MUTANTS)
def test_a_wrong_solution_loses_where_it_is_wrong(cell, name):
    changes, fails = MUTANTS[cell, name]
    TOPIC.check_wrong(cell, edit(cell, *changes), fails)


def test_the_references_are_the_library_s():
    from dlopt.distributed.stragglers import Law

    checks = TOPIC.homework.task("test_backups").requirements[0].expected.__globals__
    assert checks["rounds"](0.3, 0.7, 40, 33) == pytest.approx(Law("exponential", 0.3, 0.7).expected_round(40, 33))


UNFINISHED = {
    "forgets to return": ([("    return torch.cat(parts)", "    torch.cat(parts)")], "ended without a result: return the sum"),
    "never yields": ([("yield ", "")], "must be a generator"),
    "yields nothing": ([("received = yield parts[(rank - step) % k]", "received = yield")], "yield the tensor that it sends"),
    "never ends": ([("    return torch.cat(parts)", "    while True:\n        yield parts[0]")], "a rank still goes on"),
    "one rank ends early": ([("    parts = list", "    if rank == 0:\n        return x\n    parts = list")], None),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFINISHED)
def test_the_visible_test_of_the_ring_ends_and_says_what_is_missing(name):
    changes, says = UNFINISHED[name]
    space = {}
    exec(TOPIC.sources["setup"], space)
    exec(edit("test_ring", *changes), space)
    with pytest.raises((AssertionError, TypeError), match=says):
        exec(TOPIC.sources["test_ring"], space)
