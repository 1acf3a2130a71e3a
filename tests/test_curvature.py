"""Curvature against closed forms, dense linear algebra and finite differences."""

import pytest
import torch
from dlopt.curvature import (
    HessianOperator,
    gradient_curvature,
    hessian,
    hvp,
    lanczos,
    spectral_density,
    top_eigenvalues,
)
from dlopt.objectives import quadratic, rosenbrock, rotation_matrix


@pytest.fixture
def net():
    """A small tanh network with its loss and parameters, float64."""
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.randint(0, 3, (30,))
    return (lambda: torch.nn.functional.cross_entropy(model(x), y)), list(model.parameters())


def quadratic_loss(spectrum, seed=0):
    """Loss closure, parameter and matrix of a rotated quadratic."""
    q = rotation_matrix(len(spectrum), seed)
    objective = quadratic(spectrum, rotation=q)
    theta = torch.linspace(-1, 1, len(spectrum), dtype=torch.float64).requires_grad_()
    return (lambda: objective.f(theta)), theta, q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T


def central_difference(loss_fn, params, v, h=1e-5):
    """(grad(theta + h v) - grad(theta - h v)) / 2h, flat."""
    def shifted(sign):
        with torch.no_grad():
            for p, piece in zip(params, v.split([p.numel() for p in params])):
                p += sign * h * piece.view_as(p)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss_fn(), params)])

    plus = shifted(1)
    shifted(-1)
    minus = shifted(-1)
    shifted(1)
    return (plus - minus) / (2 * h)


def test_hvp_of_a_quadratic_is_the_matrix_times_the_vector():
    loss_fn, theta, matrix = quadratic_loss([5.0, 1.0, -2.0, 0.0])
    v = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(hvp(loss_fn, theta, v), matrix @ v, rtol=1e-12, atol=1e-12)


