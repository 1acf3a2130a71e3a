"""Every rule equals an independent implementation, in every shape; the contract is enforced."""

import inspect
import math

import numpy as np
import pytest
import torch
from dlopt import rules
from dlopt.optimizers import Optimizer
from dlopt.rules import RULES, check_hyperparameters, hyperparameters, initial_state, rule, state_names, where
from dlopt.rules.errata import adadelta_printed

STEPS = 200
ELEMENTWISE = sorted({fn.__name__ for fn in RULES.values() if fn.elementwise and fn.__module__.startswith("dlopt.")})


# problems: theta -> gradient, in the dtype of theta; each has a start

SCALES = torch.logspace(-2, 1, 6, dtype=torch.float64)
DATA = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = (DATA.sum(1) > 0.3).double()
NOISE = torch.randn(STEPS + 1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def quadratic(theta, t):
    return SCALES.to(theta.dtype) * theta


def noisy_quadratic(theta, t):
    return SCALES.to(theta.dtype) * theta + NOISE[t].to(theta.dtype)


def logistic(theta, t):
    x, y = DATA.to(theta.dtype), LABELS.to(theta.dtype)
    return x.T @ (torch.sigmoid(x @ theta) - y) / 20 + 0.01 * theta


def rosenbrock(theta, t):
    inner = theta[1:] - theta[:-1] ** 2
    g = torch.zeros_like(theta)
    g[:-1] = -0.4 * theta[:-1] * inner - 0.02 * (1 - theta[:-1])
    g[1:] += 0.2 * inner
    return g


PROBLEMS = [quadratic, noisy_quadratic, logistic, rosenbrock]
START = torch.tensor([1.0, -1.0, 0.5, 0.3, -0.2, 0.8], dtype=torch.float64)


def run(fn, problem, dtype=torch.float64, start=START, steps=STEPS, **hyper):
    theta = start.to(dtype)
    state = list(initial_state(fn, theta).values())
    path = [theta]
    for t in range(1, steps + 1):
        step, *state = fn(problem(theta, t), *state, t=t, **hyper)
        theta = theta + step
        path.append(theta)
    return torch.stack(path)


def run_torch(make, problem, dtype=torch.float64, start=START):
    p = torch.nn.Parameter(start.to(dtype).clone())
    optimizer = make([p])
    path = [p.detach().clone()]
    for t in range(1, STEPS + 1):
        p.grad = problem(p.detach(), t)
        optimizer.step()
        path.append(p.detach().clone())
    return torch.stack(path)


SGD = torch.optim.SGD
TWINS = {
    "sgd": lambda p: SGD(p, lr=0.01),
    "momentum": lambda p: SGD(p, lr=0.01, momentum=0.9),
    "nesterov": lambda p: SGD(p, lr=0.01, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.0),
    "amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
}


@pytest.fixture
def default_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", TWINS)
def test_rule_with_its_defaults_equals_torch_over_200_steps_in_float64(name, problem, default_float64):
    ours, theirs = run(RULES[name], problem), run_torch(TWINS[name], problem)
    assert (ours - theirs).abs().max() < 1e-12  # NAdam too: torch keeps its product in the default dtype


@pytest.mark.parametrize("problem", PROBLEMS)
def test_nadam_equals_torch_whose_product_is_float32(problem):
    assert (run(rules.nadam, problem) - run_torch(TWINS["nadam"], problem)).abs().max() < 1e-7


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", TWINS)
def test_rule_equals_torch_over_200_steps_in_float32(name, problem):
    ours, theirs = run(RULES[name], problem, torch.float32), run_torch(TWINS[name], problem, torch.float32)
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max() < 1e-5


@pytest.mark.parametrize(
    "name, make, hyper",
    [
        ("adam", lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.8)), {"lr": 0.1, "beta1": 0.5, "beta2": 0.8}),
        ("adam", lambda p: torch.optim.Adam(p, eps=1e-2), {"eps": 1e-2}),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, 0.1, 0.9, 1e-2), {"lr": 0.1, "rho": 0.9, "eps": 1e-2}),
        ("radam", lambda p: torch.optim.RAdam(p, 0.1, (0.8, 0.99)), {"lr": 0.1, "beta1": 0.8, "beta2": 0.99}),
        ("nesterov", lambda p: SGD(p, 0.03, 0.5, nesterov=True), {"lr": 0.03, "mu": 0.5}),
        ("adadelta", lambda p: torch.optim.Adadelta(p, 0.5, 0.95, 1e-4), {"lr": 0.5, "rho": 0.95, "eps": 1e-4}),
    ],
)
def test_rule_equals_torch_away_from_the_defaults(name, make, hyper):
    assert (run(RULES[name], noisy_quadratic, **hyper) - run_torch(make, noisy_quadratic)).abs().max() < 1e-12


