"""The page on momentum: its equations and its worked numbers, held against the rules that run; the items it owes."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt import heavy_ball, rules
from dlopt.schedules import sutskever_momentum

PAGE = nbformat.read(Path(__file__).parents[1] / "chapters" / "momentum.ipynb", as_version=4)
OWED = {"S24", "S25", "S26", "S27", "S28", "E11", "E13", "E14", "E15"}


def prose():
    return "\n".join(cell.source for cell in PAGE.cells if cell.cell_type == "markdown")


def claims():
    """(item, part) of every claim of the page, in order."""
    calls = [node for cell in PAGE.cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"]
    part = lambda call: next((k.value.value for k in call.keywords if k.arg == "part"), None)  # noqa: E731
    return [(call.args[0].value, part(call)) for call in calls]


def test_every_item_that_the_page_owes_is_claimed_and_no_part_twice():
    assert {item for item, _ in claims()} == OWED
    assert len(claims()) == len(set(claims()))


def test_every_number_in_prose_is_glued_and_every_glued_number_is_used():
    code = "\n".join(cell.source for cell in PAGE.cells if cell.cell_type == "code")
    used = set(re.findall(r"\{glue:text\}`([\w.-]+)`", prose()))
    said = set(re.findall(r'glue(?:_interval)?\("([\w.-]+)"(?! \+)', code))
    made = {"mom-kappa-": ("power", "plain", "over", "behind"), "mom-race-": ("digits", "glyphs"),
            "mom-race-verdict-": ("digits", "glyphs"), "mom-auto-": ("none", "0.9", "0.99", "rising"),
            "mom-noisy-": ("momentum", "same-rate", "same-effective-rate")}
    for stem, ends in made.items():
        assert f'"{stem}" +' in code
        said |= {stem + end for end in ends}
    assert used <= said
    assert said - used <= {"mom-kappa-"}


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9, 0.99])
def test_the_velocity_under_a_constant_gradient_is_the_geometric_series(mu):
    v = 0.0
    for t in range(1, 60):
        _, v = rules.momentum(2.0, v, t=t, mu=mu)
        assert v == pytest.approx(2.0 * (1 - mu**t) / (1 - mu), rel=1e-12)


def test_the_velocity_under_alternating_gradients_is_slowed_to_one_over_one_plus_mu():
    v = 0.0
    for t in range(400):
        _, v = rules.momentum((-1.0) ** t, v, t=t + 1, mu=0.9)
    assert abs(v) == pytest.approx(1 / 1.9, rel=1e-12)


def test_the_inside_form_coasts_by_the_distance_of_the_page_and_the_outside_form_does_not():
    mu, lr, g = 0.9, 0.01, 3.0
    travel = {}
    for form in (rules.momentum, rules.momentum_velocity):
        v, x = 0.0, 0.0
        for t in range(1, 1001):
            rate = lr if t <= 500 else lr / 10
            step, v = form(g, v, t=t, lr=rate, mu=mu)
            x += step if t > 500 else 0.0
        travel[form] = x
    long_step = lr * g / (1 - mu)
    coast = travel[rules.momentum] - travel[rules.momentum_velocity]
    assert coast == pytest.approx(0.9 * mu / (1 - mu) * long_step, rel=1e-9)
    assert coast / long_step == pytest.approx(8.1) and "8.1 of the long steps" in prose()


def gradient(x):
    return torch.stack([x[0] ** 3 + 0.3 * x[1], x[1] + 0.3 * x[0] + torch.sin(x[1])])


def test_the_look_ahead_form_is_torch_s_nesterov_after_the_change_of_variables():
    lr, mu = 0.05, 0.9
    phi, v = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    theta = phi.clone().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=lr, momentum=mu, nesterov=True)
    for _ in range(50):
        v = mu * v - lr * gradient(phi + mu * v)  # the equation of the page, not the library's rule
        phi = phi + v
        theta.grad = gradient(theta.detach())
        optimizer.step()
        torch.testing.assert_close(theta.detach(), phi + mu * v, rtol=1e-12, atol=1e-12)
    assert (theta.detach() - phi).norm() > 0


def test_the_matrix_of_the_page_has_the_roots_of_the_library_and_its_worked_ranges():
    for eta_lambda in (0.005, 0.01, 1.0, 3.6, 3.7):
        matrix = np.array([[1.81 - eta_lambda, -0.81], [1.0, 0.0]])
        want = heavy_ball.roots(1.0, lr=eta_lambda, mu=0.81)
        np.testing.assert_allclose(np.sort(np.abs(np.linalg.eigvals(matrix))), np.sort(np.abs(want)), atol=1e-7)
    inside = np.abs(heavy_ball.roots(np.linspace(0.0101, 3.6099, 50), lr=1.0, mu=0.81)[:, 0])
    np.testing.assert_allclose(inside, 0.9, rtol=1e-12)
    assert abs(heavy_ball.roots(1.0, lr=3.62, mu=0.81)[0]) == pytest.approx(1)


def test_nesterov_is_stable_to_the_edge_of_the_page():
    edge = (2 + 2 * 0.9) / (1 + 2 * 0.9)
    assert round(edge, 2) == 1.36 and "1.36 for" in prose()
    assert abs(heavy_ball.roots(1.0, lr=edge, mu=0.9, method="nesterov")[0]) == pytest.approx(1)


def test_both_forms_of_sutskever_s_schedule_are_the_library_s():
    mu = sutskever_momentum(0.99, every=250)
    for t in (0, 249, 250, 1000, 30_000):
        assert mu(t) == pytest.approx(min(1 - 2 ** (-1 - np.log2(t // 250 + 1)), 0.99))
        assert mu(t) == pytest.approx(min(1 - 1 / (2 * (t // 250 + 1)), 0.99))


def test_the_crossings_of_the_solution_on_roots():
    modulus = lambda curvature, method: abs(heavy_ball.roots(curvature, lr=1.0, mu=0.9, method=method)[0])  # noqa: E731
    ball = 0.9**0.5
    for inside in (0.0027, 0.5, 3.79):
        assert modulus(inside, "heavy ball") == pytest.approx(ball)
    assert modulus(0.0026, "heavy ball") > ball and modulus(3.81, "heavy ball") > ball
    assert modulus(0.00275, "nesterov") > ball > modulus(0.0028, "nesterov")
    assert modulus(1.3325, "nesterov") < ball < modulus(1.3335, "nesterov") and modulus(1.0, "nesterov") < 1e-6
    assert modulus(1.355, "nesterov") < 1 < modulus(1.36, "nesterov")
    assert "near 0.0028 and 1.333" in prose()
