"""Objectives against finite differences and algebra; the toy engine against closed forms."""

import math

import pytest
import torch
from dlopt import objectives
from dlopt.objectives import clipped, from_model, newton, noisy, quadratic, rotation_matrix, trajectory
from dlopt.rules import RULES

SURFACES = {
    "quadratic": quadratic([4.0, 1.0], rotation=0.4), "rosenbrock": objectives.rosenbrock(),
    "beale": objectives.beale(), "himmelblau": objectives.himmelblau(), "saddle": objectives.saddle(),
    "ripple": objectives.ripple(), "plateau": objectives.plateau(), "cliff": objectives.cliff(),
}
surfaces = pytest.mark.parametrize("objective", SURFACES.values(), ids=SURFACES.keys())
sgd = RULES["sgd"]


def matrix_rule(g, *, t, lr=0.1):
    """Stands for a rule that needs a matrix."""
    return (-lr * g,)


matrix_rule.elementwise = False


@surfaces
def test_listed_minima_are_stationary_with_a_positive_semidefinite_hessian(objective):
    assert objective.grad(objective.minima).abs().max() < 1e-6
    assert torch.linalg.eigvalsh(objective.hessian(objective.minima)).min() > -1e-8


@surfaces
def test_no_point_of_the_domain_lies_below_the_listed_minima(objective):
    axes = [torch.linspace(low, high, 201, dtype=torch.float64) for low, high in objective.domain]
    grid = torch.cartesian_prod(*axes)
    assert objective(grid).min() >= objective(objective.minima).min() - 1e-12


@surfaces
def test_gradient_agrees_with_central_differences(objective):
    x = torch.tensor([[0.3, -0.7], [1.1, 0.6], [-0.4, 1.2]], dtype=torch.float64)
    h = 1e-6
    basis = torch.eye(2, dtype=torch.float64)
    difference = torch.stack([(objective(x + h * e) - objective(x - h * e)) / (2 * h) for e in basis], dim=-1)
    torch.testing.assert_close(objective.grad(x), difference, rtol=1e-6, atol=1e-6)