# rules without a twin: written again in numpy, coordinate by coordinate, from the sources' text


def numpy_path(update, names, problem=noisy_quadratic):
    """Run ``update(g, s, t)``, which returns the step of one coordinate and changes its dict ``s``."""
    theta, states = START.numpy().copy(), [dict.fromkeys(names, 0.0) for _ in range(6)]
    path = [theta.copy()]
    for t in range(1, STEPS + 1):
        g = problem(torch.from_numpy(theta), t).numpy()
        theta = theta + np.array([update(float(g[i]), states[i], t) for i in range(6)])
        path.append(theta.copy())
    return torch.from_numpy(np.stack(path))


def velocity(g, s, t):
    s["v"] = 0.9 * s["v"] - 0.01 * g
    return s["v"]


def displacement(g, s, t):
    s["v"] = 0.9 * s["v"] + 0.01 * g
    return -s["v"]


def descent(g, s, t):
    s["v"] = 0.9 * s["v"] - g
    return 0.01 * s["v"]


def averaged(g, s, t):
    s["v"] += 0.1 * (g - s["v"])
    return -0.01 * s["v"]


def lion(g, s, t):
    c = 0.9 * s["m"] + 0.1 * g
    s["m"] = 0.99 * s["m"] + 0.01 * g
    return -1e-4 * math.copysign(1.0, c)


def adam_moments(g, s, t):
    s["m"], s["v"] = 0.9 * s["m"] + 0.1 * g, 0.999 * s["v"] + 0.001 * g * g
    return s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)


def adam_eps_inside(g, s, t):
    m, v = adam_moments(g, s, t)
    return -1e-3 * m / math.sqrt(v + 1e-8)


def adam_uncorrected(g, s, t):
    adam_moments(g, s, t)
    return -1e-3 * s["m"] / (math.sqrt(s["v"]) + 1e-8)


def adagrad_eps_inside(g, s, t):
    s["G"] += g * g
    return -0.01 * g / math.sqrt(s["G"] + 1e-10)


def rmsprop_eps_inside(g, s, t):
    s["v"] = 0.9 * s["v"] + 0.1 * g * g
    return -0.01 * g / math.sqrt(s["v"] + 1e-8)


def printed(g, s, t):
    s["v"] = 0.95 * s["v"] + 0.05 * g * g
    return g / (math.sqrt(s["v"]) + 1e-6)


ORACLES = {
    "momentum_velocity": velocity, "momentum_displacement": displacement, "momentum_descent": descent,
    "momentum_averaged": averaged, "lion": lion, "adam_eps_inside": adam_eps_inside,
    "adam_uncorrected": adam_uncorrected, "adagrad_eps_inside": adagrad_eps_inside,
    "rmsprop_eps_inside": rmsprop_eps_inside, "adadelta_printed": printed,
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLES)
def test_rule_without_a_twin_equals_a_second_implementation(name):
    ours, theirs = run(RULES[name], noisy_quadratic), numpy_path(ORACLES[name], state_names(RULES[name]))
    assert ((ours - theirs).abs() / (1 + theirs.abs())).max() < 1e-12


def test_every_rule_of_the_library_is_compared_with_something():
    assert set(ELEMENTWISE) <= set(TWINS) | set(ORACLES) | {"nesterov_velocity"}  # the last one: see look-ahead


# momentum: conventions (erratum E13) and Nesterov's two forms