def test_hvp_of_a_network_agrees_with_a_finite_difference_of_its_gradient(net):
    loss_fn, params = net
    v = torch.randn(sum(p.numel() for p in params), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(hvp(loss_fn, params, v), central_difference(loss_fn, params, v), rtol=1e-6, atol=1e-8)


def test_hvp_takes_a_list_shaped_like_the_parameters(net):
    loss_fn, params = net
    pieces = [torch.ones_like(p) for p in params]
    flat = torch.ones(sum(p.numel() for p in params), dtype=torch.float64)
    assert torch.equal(hvp(loss_fn, params, pieces), hvp(loss_fn, params, flat))


def test_a_batch_of_products_equals_products_one_by_one(net):
    operator = HessianOperator(*net)
    rows = operator.random_vector(0, batch=(2, 3))
    single = torch.stack([torch.stack([operator(v) for v in row]) for row in rows])
    torch.testing.assert_close(operator(rows), single, rtol=1e-12, atol=1e-14)


def test_exact_hessian_is_the_one_of_torch_func_and_symmetric(net):
    loss_fn, params = net
    ours = hessian(loss_fn, params, chunk=7)
    rows = [g for g in HessianOperator(loss_fn, params)._flat]
    reference = torch.stack([torch.cat([p.flatten() for p in torch.autograd.grad(r, params, retain_graph=True)])
                             for r in rows])
    torch.testing.assert_close(ours, reference, rtol=1e-10, atol=1e-12)
    assert torch.equal(ours, ours.T)


def test_exact_hessian_of_rosenbrock_is_the_closed_form():
    x, y = -1.2, 1.0
    theta = torch.tensor([x, y], dtype=torch.float64, requires_grad=True)
    closed = torch.tensor([[1200 * x * x - 400 * y + 2, -400 * x], [-400 * x, 200.0]], dtype=torch.float64)
    torch.testing.assert_close(hessian(lambda: rosenbrock().f(theta), theta), closed, rtol=1e-12, atol=1e-10)


def test_parameters_that_the_loss_does_not_use_have_zero_rows():
    used = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    unused = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    expected = torch.diag(torch.tensor([12.0, 0.0, 0.0], dtype=torch.float64))
    assert torch.equal(hessian(lambda: (used**3).sum(), [used, unused]), expected)


def test_a_linear_loss_has_hessian_zero():
    theta = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(hessian(lambda: 2 * theta.sum(), theta), torch.zeros(3, 3, dtype=torch.float64))


def test_gradient_curvature_decides_the_step_of_a_quadratic():
    loss_fn, theta, matrix = quadratic_loss([9.0, 1.0, 0.1])
    gg, ghg = gradient_curvature(loss_fn, theta)
    g = matrix @ theta.detach()
    torch.testing.assert_close(torch.stack([gg, ghg]), torch.stack([g @ g, g @ matrix @ g]), rtol=1e-12, atol=1e-12)
    critical, before = 2 * gg / ghg, loss_fn().item()
    for factor, goes_down in ((0.999, True), (1.001, False)):
        after = quadratic([9.0, 1.0, 0.1], rotation=rotation_matrix(3)).f(theta - factor * critical * g).item()
        assert (after < before) is goes_down


def test_lanczos_basis_is_orthonormal_and_tridiagonalizes():
    _, _, matrix = quadratic_loss([1e4, 1e2, 1.0, 1e-2, 1e-4, 3.0, 7.0, -5.0])
    start = torch.ones(8, dtype=torch.float64)
    found = lanczos(lambda v: v @ matrix, start, 6)
    q = found.basis
    torch.testing.assert_close(q @ q.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)
    t = torch.diag(found.alpha) + torch.diag(found.beta, 1) + torch.diag(found.beta, -1)
    torch.testing.assert_close(q @ matrix @ q.T, t, rtol=0, atol=1e-9)


def test_lanczos_over_all_steps_gives_the_whole_spectrum():
    spectrum = [4.0, 4.0, 1.0, 0.0, -3.0]
    _, _, matrix = quadratic_loss(spectrum)
    values, _ = lanczos(lambda v: v @ matrix, torch.ones(5, dtype=torch.float64), 5).eigh()
    torch.testing.assert_close(values, torch.tensor(sorted(spectrum), dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_lanczos_goes_on_after_an_invariant_subspace():
    found = lanczos(lambda v: 2.0 * v, torch.ones(4, dtype=torch.float64), 4)
    assert torch.equal(found.beta, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found.eigh()[0], torch.full((4,), 2.0, dtype=torch.float64))


def test_a_batch_of_starts_equals_one_start_at_a_time():
    _, _, matrix = quadratic_loss([5.0, 3.0, 1.0, -1.0, 0.5, 0.1])
    starts = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    batch = lanczos(lambda v: v @ matrix, starts, 4)
    for row, start in enumerate(starts):
        torch.testing.assert_close(batch.alpha[row], lanczos(lambda v: v @ matrix, start, 4).alpha)


@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_top_eigenvalues_of_a_network_are_those_of_its_dense_hessian(net, which):
    loss_fn, params = net
    dense = torch.linalg.eigvalsh(hessian(loss_fn, params))
    key = {"largest": -dense, "smallest": dense, "magnitude": -dense.abs()}[which]
    expected = dense[key.argsort()[:3]]
    torch.testing.assert_close(top_eigenvalues(loss_fn, params, 3, which=which), expected, rtol=1e-8, atol=1e-10)


def test_top_eigenvectors_satisfy_the_eigenvalue_equation(net):
    loss_fn, params = net
    values, vectors = top_eigenvalues(loss_fn, params, 2, vectors=True)
    torch.testing.assert_close(HessianOperator(loss_fn, params)(vectors), values[:, None] * vectors, rtol=0, atol=1e-8)


def test_spectral_density_integrates_to_one_and_has_the_trace():
    loss_fn, theta, matrix = quadratic_loss([6.0, 4.0, 2.0, 1.0, 0.5, -1.0])
    found = spectral_density(loss_fn, theta, probes=400, steps=6, points=2000)
    assert torch.trapezoid(found.density, found.grid).item() == pytest.approx(1.0, abs=1e-3)
    mean = (found.nodes * found.weights).sum(-1).mean().item()
    assert mean == pytest.approx(matrix.trace().item() / 6, abs=0.15)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(400, dtype=torch.float64))


def test_fraction_below_zero_estimates_the_index():
    loss_fn, theta, _ = quadratic_loss([5.0, 4.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0])
    below = spectral_density(loss_fn, theta, probes=500, steps=8).fraction_below(0.0)
    assert below.mean().item() == pytest.approx(3 / 8, abs=4 * below.std().item() / 500**0.5)


@pytest.mark.parametrize(("call", "message"), [
    (lambda f, p: hvp(f, p, torch.ones(5)), r"v must have shape \[..., 43\], got \[5\]"),
    (lambda f, p: hvp(f, [], torch.ones(5)), "params must hold at least one tensor"),
    (lambda f, p: hvp(lambda: f() * float("nan"), p, torch.ones(43)), "loss must be one finite number"),
    (lambda f, p: hvp(lambda: f().detach(), p, torch.ones(43)), "must depend on params"),
    (lambda f, p: hvp(lambda: f().expand(2), p, torch.ones(43)), r"got shape \[2\]"),
    (lambda f, p: hessian(f, p, chunk=0), "chunk must be a whole number >= 1"),
    (lambda f, p: top_eigenvalues(f, p, 44), "k must be at most the number of parameters 43, got 44"),
    (lambda f, p: top_eigenvalues(f, p, 5, steps=3), "steps must be at least k = 5, got 3"),
    (lambda f, p: top_eigenvalues(f, p, which="biggest"), "which must be one of largest"),
    (lambda f, p: spectral_density(f, p, probes=0), "probes must be a whole number"),
    (lambda f, p: spectral_density(f, p, width=-1.0, steps=5), "width must be > 0"),
    (lambda f, p: lanczos(lambda v: v, torch.ones(3), 4), "steps must be at most the dimension 3, got 4"),
    (lambda f, p: lanczos(lambda v: v * float("nan"), torch.ones(3), 2), "matvec must return finite numbers"),
    (lambda f, p: lanczos(lambda v: v, torch.zeros(3), 2), "start must be finite and not zero"),
])
def test_bad_input_is_refused_with_the_rule_and_the_value(net, call, message):
    with pytest.raises(ValueError, match=message):
        call(*net)


def test_a_hessian_too_large_to_store_is_refused_with_the_way_out():
    theta = torch.zeros(5001, requires_grad=True)
    with pytest.raises(ValueError, match="use top_eigenvalues or spectral_density"):
        hessian(lambda: (theta**2).sum(), theta)
