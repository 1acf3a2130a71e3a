"""The pages on losses: the code in their cells, checked against independent answers, and the items that they owe."""

import ast
import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt.claims import ITEMS
from scipy.optimize import linprog, minimize
from scipy.special import huber as scipy_huber

CHAPTERS = Path(__file__).parents[1] / "chapters"
PAGES = ("losses", "cross_entropy", "backpropagation", "generalization")
OWED = {"S1", "S2", "S3", "S4", "S5", "S6", "S7", "E27"}


def cells(page):
    notebook = nbformat.read(CHAPTERS / f"{page}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def prose(page):
    notebook = nbformat.read(CHAPTERS / f"{page}.ipynb", as_version=4)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def definitions(page, *names):
    """The imports of a page and the named functions and constants, executed apart from its experiments."""
    default, space = torch.get_default_dtype(), {}
    try:
        for i, source in enumerate(cells(page)):
            for node in ast.parse(source).body:
                targets = [t for target in getattr(node, "targets", []) for t in ast.walk(target)]
                bound = {getattr(node, "name", None), *[t.id for t in targets if isinstance(t, ast.Name)]}
                if i == 0 or bound & set(names):
                    exec(compile(ast.Module([node], []), page, "exec"), space)
        missing = [name for name in names if name not in space]
        assert not missing, f"{page} no longer defines {missing}"
        return space
    finally:
        torch.set_default_dtype(default)


@pytest.fixture
def float64():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def claimed():
    """(page, item, part) of every claim in the pages."""
    for page in PAGES:
        for source in cells(page):
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim":
                    parts = [k.value.value for k in node.keywords if k.arg == "part"]
                    yield page, node.args[0].value, parts[0] if parts else None


def test_every_item_that_the_chapter_owes_is_judged():
    assert {item for _, item, _ in claimed()} == OWED
    assert {name for name, item in ITEMS.items() if item.chapter == "losses"} == OWED


def test_no_part_is_claimed_twice():
    keys = [(item, part) for _, item, part in claimed()]
    assert len(keys) == len(set(keys)) and all(part for _, part in keys)


@pytest.mark.parametrize("page", PAGES)
def test_every_glued_number_is_used_in_the_text_and_every_one_used_is_glued(page):
    used = set(re.findall(r"\{glue:text\}`([^`]+)`", prose(page)))
    code = "\n".join(cells(page))
    made = [re.sub(r"\{[^}]*\}", "*", name) for name in re.findall(r"glue(?:_interval)?\(f?\"([^\"]+)\"", code)]
    patterns = [re.compile(".+".join(map(re.escape, name.split("*")))) for name in made]
    assert [name for name in used if not any(p.fullmatch(name) for p in patterns)] == []
    assert [p.pattern for p in patterns if not any(p.fullmatch(name) for name in used)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_five_exercises_and_solutions_that_belong_to_them(page):
    exercises = re.findall(r":::\{exercise\}\n:label: ([\w-]+)", prose(page))
    solutions = re.findall(r":::\{solution\} ([\w-]+)", prose(page))
    assert len(exercises) >= 5 and len(solutions) >= 2
    assert set(solutions) <= set(exercises)


def regression(seed, n=40, d=3):
    g = torch.Generator().manual_seed(seed)
    x = torch.cat([torch.ones(n, 1), torch.randn(n, d - 1, generator=g)], 1)
    y = x @ torch.tensor([1.0, 2.0, -1.0]) + torch.randn(n, generator=g).exp()
    return x, y


@pytest.mark.parametrize("seed", range(5))
def test_reweighted_least_squares_finds_the_least_absolute_deviation_of_a_linear_program(float64, seed):
    page = definitions("losses", "fit", "WEIGHTS")
    x, y = regression(seed)
    n, d = x.shape
    program = linprog(
        np.r_[np.zeros(d), np.ones(2 * n)],
        A_eq=np.c_[x.numpy(), np.eye(n), -np.eye(n)],
        b_eq=y.numpy(),
        bounds=[(None, None)] * d + [(0, None)] * (2 * n),
    )
    theta = page["fit"](x, y, page["WEIGHTS"]["LAD"], rounds=300)
    assert (y - x @ theta).abs().sum().item() == pytest.approx(program.fun, rel=1e-5)


def test_reweighted_least_squares_finds_hubers_minimum_of_a_general_optimizer(float64):
    page = definitions("losses", "fit", "WEIGHTS")
    x, y = regression(7)
    theta = page["fit"](x, y, page["WEIGHTS"]["Huber"], rounds=300)
    delta = 1.345 * (y - x @ theta).abs().median().item() / 0.6745
    found = minimize(lambda t: scipy_huber(delta, y.numpy() - x.numpy() @ t).sum(), np.zeros(3), tol=1e-12)
    np.testing.assert_allclose(theta.numpy(), found.x, atol=1e-5)


def test_least_squares_weights_give_the_normal_equations_in_every_member_of_a_batch(float64):
    page = definitions("losses", "fit", "WEIGHTS")
    problems = [regression(s) for s in range(3)]
    x, y = (torch.stack(column) for column in zip(*problems))
    theta = page["fit"](x, y, page["WEIGHTS"]["LSE"], rounds=2)
    expected = torch.stack([torch.linalg.lstsq(a, b).solution for a, b in problems])
    torch.testing.assert_close(theta, expected, rtol=0, atol=1e-10)


def test_spoiled_targets_are_the_stated_share_nested_and_only_raised(float64):
    page = definitions("losses", "spoil", "SHARES")
    y = torch.zeros(200)
    spoiled, _ = page["spoil"](y, torch.Generator().manual_seed(0), size=10)
    bad = spoiled != 0
    assert (bad.sum(1) / 200).tolist() == pytest.approx(page["SHARES"])
    assert all((bad[i] <= bad[i + 1]).all() for i in range(len(bad) - 1))
    assert spoiled.min() == 0 and spoiled.max() <= 10


def test_skewed_data_have_the_mean_and_the_quantiles_that_the_page_draws(float64):
    page = definitions("losses", "skewed", "LEVELS")
    parts = [page["skewed"](s) for s in range(20)]
    x, y = (torch.cat([getattr(d, name) for d in parts]) for name in ("x_train", "y_train"))
    noise = (y - torch.sin(math.pi * x)) / ((1 + x) / 2)
    assert noise.mean().item() == pytest.approx(page["LEVELS"]["mean"], abs=0.03)
    for name, q in (("median", 0.5), ("quantile 0.1", 0.1), ("quantile 0.9", 0.9)):
        assert noise.quantile(q).item() == pytest.approx(page["LEVELS"][name], abs=0.05)


@pytest.mark.parametrize("n", [2, 5, 16, 100])
def test_constructed_network_interpolates_and_keeps_the_bound_of_the_theorem(float64, n):
    page = definitions("backpropagation", "f", "constructed")
    knots, fine = torch.linspace(-1, 1, n + 1)[:, None], torch.linspace(-1, 1, 5001)[:, None]
    torch.testing.assert_close(page["constructed"](knots, n), page["f"](knots), rtol=0, atol=1e-12)
    error = (page["constructed"](fine, n) - page["f"](fine)).abs().max().item()
    assert error <= math.pi**2 * 4 / (8 * n**2)
    assert error > 0.4 * math.pi**2 * 4 / (8 * n**2)  # and the bound is not idle


def test_backward_equals_autograd_and_a_planted_fault_is_seen(float64):
    page = definitions("backpropagation", "forward", "backward", "loss", "problem")
    x, y, parameters = page["problem"](3)
    leaves = [p.clone().requires_grad_() for p in parameters]
    expected = torch.autograd.grad(page["loss"](x, y, *leaves), leaves)
    for mine, theirs in zip(page["backward"](x, y, *parameters), expected):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-14)
    source = next(s for s in cells("backpropagation") if "def backward" in s)
    assert "* (z1 > 0)" in source
    exec(source.replace("* (z1 > 0)", ""), page)
    assert (page["backward"](x, y, *parameters)[0] - expected[0]).abs().max() > 1e-3


def test_difference_quotients_have_the_orders_that_the_page_states(float64):
    page = definitions("backpropagation", "forward", "backward", "loss", "problem", "flat", "difference_quotients")
    x, y, parameters = page["problem"](5)
    exact = page["flat"](page["backward"](x, y, *parameters))
    for central, order, h in ((True, 2, 1e-4), (False, 1, 1e-5)):
        errors = [(page["difference_quotients"](x, y, parameters, k * h, central) - exact).norm() for k in (2, 1)]
        assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_hand_example_of_backpropagation_has_the_numbers_of_its_table():
    W1 = torch.tensor([[1.0, -1.0], [0.5, 0.25]], requires_grad=True)
    W2 = torch.tensor([[2.0, 3.0]], requires_grad=True)
    loss = 0.5 * ((torch.relu(W1 @ torch.tensor([1.0, 2.0]))) @ W2.T - 1).square().sum()
    g1, g2 = torch.autograd.grad(loss, (W1, W2))
    assert (loss.item(), g1.tolist(), g2.tolist()) == (2.0, [[0.0, 0.0], [6.0, 12.0]], [[0.0, 2.0]])


def test_filters_of_early_stopping_and_ridge_differ_by_less_than_the_theorem_says():
    s = torch.logspace(-4, 4, 100_001, dtype=torch.float64)
    difference = s / (1 + s) - (1 - torch.exp(-s))
    assert 0.2035 < difference.abs().max().item() < 0.204
    assert s[difference.abs().argmax()].item() == pytest.approx(2.51, abs=0.01)


def test_paths_start_at_zero_end_at_least_squares_and_ridge_solves_its_equations():
    page = definitions("generalization", "paths", "TIMES")
    from dlopt.data import diabetes

    data = diabetes(0, fractions=(0.1, 0.2, 0.7), dtype=torch.float64)
    followed, x, y = page["paths"](data), data.x_train, data.y_train[:, 0]
    full = torch.linalg.lstsq(x, y).solution
    for name in ("early stopping", "ridge"):
        assert followed[name][0].norm() < 0.1 * full.norm()
        torch.testing.assert_close(followed[name][-1], full, rtol=0.03, atol=0.03)
    penalty, h = 1 / page["TIMES"][30], x.T @ x / len(x)
    solved = torch.linalg.solve(h + penalty * torch.eye(10, dtype=torch.float64), x.T @ y / len(x))
    torch.testing.assert_close(followed["ridge"][30], solved, rtol=0, atol=1e-10)


def test_networks_trained_together_do_not_notice_each_other():
    page = definitions("generalization", "stack", "fit")
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 60, 4, generator=g), torch.randint(3, (2, 60), generator=g)
    together = page["fit"]([4, 5, 3], [0, 1], x, y, 20)
    alone = page["fit"]([4, 5, 3], [1], x[1:], y[1:], 20)
    torch.testing.assert_close(together(x)[1], alone(x[1:])[0], rtol=1e-4, atol=1e-5)


def test_smoothed_minimum_has_the_lead_that_the_page_predicts():
    from dlopt import losses

    for epsilon in (0.05, 0.3):
        lead = math.log((1 - epsilon + epsilon / 10) / (epsilon / 10))
        z = torch.zeros(1, 10, dtype=torch.float64)
        z[0, 3] = lead
        z.requires_grad_()
        (g,) = torch.autograd.grad(losses.cross_entropy(z, torch.tensor([3]), label_smoothing=epsilon), z)
        assert g.abs().max() < 1e-12


def test_weighted_minimum_is_the_tilted_distribution_of_the_theorem():
    from dlopt import losses

    q, w = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    z = (w * q).log()[None].requires_grad_()
    (g,) = torch.autograd.grad(losses.cross_entropy(z, q[None], weight=w), z)
    assert g.abs().max() < 1e-12