@surfaces
def test_hessian_is_symmetric_and_agrees_with_differences_of_the_gradient(objective):
    x = torch.tensor([[0.3, -0.7], [1.1, 0.6]], dtype=torch.float64)
    h = 1e-6
    basis = torch.eye(2, dtype=torch.float64)
    difference = torch.stack([(objective.grad(x + h * e) - objective.grad(x - h * e)) / (2 * h) for e in basis], -1)
    torch.testing.assert_close(objective.hessian(x), difference, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(objective.hessian(x), objective.hessian(x).mT, rtol=1e-12, atol=1e-12)


@surfaces
def test_a_batch_of_points_equals_one_point_at_a_time(objective):
    x = torch.tensor([[[0.3, -0.7], [1.1, 0.6]], [[0.1, 0.2], [-1.0, 1.0]]], dtype=torch.float64)
    single = torch.stack([torch.stack([objective(p) for p in row]) for row in x])
    torch.testing.assert_close(objective(x), single)
    assert objective.grad(x).shape == x.shape and objective.hessian(x).shape == (2, 2, 2, 2)


def test_quadratic_has_the_spectrum_and_eigenvectors_it_was_given():
    q = rotation_matrix(4, seed=2)
    h = quadratic([9.0, 4.0, 1.0, 0.5], rotation=q).hessian(torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(h @ q, q * torch.tensor([9.0, 4.0, 1.0, 0.5], dtype=torch.float64))


def test_a_rotation_by_an_angle_turns_the_first_axis_by_it():
    angle = 0.3
    h = quadratic([5.0, 1.0], rotation=angle).hessian(torch.zeros(2, dtype=torch.float64))
    v = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    torch.testing.assert_close(h @ v, 5.0 * v)


def test_quadratic_is_centered_where_told():
    center = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    objective = quadratic([1.0, 2.0, 3.0], rotation=rotation_matrix(3), minimum=center)
    assert objective(center).item() == 0 and objective.grad(center).abs().max() == 0


def test_a_quadratic_with_a_negative_eigenvalue_lists_no_minimum():
    assert quadratic([1.0, -1.0]).minima is None


@pytest.mark.parametrize("n", [1, 2, 7])
def test_rotation_matrix_is_a_rotation_and_repeats_with_its_seed(n):
    q = rotation_matrix(n, seed=5)
    torch.testing.assert_close(q @ q.T, torch.eye(n, dtype=torch.float64))
    assert torch.linalg.det(q).item() == pytest.approx(1.0)
    assert torch.equal(q, rotation_matrix(n, seed=5))


def test_saddle_has_a_strict_saddle_at_the_origin():
    h = SURFACES["saddle"].hessian(torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(h, torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)))


def test_ripple_has_local_minima_beside_the_global_one():
    objective = objectives.ripple(amplitude=0.5, frequency=8.0, n=1)
    x = torch.linspace(-3, 3, 6001, dtype=torch.float64)[:, None]
    g = objective.grad(x)[:, 0]
    minima = ((g[:-1] < 0) & (g[1:] >= 0)).sum().item()
    assert minima > 3


def test_plateau_gradient_is_r_exp_minus_half_r_squared():
    r = torch.tensor([[3.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    closed = torch.tensor([3 * math.exp(-4.5), 5 * math.exp(-12.5)], dtype=torch.float64)
    torch.testing.assert_close(SURFACES["plateau"].grad(r).norm(dim=-1), closed)


def test_the_cliff_steepens_with_the_length_of_the_recurrence():
    # along b at w = 5 the state jumps from one fixed point to another
    line = torch.stack([torch.full((20_001,), 5.0), torch.linspace(-3, -2.5, 20_001)], -1).double()
    slopes = [objectives.cliff(length=t).grad(line).norm(dim=-1).max().item() for t in (5, 10, 20)]
    assert slopes[0] < slopes[1] / 3 < slopes[2] / 9


def test_from_model_is_the_loss_and_gradient_of_the_model_itself():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.randint(0, 2, (9,))
    loss = torch.nn.functional.cross_entropy
    objective = from_model(model, loss, x, y)
    direct = loss(model(x), y)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(direct, list(model.parameters()))])
    assert objective.dimension == 26
    torch.testing.assert_close(objective(objective.start), direct.detach())
    torch.testing.assert_close(objective.grad(objective.start), gradient)


def test_from_model_evaluates_many_networks_at_once_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1).double()
    x, y = torch.randn(9, 3, dtype=torch.float64), torch.randn(9, 1, dtype=torch.float64)
    objective = from_model(model, torch.nn.functional.mse_loss, x, y)
    thetas = torch.randn(2, 5, 4, dtype=torch.float64)
    before = model.weight.clone()
    single = torch.stack([torch.stack([objective(t) for t in row]) for row in thetas])
    torch.testing.assert_close(objective(thetas), single)
    hand = ((x @ thetas[1, 2, :3] + thetas[1, 2, 3] - y[:, 0]) ** 2).mean()
    torch.testing.assert_close(objective(thetas)[1, 2], hand)
    assert torch.equal(model.weight, before)


def test_l2_adds_half_lambda_theta_squared():
    model = torch.nn.Linear(2, 1).double()
    x, y = torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64)
    loss = torch.nn.functional.mse_loss
    theta = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    extra = from_model(model, loss, x, y, l2=0.2)(theta) - from_model(model, loss, x, y)(theta)
    torch.testing.assert_close(extra, torch.tensor([1.4, 0.2], dtype=torch.float64))


def test_hvp_is_the_hessian_times_the_vector_for_a_batch():
    objective = SURFACES["rosenbrock"]
    x = torch.tensor([[0.3, -0.7], [1.1, 0.6]], dtype=torch.float64)
    v = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(objective.hvp(x, v), torch.einsum("bij,bj->bi", objective.hessian(x), v))