def test_the_rate_inside_or_outside_gives_the_same_iterates_at_a_constant_rate():
    forms = ("momentum", "momentum_velocity", "momentum_displacement", "momentum_descent")
    paths = [run(RULES[name], logistic) for name in forms]
    for path in paths[1:]:
        assert (path - paths[0]).abs().max() < 1e-13


def test_after_a_drop_of_the_rate_the_velocity_form_still_runs_and_the_other_does_not():
    def dropped(fn):
        theta, v = START, torch.zeros_like(START)
        for t in range(1, 41):
            step, v = fn(quadratic(theta, t), v, t=t, lr=0.01 if t <= 30 else 0.001)
            theta = theta + step
        return theta

    outside, same = dropped(rules.momentum), dropped(rules.momentum_descent)
    inside, same_inside = dropped(rules.momentum_velocity), dropped(rules.momentum_displacement)
    assert (outside - same).abs().max() < 1e-13 and (inside - same_inside).abs().max() < 1e-13
    assert (inside - outside).abs().max() > 1e-3


def test_averaging_shortens_the_steps_by_one_minus_mu():
    averaged, summed = run(rules.momentum_averaged, quadratic, lr=0.1), run(rules.momentum, quadratic, lr=0.01)
    assert (averaged - summed).abs().max() < 1e-13


@pytest.mark.parametrize("fn", [rules.nesterov, rules.nesterov_velocity])
def test_nesterov_is_the_look_ahead_form_seen_from_the_look_ahead_points(fn):
    mu, lr = 0.9, 0.01
    phi, v = START, torch.zeros_like(START)
    points = []
    for t in range(1, STEPS + 2):
        points.append(rules.lookahead(phi, v, mu=mu))
        step, v = rules.momentum_velocity(logistic(points[-1], t), v, t=t, lr=lr, mu=mu)
        phi = phi + step
    assert (run(fn, logistic, lr=lr, mu=mu) - torch.stack(points)).abs().max() < 1e-13


# properties that the docstrings state


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_first_adam_step_has_length_lr_whatever_the_gradient_scale(scale):
    zero = torch.zeros(3, dtype=torch.float64)
    step, *_ = rules.adam(scale * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), zero, zero, t=1, lr=0.3)
    assert torch.allclose(step, 0.3 * torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64), rtol=1e-4)


def test_eps_inside_the_root_shortens_steps_of_small_gradients_as_erratum_1_says():
    def first(fn, g):
        return -fn(torch.tensor(g, dtype=torch.float64), 0.0, 0.0, t=1, lr=1.0)[0].item()

    assert first(rules.adam_eps_inside, 1e-5) == pytest.approx(0.0995, abs=1e-4)
    assert first(rules.adam_eps_inside, 1e-6) == pytest.approx(0.0100, abs=1e-4)
    assert first(rules.adam, 1e-5) == pytest.approx(0.999, abs=1e-3)
    assert first(rules.adam, 1e-6) == pytest.approx(0.990, abs=1e-3)


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("threshold, first_scaled", [(4.0, 5), (5.0, 6)])
def test_radam_scales_from_the_fifth_or_sixth_step_on(beta2, threshold, first_scaled):
    g, state = torch.full((1,), 1e3, dtype=torch.float64), [torch.zeros(1, dtype=torch.float64)] * 2
    for t in range(1, 8):
        step, *state = rules.radam(g, *state, t=t, lr=1.0, beta2=beta2, threshold=threshold)
        assert (step.abs().item() < 1.0) == (t >= first_scaled)  # unscaled steps are as long as the gradient


@pytest.mark.parametrize("eps, first", [(1e-6, 0.0045), (1e-4, 0.045), (1e-2, 0.45)])
def test_eps_sets_the_first_step_of_adadelta(eps, first):
    zero = torch.zeros((), dtype=torch.float64)
    step, *_ = rules.adadelta(torch.tensor(7.0, dtype=torch.float64), zero, zero, t=1, rho=0.95, eps=eps)
    assert -step.item() == pytest.approx(first, rel=0.01)


