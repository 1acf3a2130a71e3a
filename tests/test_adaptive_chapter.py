"""The pages on adaptive optimizers: equations and worked numbers against the rules that run; the items owed."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt import rules
from scipy.special import gammaln

CHAPTERS = Path(__file__).parents[1] / "chapters"
OWED = {"adaptive": {"S29", "S30", "S31", "S32", "E1", "E2", "E3", "E4", "E5", "E16"},
        "adam_variants": {"S33", "S34", "S35", "S38", "E6", "E7", "E8", "E9"},
        "optimizer_race": {"S37", "E9", "E10"}, "optimizer_choice": {"S36", "S38", "E43"}}
STEMS = [stem for stem in OWED if (CHAPTERS / f"{stem}.ipynb").exists()]
PAGE = {stem: nbformat.read(CHAPTERS / f"{stem}.ipynb", as_version=4) for stem in STEMS}


def prose(stem):
    return "\n".join(cell.source for cell in PAGE[stem].cells if cell.cell_type == "markdown")


def code(stem):
    return "\n".join(cell.source for cell in PAGE[stem].cells if cell.cell_type == "code")


def claims(stem):
    """(item, part) of every claim of the page, in order."""
    calls = [node for cell in PAGE[stem].cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"]
    part = lambda call: next((k.value.value for k in call.keywords if k.arg == "part"), None)  # noqa: E731
    return [(call.args[0].value, part(call)) for call in calls]


@pytest.mark.parametrize("stem", STEMS)
def test_every_item_that_the_page_owes_is_claimed_and_no_part_twice(stem):
    assert {item for item, _ in claims(stem)} == OWED[stem]
    assert len(claims(stem)) == len(set(claims(stem)))


@pytest.mark.parametrize("stem", STEMS)
def test_every_number_in_prose_that_is_glued_is_made_by_a_cell(stem):
    said = re.findall(r'glue(?:_interval)?\(f?"([\w.-]+?)(?:\{.*?)?"', code(stem))
    for name in re.findall(r"\{glue:text\}`([\w.-]+)`", prose(stem)):
        assert any(name == key or (key.endswith("-") and name.startswith(key)) for key in said), name


# --- AdaGrad

def run(rule, gradients, **hyper):
    """The steps of a rule on a list of gradients of one coordinate."""
    state = [torch.full((1,), float(rule.initial.get(n, 0.0)), dtype=torch.float64) for n in rules.state_names(rule)]
    steps = []
    for t, g in enumerate(gradients, start=1):
        step, *state = rule(torch.tensor([g], dtype=torch.float64), *state, t=t, **hyper)
        steps.append(step.item())
    return np.array(steps)


def test_the_worked_steps_of_adagrad():
    assert run(rules.adagrad, [3.0, 4.0, 0.0, 12.0], lr=1.0) == pytest.approx([-1, -4 / 5, 0, -12 / 13], abs=1e-9)
    assert "3/3,\\ 4/5,\\ 0,\\ 12/13" in prose("adaptive")


@pytest.mark.parametrize("seed", range(5))
def test_the_regret_of_adagrad_stays_below_the_bound_of_the_theorem(seed):
    rng, n, T, D = np.random.default_rng(seed), 6, 400, 2.0
    lr, theta, G, best = D / 2**0.5, np.zeros(n), np.zeros(n), rng.uniform(-1, 1, n)
    present = rng.random((T, n)) < 1 / (1 + np.arange(n))
    regret = 0.0
    for t in range(T):  # f_t = sum over the present coordinates of |theta - target|, the target drawn around best
        target = np.clip(best + 0.3 * rng.standard_normal(n), -1, 1)
        g = present[t] * np.sign(theta - target)
        regret += (present[t] * (np.abs(theta - target) - np.abs(best - target))).sum()
        step, (G,) = (lambda s, *rest: (s, rest))(*rules.adagrad(torch.tensor(g), torch.tensor(G), t=t + 1, lr=lr))
        G = G.numpy()
        theta = np.clip(theta + step.numpy(), -1, 1)
    assert regret <= 2**0.5 * D * np.sqrt(G).sum()
    assert 2**0.5 * D * np.sqrt(G).sum() < 2**0.5 * D * np.sqrt(n * G.sum())


def test_the_hindsight_diagonal_is_proportional_to_the_root_of_the_sums():
    rng = np.random.default_rng(0)
    G = rng.exponential(size=5) * 10.0 ** rng.integers(-3, 3, 5)
    best = np.sqrt(G) / np.sqrt(G).sum()
    other = rng.dirichlet(np.ones(5), 2000)
    assert (G / best).sum() <= (G / other).sum(1).min()


# --- the other rules

def test_rmsprop_has_forgotten_a_gradient_a_thousand_times_too_large_after_138_steps():
    assert 2 * np.log(1000) / (1 - 0.9) == pytest.approx(138, abs=0.5) and "138 steps" in prose("adaptive")
    steps = -run(rules.rmsprop, [1.0] * 100 + [1000.0] + [1.0] * 300, lr=1.0, rho=0.9)
    assert steps[101] < 0.01 and steps[101 + 138] > 0.9
    adagrad = -run(rules.adagrad, [1.0] * 100 + [1000.0] + [1.0] * 300, lr=1.0)
    assert adagrad[-1] < 0.0011


@pytest.mark.parametrize("g, outside, inside", [(1e-5, 0.999, 0.0995), (1e-6, 0.990, 0.0100)])
def test_the_first_step_of_adam_with_epsilon_inside_and_outside(g, outside, inside):
    assert -run(rules.adam, [g], lr=1.0)[0] == pytest.approx(outside, abs=5e-4)
    assert -run(rules.adam_eps_inside, [g], lr=1.0)[0] == pytest.approx(inside, rel=5e-3)


@pytest.mark.parametrize("eps, first", [(1e-6, 0.0045), (1e-4, 0.045), (1e-2, 0.45)])
def test_epsilon_sets_the_first_step_of_adadelta(eps, first):
    assert -run(rules.adadelta, [1e3], lr=1.0, rho=0.95, eps=eps)[0] == pytest.approx(first, rel=0.01)


def test_the_printed_adadelta_ends_where_the_page_says_from_minus_five_minus_two():
    def end(rule, lr):
        theta, v, d = torch.tensor([-5.0, -2.0], dtype=torch.float64), *torch.zeros(2, 2, dtype=torch.float64)
        for t in range(1, 2001):
            step, v, d = rule(torch.tensor([0.2, 4.0]) * theta, v, d, t=t, lr=lr, rho=0.95, eps=1e-6)
            theta = theta + step
        return (0.1 * theta[0] ** 2 + 2 * theta[1] ** 2).item()

    assert end(rules.adadelta_printed, 1.0) == pytest.approx(9.3e6, rel=0.01)
    assert end(rules.adadelta_printed, -1.0) == pytest.approx(0.525, abs=1e-3)
    assert end(rules.adadelta, 1.0) == pytest.approx(4.05e-4, rel=0.01)


def test_uncorrected_adam_is_adam_with_the_rate_times_c():
    gradients = np.random.default_rng(0).standard_normal(3000)
    t = np.arange(1, 3001)
    c = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
    plain, corrected = (run(rule, gradients, lr=1.0, eps=0.0) for rule in (rules.adam_uncorrected, rules.adam))
    np.testing.assert_allclose(plain, c * corrected, rtol=1e-9)
    assert c[0] == pytest.approx(3.16, abs=0.005) and c.max() == pytest.approx(6.57, abs=0.005) and c.argmax() == 11
    assert c[2300] > 1.05 > c[2399]
    c99 = (1 - 0.9**t) / np.sqrt(1 - 0.99**t)
    assert c99.max() == pytest.approx(2.13, abs=0.005) and c99.argmax() == 12 and c99[0] == pytest.approx(1)
    assert "the peak is 2.13 at $t=13$" in prose("adaptive")


def test_the_misprinted_correction_is_a_schedule_with_the_factors_of_the_page():
    factor = lambda t: (1 - 0.999**t) / (1 - 0.999**2)  # noqa: E731
    assert [factor(2), factor(300), factor(1e9)] == pytest.approx([1, 130, 500], rel=0.01)
    assert [factor(300) ** 0.5, factor(1e9) ** 0.5] == pytest.approx([11, 22], rel=0.04)
    assert "is right at $t=2$, 130 at $t=300$ and 500 in the end" in prose("adaptive")


def test_forgetting_takes_as_long_as_the_solution_says():
    assert [round(2 * np.log(s) / 0.1) for s in (10, 100)] == [46, 92]
    assert [round(2 * np.log(s) / 0.01) for s in (10, 100, 1000)] == [461, 921, 1382]
    assert "46 steps for $s=10$ and 92 for $s=100$" in prose("adaptive")


@pytest.mark.parametrize("name, same", [("sgd", True), ("momentum", True), ("adagrad", False), ("rmsprop", False),
                                        ("adadelta", False), ("adam", False)])
def test_a_rotated_layer_with_its_inverse_behind_it_changes_the_rules_that_the_solution_names(name, same):
    draw = torch.Generator().manual_seed(0)
    x, y, W = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((30, 5), (30, 4), (4, 5)))
    Q = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64))[0]

    def train(weight, behind):
        rule = rules.RULES[name]
        state = [torch.full_like(weight, float(rule.initial.get(n, 0.0))) for n in rules.state_names(rule)]
        for t in range(1, 31):
            weight = weight.detach().requires_grad_()
            (g,) = torch.autograd.grad(((torch.tanh(x @ weight.T @ behind.T) - y) ** 2).mean(), weight)
            step, *state = rule(g, *state, t=t, lr=0.05)
            weight = weight + step
        return (behind @ weight).detach()

    apart = (train(W, torch.eye(4, dtype=torch.float64)) - train(Q @ W, Q.T)).abs().max().item()
    assert apart < 1e-10 if same else apart > 1e-4


def test_an_average_that_starts_at_zero_is_too_small_by_one_minus_beta_to_the_t():
    squares = np.random.default_rng(1).chisquare(1, (20_000, 30))
    v = np.zeros(20_000)
    for t in range(30):
        v = 0.9 * v + 0.1 * squares[:, t]
        assert v.mean() == pytest.approx(1 - 0.9 ** (t + 1), rel=0.03)


# --- Adam's descendants

@pytest.mark.parametrize("C", [2.0, 3.0, 10.0])
def test_adam_with_a_short_memory_climbs_to_the_worst_point_and_returns_to_it(C):
    x, v, lr, beta2 = -1.0, 0.0, 0.01, 1 / (1 + C**2)
    ends = []
    for t in range(3 * 600):
        g = C if t % 3 == 0 else -1.0
        v = beta2 * v + (1 - beta2) * g * g
        x = min(1.0, max(-1.0, x - lr * g / v**0.5))
        if t % 3 == 2:
            ends.append(x)
    rises = np.diff(ends)[1:]
    below = np.array(ends[1:-1]) < 1 - 2 * lr
    assert (rises[below] >= 0.4 * lr).all() and ends[-1] == 1.0 and ends.count(1.0) > 100


def rho(t, beta2):
    return 2 / (1 - beta2) - 1 - 2 * t * beta2**t / (1 - beta2**t)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_rho_is_the_length_of_a_plain_average_of_the_same_mean_age(beta2):
    for t in (1, 2, 5, 50, 500):
        weights = beta2 ** np.arange(t)
        age = (weights * np.arange(1, t + 1)).sum() / weights.sum()
        assert rho(t, beta2) == pytest.approx(2 * age - 1, rel=1e-9)
    assert rho(1, beta2) == pytest.approx(1)
    assert [round(rho(t, 0.999), 3) for t in (4, 5, 6)] == [3.997, 4.996, 5.994]
    assert [next(t for t in range(1, 9) if rho(t, beta2) > threshold) for threshold in (4, 5)] == [5, 6]


@pytest.mark.parametrize("t, r", [(6, 0.026), (100, 0.215), (1000, 0.645), (2000, 0.83)])
def test_the_values_of_r_on_the_page(t, r):
    end, now = rho(1e9, 0.999), rho(t, 0.999)
    assert ((now - 4) * (now - 2) * end / ((end - 4) * (end - 2) * now)) ** 0.5 == pytest.approx(r, abs=2e-3)


def test_the_moments_of_the_inverse_chi_square_on_the_page():
    inverse = 9.0 / np.random.default_rng(0).chisquare(9, 2_000_000)
    assert inverse.mean() == pytest.approx(9 / 7, rel=3e-3)
    assert inverse.var() == pytest.approx(2 * 81 / (49 * 5), rel=0.05)
    exact = 9 / 7 - 4.5 * np.exp(2 * (gammaln(4.0) - gammaln(4.5)))
    assert np.sqrt(inverse).var() == pytest.approx(exact, rel=0.01)


def test_l2_in_adam_decays_a_noisy_coordinate_less_by_the_size_of_its_noise():
    rng, decay, lr, sigma, steps = np.random.default_rng(0), 0.1, 0.1, 10.0, 40
    state, theta = [torch.zeros(20_000, dtype=torch.float64) for _ in range(2)], torch.ones(20_000, dtype=torch.float64)
    for t in range(1, steps + 1):
        noise = torch.tensor(sigma * rng.standard_normal(20_000))
        step, *state = rules.adam(noise + decay * theta, *state, t=t, lr=lr, beta1=0.0, beta2=0.999)
        theta = theta + step
    shrunk = -np.log(theta.mean().item()) / steps
    assert shrunk == pytest.approx(lr * decay / sigma, rel=0.35) and shrunk < 0.2 * lr * decay


# --- the race

def test_no_step_of_the_same_size_descends_more_than_the_steepest_one():
    G = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vt = torch.linalg.svd(G, full_matrices=False)
    for seed in range(200):
        other = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert (G * other / torch.linalg.matrix_norm(other, 2)).sum().abs() <= (G * (u @ vt)).sum()
        assert (G * other / other.abs().max()).sum().abs() <= (G * G.sign()).sum()
    assert (G * (u @ vt)).sum().item() == pytest.approx(s.sum().item())


def test_the_luck_of_the_best_stays_below_the_bound_of_the_page():
    draws = np.random.default_rng(0).standard_normal((20_000, 50))
    for k, bound in ((5, 1.8), (50, 2.8)):
        assert np.sqrt(2 * np.log(k)) == pytest.approx(bound, abs=0.05)
        assert draws[:, :k].max(1).mean() < np.sqrt(2 * np.log(k))


def test_five_iterations_take_singular_values_to_where_the_page_says():
    a, b, c = rules.muon.__globals__["QUINTIC"]
    assert (a, b, c) == pytest.approx((3.44, -4.78, 2.03), abs=0.006)
    sigma = np.geomspace(1 / 200, 1, 5000)
    for _ in range(5):
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    assert 0.675 < sigma.min() < 0.685 and 1.15 < sigma.max() < 1.16
    assert r"began above $\frac1{200}$ lies between 0.68 and 1.16" in prose("optimizer_race")


# --- choosing

@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov"])
def test_the_span_methods_find_the_smallest_solution_and_adam_another(name):
    draw = torch.Generator().manual_seed(0)
    X, y = torch.randn(4, 9, generator=draw, dtype=torch.float64), torch.randn(4, generator=draw, dtype=torch.float64)

    def end(rule, lr, decay=0.0):
        theta = torch.zeros(9, dtype=torch.float64)
        state = [torch.zeros_like(theta) for _ in rules.state_names(rules.RULES[rule])]
        for t in range(1, 3001):
            i = [(t - 1) % 4] if rule in ("sgd", "momentum", "nesterov") else [0, 1, 2, 3]  # batches of one
            g = X[i].T @ (X[i] @ theta - y[i])
            step, *state = rules.RULES[rule](g, *state, t=t, lr=lr * (1 - decay * t / 3000))
            theta = theta + step
        return theta

    smallest = X.T @ torch.linalg.solve(X @ X.T, y)
    torch.testing.assert_close(end(name, 0.02 if name == "sgd" else 0.004), smallest, atol=1e-6, rtol=0)
    other = end("adam", 0.01, decay=1.0)
    assert (X @ other - y).abs().max() < 1e-3 and other.norm() > 1.02 * smallest.norm()


def test_the_answers_in_other_units_of_the_page():
    x, new, theta = np.array([2.0, 10.0]), np.array([1.0, -10.0]), np.array([5.0, 5.0]) / 12
    assert x @ theta == pytest.approx(5) and new @ theta == pytest.approx(-3.75)
    smallest = 5 * x / (x @ x)
    assert smallest == pytest.approx([0.10, 0.48], abs=0.005) and new @ smallest == pytest.approx(-4.71, abs=0.005)
    turn = np.array([[3**0.5, -1], [1, 3**0.5]]) / 2  # 30 degrees
    rotated = turn @ [2, 1]
    back = turn.T @ np.full(2, 5 / rotated.sum())
    assert back == pytest.approx([2.20, 0.59], abs=0.006) and np.linalg.norm(back) == pytest.approx(2.28, abs=0.005)
    for said in ("answers $-3.75$", "answers $-4.71$", "$(2.20,0.59)$", "norm 2.28"):
        assert said in prose("optimizer_choice")


def test_the_one_example_of_the_page():
    theta = torch.zeros(2, dtype=torch.float64)
    m, v = torch.zeros(2, 2, dtype=torch.float64)
    x = torch.tensor([2.0, 1.0], dtype=torch.float64)
    first = None
    for t in range(1, 3001):
        step, m, v = rules.adam(x * (x @ theta - 5), m, v, t=t, lr=0.02 * (1 - t / 3001), eps=0.0)
        first = step if first is None else first
        theta = theta + step
    assert torch.allclose(first.sign(), x.sign()) and first.abs().max() == pytest.approx(first.abs().min())
    assert theta.tolist() == pytest.approx([5 / 3, 5 / 3], abs=1e-3) and theta.norm() == pytest.approx(2.36, abs=0.005)
    assert 5**0.5 == pytest.approx(2.24, abs=0.005) and "norm 2.36 instead of 2.24" in prose("optimizer_choice")