def test_gradient_descent_on_a_quadratic_is_the_closed_form_at_every_step():
    spectrum = torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64)
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    run = trajectory(quadratic(spectrum), sgd, start, steps=40, lr=0.5)
    t = torch.arange(41, dtype=torch.float64)[:, None]
    torch.testing.assert_close(run.positions, start * (1 - 0.5 * spectrum) ** t, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(run.values, 0.5 * (spectrum * run.positions**2).sum(-1))


@pytest.mark.parametrize(("name", "reference", "hyper"), [
    ("sgd", torch.optim.SGD, {"lr": 1e-3}),
    ("momentum", torch.optim.SGD, {"lr": 1e-3, "mu": 0.9}),
    ("adam", torch.optim.Adam, {"lr": 1e-2}),
])
def test_the_engine_follows_torch_optim_step_by_step(name, reference, hyper):
    objective = objectives.rosenbrock()
    theta = torch.nn.Parameter(objective.start.clone())
    torch_names = {"mu": "momentum"}
    optimizer = reference([theta], **{torch_names.get(k, k): v for k, v in hyper.items()})
    visited = [theta.detach().clone()]
    for _ in range(50):
        optimizer.zero_grad()
        objective.f(theta).backward()
        optimizer.step()
        visited.append(theta.detach().clone())
    run = trajectory(objective, RULES[name], objective.start, steps=50, **hyper)
    torch.testing.assert_close(run.positions, torch.stack(visited), rtol=1e-10, atol=1e-12)


def test_a_batch_of_learning_rates_equals_separate_runs():
    objective, start = SURFACES["quadratic"], torch.tensor([1.0, 2.0], dtype=torch.float64)
    rates = torch.tensor([[0.1], [0.3], [0.6]], dtype=torch.float64)
    together = trajectory(objective, sgd, start.expand(3, 2), steps=20, lr=rates)
    for row, lr in enumerate((0.1, 0.3, 0.6)):
        torch.testing.assert_close(together.positions[:, row], trajectory(objective, sgd, start, 20, lr=lr).positions)


def test_record_every_keeps_the_same_points():
    full = trajectory(SURFACES["rosenbrock"], sgd, steps=20, lr=1e-3)
    some = trajectory(SURFACES["rosenbrock"], sgd, steps=20, lr=1e-3, record_every=5)
    assert some.steps.tolist() == [0, 5, 10, 15, 20]
    assert torch.equal(some.positions, full.positions[::5]) and torch.equal(some.final, full.final)


def test_a_transform_replaces_the_gradient():
    objective = quadratic([2.0, 1.0])
    bias = torch.tensor([0.3, -0.1], dtype=torch.float64)
    run = trajectory(objective, sgd, torch.ones(2, dtype=torch.float64), 200, lr=0.4, transform=lambda g, t: g + bias)
    torch.testing.assert_close(run.final, -bias / torch.tensor([2.0, 1.0], dtype=torch.float64))


def test_noise_repeats_with_its_seed_and_has_the_scale_asked_for():
    g = torch.full((20_000,), 2.0, dtype=torch.float64)
    first, second = noisy(0.3, seed=4)(g, 0), noisy(0.3, seed=4)(g, 0)
    assert torch.equal(first, second)
    assert first.mean().item() == pytest.approx(2.0, abs=0.01) and first.std().item() == pytest.approx(0.3, rel=0.03)


def test_clipping_shortens_long_gradients_and_leaves_short_ones_and_every_direction():
    g = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(clipped(1.0)(g, 0), expected)
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    parameter.grad = g[0].clone()
    torch.nn.utils.clip_grad_norm_([parameter], 1.0)
    torch.testing.assert_close(clipped(1.0)(g[0], 0), parameter.grad, rtol=1e-5, atol=0)


def test_a_clip_threshold_per_run_may_be_infinite():
    g = torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=torch.float64)
    limits = torch.tensor([[float("inf")], [2.5]], dtype=torch.float64)
    torch.testing.assert_close(clipped(limits)(g, 0), torch.tensor([[3.0, 4.0], [1.5, 2.0]], dtype=torch.float64))