def test_printed_adadelta_climbs_and_its_mended_sign_stalls_where_zeiler_descends():
    def gradient(theta, t):
        return torch.tensor([0.2, 4.0], dtype=torch.float64) * theta

    def loss(fn, **hyper):
        start = torch.tensor([5.0, 2.0], dtype=torch.float64)
        x = run(fn, gradient, start=start, steps=2000, **hyper)[-1]
        return (0.1 * x[0] ** 2 + 2 * x[1] ** 2).item()

    assert loss(adadelta_printed) > 1e6
    assert 0.1 < loss(adadelta_printed, lr=-1.0) < 2
    assert loss(rules.adadelta, rho=0.95) < 1e-3


# shapes, vmap, tensors for numbers


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("shape", [(), (5,), (4, 3), (2, 3, 4, 2)])
def test_step_and_state_have_the_shape_of_the_gradient_and_are_finite(name, shape):
    fn = RULES[name]
    if not fn.elementwise and len(shape) < 2:
        pytest.skip("needs a matrix")
    g = torch.randn(shape, dtype=torch.float64)
    state = initial_state(fn, g)
    for t in (1, 2, 7):
        step, *new = fn(g, *state.values(), t=t)
        state = dict(zip(state, new, strict=True))
        assert step.shape == shape and step.isfinite().all()
        for key, value in state.items():
            assert torch.as_tensor(value).shape == (() if key in fn.scalar_state else shape)


@pytest.mark.parametrize("name", sorted({fn.__name__ for fn in RULES.values()}))
def test_a_batch_of_models_with_their_own_rates_equals_one_model_at_a_time(name):
    fn = RULES[name]
    generator = torch.Generator().manual_seed(3)
    lr = torch.tensor([0.1, 0.01, 0.5], dtype=torch.float64)
    g = torch.randn(8, 3, 4, 2, generator=generator, dtype=torch.float64)
    one = initial_state(fn, g[0, 0])
    batch = {key: torch.stack([value] * 3) for key, value in one.items()}
    singles = [dict(one) for _ in lr]
    for i, t in enumerate(range(1, 9)):
        count = torch.full((3,), float(t), dtype=torch.float64)
        mapped = torch.func.vmap(lambda g, lr, t, *state: fn(g, *state, t=t, lr=lr))
        steps, *new = mapped(g[i], lr, count, *batch.values())
        batch = dict(zip(batch, new))
        for k in range(3):
            step, *state = fn(g[i, k], *singles[k].values(), t=t, lr=lr[k].item())
            singles[k] = dict(zip(one, state))
            assert (step - steps[k]).abs().max() < 1e-13


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_compiled_graph_without_breaks_exists_for_every_elementwise_rule(name):
    torch.compiler.reset()
    fn = RULES[name]
    g = torch.randn(5, dtype=torch.float64)
    state = list(initial_state(fn, g).values())
    t = torch.tensor(3.0, dtype=torch.float64)
    compiled = torch.compile(lambda *a, t: fn(*a, t=t), fullgraph=True, backend="eager")
    for ours, theirs in zip(compiled(g, *state, t=t), fn(g, *state, t=3)):
        assert torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-12, atol=0)


def test_state_of_low_precision_parameters_is_float32():
    state = initial_state(rules.nadam, torch.zeros(3, dtype=torch.bfloat16))
    assert state["m"].dtype == torch.float32 and state["mu_product"].dtype == torch.float64


# Muon


def test_orthogonalization_acts_on_the_singular_values_alone():
    matrix = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix / matrix.norm(), full_matrices=False)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert (rules.orthogonalize(matrix) - u @ torch.diag(s) @ vt).abs().max() < 1e-12


def test_five_iterations_bring_singular_values_into_the_stated_band():
    s = torch.linspace(0.005, 1.0, 200, dtype=torch.float64)
    out = torch.diag(rules.orthogonalize(torch.diag(s)))  # normalized by its norm: from 0.0006 up
    big = s / s.norm() > 0.005
    assert 0.68 < out[big].min() and out[big].max() < 1.16


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("length, theirs", [("spectral", "original"), ("adam", "match_rms_adamw")])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_equals_torch_in_bfloat16(shape, length, theirs, nesterov):
    generator = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    theta, m = p.detach().clone(), torch.zeros_like(p)
    other = torch.optim.Muon([p], lr=0.02, weight_decay=0.0, nesterov=nesterov, adjust_lr_fn=theirs)
    for t in range(1, 21):
        g = torch.randn(shape, generator=generator, dtype=torch.float64)
        p.grad = g.clone()
        other.step()
        step, m = rules.muon(g, m, t=t, lr=0.02, nesterov=nesterov, length=length, precision=torch.bfloat16)
        theta = theta + step
    assert (theta - p.detach()).abs().max() < 2e-2 * 0.02 * 20  # two roundings of bfloat16 apart, of 20 steps of 0.02
    assert (theta - p.detach()).abs().mean() < 1e-3


def test_muon_refuses_vectors():
    with pytest.raises(ValueError, match="muon needs a gradient with >= 2 dimensions, got 1; use adam"):
        rules.muon(torch.zeros(3), torch.zeros(3), t=1)


# the contract


@pytest.mark.parametrize("name", sorted(RULES))
def test_docstring_has_equation_arguments_return_and_source(name):
    text = RULES[name].__doc__
    for part in (".. math::", "Args:", "Returns:", "Source:"):
        assert part in text
    for argument in hyperparameters(RULES[name]):
        assert argument in text


@pytest.mark.parametrize("name", sorted(RULES))
def test_decorator_attaches_and_does_not_wrap(name):
    fn = RULES[name]
    assert inspect.isfunction(fn) and not hasattr(fn, "__wrapped__")
    assert "def " in inspect.getsource(fn)


def test_names_come_from_the_signature():
    assert state_names(rules.adam) == ("m", "v")
    assert hyperparameters(rules.adam) == {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert float(initial_state(rules.nadam, torch.zeros(2))["mu_product"]) == 1.0


@pytest.mark.parametrize(
    "hyper, message",
    [
        ({"beta2": 1.0}, r"beta2 must be in \[0, 1\), got 1.0"),
        ({"lr": -0.1}, "lr must be >= 0, got -0.1"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"momentum": 0.9}, "adam has no hyper-parameter 'momentum'; it has lr, beta1, beta2, eps"),
        ({"beta1": torch.tensor([0.9, 1.5])}, r"beta1 must be in \[0, 1\), got 1.5"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(hyper, message):
    with pytest.raises(ValueError, match=message):
        check_hyperparameters(rules.adam, **hyper)


def test_a_function_that_is_no_rule_is_refused():
    with pytest.raises(TypeError, match="step count as keyword-only argument t"):
        rule(lambda g, *, lr=0.1: (g,))
    with pytest.raises(TypeError, match="first hyper-parameter is lr"):
        rule(lambda g, *, t, mu=0.1: (g,))
    with pytest.raises(TypeError, match="every hyper-parameter has a default"):
        rule(lambda g, *, t, lr: (g,))
    with pytest.raises(TypeError, match="scalar_state of <lambda> names x"):
        rule(lambda g, *, t, lr=0.1: (g,), scalar_state="x")


def test_where_takes_booleans_and_tensors():
    assert where(True, 1.0, 2.0) == 1.0 and where(False, 1.0, 2.0) == 2.0
    assert where(torch.tensor([True, False]), 1.0, 2.0).tolist() == [1.0, 2.0]


def test_a_rule_may_take_matrices_one_way_and_vectors_another():
    def mixed(g, m, v, *, t, lr=1e-3):
        if g.dim() < 2:
            return rules.adam(g, m, v, t=t, lr=lr)
        step, m = rules.muon(g, m, t=t, lr=lr)
        return step, m, v

    try:
        assert not rule(elementwise=False)(mixed).any_shape and RULES["adam"].any_shape
        fn = rule(mixed, elementwise=False, any_shape=True)
        assert fn.any_shape and not fn.elementwise
    finally:
        del RULES["mixed"]
    net = torch.nn.Linear(4, 3)
    before = [p.detach().clone() for p in net.parameters()]
    net(torch.ones(2, 4)).sum().backward()
    Optimizer(net.parameters(), fn, lr=0.1).step()
    weight, bias = (p.detach() - b for p, b in zip(net.parameters(), before))
    assert bias.abs().max() == pytest.approx(0.1, rel=1e-4) and 0.06 < torch.linalg.matrix_norm(weight, 2) < 0.12