def test_newton_reaches_the_minimum_of_a_quadratic_in_one_step():
    center = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    objective = quadratic([1e4, 1.0, 1e-2], rotation=rotation_matrix(3), minimum=center)
    starts = torch.tensor([[5.0, 5.0, 5.0], [-1.0, 0.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(newton(objective, starts, steps=1).final, center.expand(2, 3), rtol=1e-8, atol=1e-8)


def test_newton_converges_quadratically_to_rosenbrocks_minimum():
    errors = (newton(objectives.rosenbrock(), steps=7).positions - 1.0).norm(dim=-1)
    assert errors[-1] < 1e-12 and errors[-3] < 10 * errors[-4] ** 2


def test_newton_walks_into_the_saddle_and_the_absolute_hessian_keeps_it_out():
    objective, start = SURFACES["saddle"], torch.tensor([1.0, 0.1], dtype=torch.float64)
    assert newton(objective, start, steps=8).final.norm() < 1e-12
    out = newton(objective, start, steps=60, absolute=True, damping=0.1).final
    torch.testing.assert_close(out, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_damping_shortens_the_newton_step():
    objective, start = quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0], dtype=torch.float64)
    expected = torch.tensor([1 - 1 / 1.5, 1 - 4 / 4.5], dtype=torch.float64)
    torch.testing.assert_close(newton(objective, start, steps=1, damping=0.5).final, expected)


def test_divergence_is_recorded_and_not_raised():
    run = trajectory(quadratic([1.0]), sgd, torch.ones(1, dtype=torch.float64), steps=2000, lr=3.0)
    assert not run.values[-1].isfinite()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: quadratic([]), "spectrum must hold at least one finite eigenvalue"),
    (lambda: quadratic([1.0, float("nan")]), "spectrum must hold at least one finite"),
    (lambda: quadratic([1.0, 2.0, 3.0], rotation=0.1), "rotation must be a matrix unless n = 2"),
    (lambda: quadratic([1.0, 2.0], rotation=torch.ones(2, 2)), r"rotation must be an orthogonal \[2, 2\] matrix"),
    (lambda: objectives.ripple(amplitude=-1.0), "amplitude must be > 0, got -1.0"),
    (lambda: objectives.cliff(length=0), "length must be a whole number >= 1, got 0"),
    (lambda: objectives.cliff(target=1.0), r"target must be in \(0, 1\), got 1.0"),
    (lambda: objectives.rosenbrock()(torch.ones(3)), r"takes points of shape \[..., 2\], got \[3\]"),
    (lambda: trajectory(objectives.beale(), sgd, [1.0, 1.0], steps=-1, lr=0.1), "steps must be a whole number >= 0"),
    (lambda: trajectory(objectives.beale(), sgd, [1.0, 1.0, 1.0], lr=0.1), "takes points of shape"),
    (lambda: trajectory(objectives.beale(), sgd, [1.0, 1.0], lr=-0.1), "lr must be"),
    (lambda: trajectory(objectives.beale(), matrix_rule, [1.0, 1.0]), "rule must be elementwise, got matrix_rule"),
    (lambda: noisy(-1.0), "sigma must be >= 0"),
    (lambda: from_model(torch.nn.Linear(1, 1), None, None, None, l2=-1.0), "l2 must be >= 0, got -1.0"),
    (lambda: newton(objectives.beale(), [1.0, 1.0], damping=-1.0), "damping must be >= 0"),
    (lambda: clipped(0.0), "max_norm must be > 0, got 0.0"),
    (lambda: from_model(torch.nn.ReLU(), None, None, None), "model must have parameters"),
])
def test_bad_input_is_refused_with_the_rule_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()
