"""``dlopt.losses``: equal to torch, gradients, stability, statistics of the minimizers, refusals."""

import math

import numpy as np
import pytest
import torch
from dlopt import losses
from torch.nn import functional as F

EXACT = {"rtol": 0, "atol": 1e-12}
REDUCTIONS = ("mean", "sum", "none")


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(*shape, k=5, seed=1):
    return torch.randint(k, shape, generator=torch.Generator().manual_seed(seed))


REGRESSION = {
    "mse": (losses.mse, F.mse_loss, [{}]),
    "mae": (losses.mae, F.l1_loss, [{}]),
    "huber": (losses.huber, F.huber_loss, [{}, {"delta": 0.3}, {"delta": 4.0}]),
    "smooth_l1": (losses.smooth_l1, F.smooth_l1_loss, [{}, {"beta": 0.3}, {"beta": 4.0}]),
}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regression_loss_and_gradient_equal_torch(name, reduction):
    ours, theirs, options = REGRESSION[name]
    y, y_hat = draw(7, 3, seed=1, scale=3), draw(7, 3, scale=3).requires_grad_()
    for kwargs in options:
        a, b = ours(y_hat, y, reduction, **kwargs), theirs(y_hat, y, reduction=reduction, **kwargs)
        torch.testing.assert_close(a, b, **EXACT)
        (ga,), (gb,) = (torch.autograd.grad(v.sum(), y_hat) for v in (a, b))
        torch.testing.assert_close(ga, gb, **EXACT)


CROSS_ENTROPY = [
    {},
    {"label_smoothing": 0.2},
    {"weight": torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0], dtype=torch.float64)},
    {"weight": torch.tensor([0.5, 2.0, 0.1, 1.0, 3.0], dtype=torch.float64), "label_smoothing": 0.1},
    {"ignore_index": 2},
    {"ignore_index": 2, "label_smoothing": 0.3, "weight": torch.arange(1.0, 6.0, dtype=torch.float64)},
]


@pytest.mark.parametrize("kwargs", CROSS_ENTROPY, ids=lambda k: "+".join(k) or "plain")
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("extra", [(), (4,), (2, 3)], ids=str)
def test_cross_entropy_and_gradient_equal_torch(kwargs, reduction, extra):
    z, y = draw(9, 5, *extra, scale=4).requires_grad_(), classes(9, *extra)
    a = losses.cross_entropy(z, y, reduction, **kwargs)
    b = F.cross_entropy(z, y, reduction=reduction, **kwargs)
    torch.testing.assert_close(a, b, **EXACT)
    (ga,), (gb,) = (torch.autograd.grad(v.sum(), z) for v in (a, b))
    torch.testing.assert_close(ga, gb, **EXACT)


@pytest.mark.parametrize("kwargs", CROSS_ENTROPY[:4], ids=lambda k: "+".join(k) or "plain")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_with_probabilities_equals_torch(kwargs, reduction):
    z, q = draw(9, 5, 2), draw(9, 5, 2, seed=3).softmax(1)
    a = losses.cross_entropy(z, q, reduction, **kwargs)
    torch.testing.assert_close(a, F.cross_entropy(z, q, reduction=reduction, **kwargs), **EXACT)


def test_cross_entropy_of_one_example_without_batch_axis_equals_torch():
    z, y = draw(5), torch.tensor(3)
    torch.testing.assert_close(losses.cross_entropy(z, y), F.cross_entropy(z, y), **EXACT)


def test_one_hot_probabilities_give_the_loss_of_class_numbers():
    z, y = draw(9, 5), classes(9)
    soft = F.one_hot(y, 5).double()
    for epsilon in (0.0, 0.1):
        a, b = (losses.cross_entropy(z, t, label_smoothing=epsilon) for t in (y, soft))
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_multi_margin_and_binary_cross_entropy_equal_torch(reduction):
    z, y, w = draw(9, 5), classes(9), torch.arange(1.0, 6.0, dtype=torch.float64)
    log_p = z.log_softmax(1)
    for kwargs in ({}, {"weight": w}, {"ignore_index": 1}):
        a, b = losses.nll(log_p, y, reduction, **kwargs), F.nll_loss(log_p, y, reduction=reduction, **kwargs)
        torch.testing.assert_close(a, b, **EXACT)
    a = losses.multi_margin(z, y, reduction, margin=0.7)
    torch.testing.assert_close(a, F.multi_margin_loss(z, y, margin=0.7, reduction=reduction), **EXACT)
    t = torch.rand(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for pos_weight in (None, w):
        a = losses.binary_cross_entropy(z, t, reduction, pos_weight=pos_weight)
        b = F.binary_cross_entropy_with_logits(z, t, reduction=reduction, pos_weight=pos_weight)
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("reduction", ["batchmean", "sum", "none"])
def test_kl_divergence_equals_torch_also_where_a_probability_is_zero(reduction):
    log_p, q = draw(6, 4).log_softmax(1), draw(6, 4, seed=2).softmax(1)
    q[0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    expected = F.kl_div(log_p, q, reduction=reduction)
    torch.testing.assert_close(losses.kl_divergence(log_p, q, reduction), expected, **EXACT)


def test_cross_entropy_is_kl_plus_the_entropy_of_the_targets():
    z, q = draw(6, 4), draw(6, 4, seed=2).softmax(1)
    entropy = -(q * q.log()).sum(1).mean()
    kl = losses.kl_divergence(losses.log_softmax(z), q)
    torch.testing.assert_close(losses.cross_entropy(z, q), kl + entropy, **EXACT)


def test_log_softmax_equals_torch_on_every_axis():
    z = draw(3, 4, 5, scale=20)
    for dim in range(3):
        torch.testing.assert_close(losses.log_softmax(z, dim), z.log_softmax(dim), **EXACT)


GRADIENTS = {
    "mse": lambda z: losses.mse(z, draw(4, 3, seed=5)),
    "mae": lambda z: losses.mae(z, draw(4, 3, seed=5)),
    "quantile": lambda z: losses.quantile(z, draw(4, 3, seed=5), q=0.8),
    "huber": lambda z: losses.huber(z, draw(4, 3, seed=5), delta=0.5),
    "smooth_l1": lambda z: losses.smooth_l1(z, draw(4, 3, seed=5), beta=0.5),
    "log_cosh": lambda z: losses.log_cosh(z, draw(4, 3, seed=5)),
    "cross_entropy": lambda z: losses.cross_entropy(z, classes(4, k=3), label_smoothing=0.1),
    "cross_entropy_soft": lambda z: losses.cross_entropy(z, draw(4, 3, seed=6).softmax(1)),
    "binary_cross_entropy": lambda z: losses.binary_cross_entropy(z, draw(4, 3, seed=6).sigmoid(), pos_weight=3.0),
    "hinge": lambda z: losses.hinge(z, draw(4, 3, seed=6).sign()),
    "multi_margin": lambda z: losses.multi_margin(z, classes(4, k=3)),
    "kl_divergence": lambda z: losses.kl_divergence(losses.log_softmax(z), draw(4, 3, seed=6).softmax(1)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_equals_finite_differences(name):
    assert torch.autograd.gradcheck(GRADIENTS[name], draw(4, 3, seed=4).requires_grad_())


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "log_cosh", "kl_divergence"])
def test_second_derivatives_equal_finite_differences(name):
    assert torch.autograd.gradgradcheck(GRADIENTS[name], draw(4, 3, seed=4).requires_grad_())


def test_softmax_gradient_is_p_minus_y_and_sigmoid_gradient_is_p_minus_y_also_at_zero():
    z, y = draw(6, 4).requires_grad_(), classes(6, k=4)
    (g,) = torch.autograd.grad(losses.cross_entropy(z, y, "sum"), z)
    torch.testing.assert_close(g, z.softmax(1) - F.one_hot(y, 4), **EXACT)
    s = torch.tensor([0.0, 2.0, -3.0], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(losses.binary_cross_entropy(s, torch.ones_like(s), "sum"), s)
    torch.testing.assert_close(g, s.sigmoid() - 1, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_logits_of_ten_thousand_give_the_exact_loss_and_finite_gradients(dtype):
    z = torch.tensor([[1e4, -1e4, 0.0]] * 3, dtype=dtype, requires_grad=True)
    value = losses.cross_entropy(z, torch.arange(3), "none")
    expected = (z[0, 0] - z[0]).detach()  # in the arithmetic of the type
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    (g,) = torch.autograd.grad(value.sum(), z)
    assert torch.isfinite(g).all() and g[1].tolist() == [1.0, -1.0, 0.0]
    s = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    value = losses.binary_cross_entropy(s, torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=dtype), "none")
    assert value.tolist() == [0.0, s.abs().max().item(), s.abs().max().item(), 0.0]
    (g,) = torch.autograd.grad(value.sum(), s)
    assert g.tolist() == [0.0, -1.0, 1.0, 0.0]


def test_binary_cross_entropy_keeps_its_digits_in_the_tails():
    z = torch.tensor([-10.0, -30.0, -80.0])
    value = losses.binary_cross_entropy(z, torch.zeros(3), "none")
    torch.testing.assert_close(value, torch.exp(z), rtol=3e-5, atol=0)


def test_log_cosh_equals_its_definition_and_does_not_overflow():
    r = draw(50, scale=3)
    torch.testing.assert_close(losses.log_cosh(r, torch.zeros_like(r), "none"), r.cosh().log(), **EXACT)
    far = torch.tensor([1e4, -1e4], dtype=torch.float64)
    torch.testing.assert_close(losses.log_cosh(far, 0 * far, "none"), far.abs() - math.log(2), rtol=1e-15, atol=0)


def minimizer(loss, y):
    """Constant that minimizes the mean loss over the sample, by bisection of the slope."""
    low, high = y.min().item(), y.max().item()
    for _ in range(80):
        c = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(c.expand_as(y), y), c)
        low, high = (c.item(), high) if slope < 0 else (low, c.item())
    return (low + high) / 2


def test_minimizers_are_mean_median_quantile_and_between():
    y = -torch.log1p(-torch.linspace(0.001, 0.999, 1001, dtype=torch.float64))  # quantiles of an exponential law
    mean, median = minimizer(losses.mse, y), minimizer(losses.mae, y)
    assert mean == pytest.approx(y.mean().item(), abs=1e-9)
    assert median == pytest.approx(y.median().item(), abs=1e-9)
    for q in (0.1, 0.9):
        found = minimizer(lambda c, t, q=q: losses.quantile(c, t, q=q), y)
        assert np.quantile(y.numpy(), q) == pytest.approx(found, abs=0.02)
    huber = minimizer(losses.huber, y)
    assert median < huber < mean
    assert minimizer(lambda c, t: losses.huber(c, t, delta=1e3), y) == pytest.approx(mean, abs=1e-9)
    assert minimizer(lambda c, t: losses.huber(c, t, delta=1e-6), y) == pytest.approx(median, abs=1e-2)


def test_half_quantile_is_half_the_absolute_error():
    y, y_hat = draw(20), draw(20, seed=1)
    torch.testing.assert_close(2 * losses.quantile(y_hat, y), losses.mae(y_hat, y), **EXACT)


def test_mean_divides_by_elements_so_that_vector_targets_shrink_the_gradient():
    w = draw(8).requires_grad_()
    (per_element,) = torch.autograd.grad(losses.mse(w.expand(5, 8), draw(5, 8, seed=1)), w)
    norm = (draw(5, 8, seed=1) - w).square().sum(1).mean()
    (per_example,) = torch.autograd.grad(norm, w)
    torch.testing.assert_close(8 * per_element, per_example, **EXACT)


def test_every_loss_works_under_vmap_of_grad_with_batched_targets():
    z, y = draw(3, 6, 4), classes(3, 6, k=4)
    per_member = torch.func.vmap(torch.func.grad(losses.cross_entropy))(z, y)
    for i in range(3):
        torch.testing.assert_close(per_member[i], torch.func.grad(losses.cross_entropy)(z[i], y[i]), **EXACT)
    target, q = draw(3, 6, 4, seed=2), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for loss in (losses.mse, losses.mae, losses.huber, losses.smooth_l1, losses.log_cosh):
        out = torch.func.vmap(loss)(z, target)
        torch.testing.assert_close(out, torch.stack([loss(a, b) for a, b in zip(z, target)]), **EXACT)
    out = torch.func.vmap(lambda a, b, q: losses.quantile(a, b, q=q))(z, target, q)
    expected = [losses.quantile(a, b, q=float(c)) for a, b, c in zip(z, target, q)]
    torch.testing.assert_close(out, torch.stack(expected), **EXACT)
    out = torch.func.vmap(losses.binary_cross_entropy)(z, target.sigmoid())
    expected = [losses.binary_cross_entropy(a, b) for a, b in zip(z, target.sigmoid())]
    torch.testing.assert_close(out, torch.stack(expected), **EXACT)
    for loss in (losses.multi_margin, losses.nll):
        out = torch.func.vmap(loss)(z, y)
        torch.testing.assert_close(out, torch.stack([loss(a, b) for a, b in zip(z, y)]), **EXACT)
    weight = torch.func.vmap(lambda a, b: losses.cross_entropy(a, b, weight=torch.ones(4).double(), ignore_index=1))
    torch.testing.assert_close(weight(z, y)[0], F.cross_entropy(z[0], y[0], ignore_index=1), **EXACT)


def test_losses_compile_into_one_graph():
    z, y, t = draw(4, 3), classes(4, k=3), draw(4, 3, seed=2)
    for loss, target in ((losses.cross_entropy, y), (losses.huber, t), (losses.binary_cross_entropy, t.sigmoid())):
        compiled = torch.compile(loss, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(z, target), loss(z, target), **EXACT)


NAN = torch.tensor([1.0, math.nan])


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "quantile", "log_cosh", "smooth_l1"])
def test_regression_refuses_nan_targets_other_shapes_and_nothing(name):
    loss = getattr(losses, name)
    with pytest.raises(ValueError, match=r"target must be finite, got nan at index \(1,\)"):
        loss(torch.zeros(2), NAN)
    with pytest.raises(ValueError, match=r"same shape, got \(5, 1\) and \(5,\)"):
        loss(torch.zeros(5, 1), torch.zeros(5))
    with pytest.raises(ValueError, match=r"at least one value, got shape \(0, 1\)"):
        loss(torch.zeros(0, 1), torch.zeros(0, 1))
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, none; got 'avg'"):
        loss(torch.zeros(2), torch.zeros(2), "avg")


def test_predictions_that_are_nan_pass_through():
    assert torch.isnan(losses.mse(NAN, torch.zeros(2)))
    assert torch.isnan(losses.cross_entropy(torch.full((2, 3), math.nan), torch.zeros(2).long()))


REFUSED = {
    "q of 1": (lambda: losses.quantile(torch.zeros(2), torch.zeros(2), q=1.0), r"q must be in \(0, 1\), got 1.0"),
    "delta of 0": (lambda: losses.huber(torch.zeros(2), torch.zeros(2), delta=0.0), "delta must be > 0, got 0.0"),
    "beta below 0": (lambda: losses.smooth_l1(torch.zeros(2), torch.zeros(2), beta=-1.0), "beta must be > 0, got -1.0"),
    "class 5 of 5": (lambda: losses.cross_entropy(draw(2, 5), torch.tensor([0, 5])), r"0 \.\.\. 4, got 5"),
    "class -1": (lambda: losses.nll(draw(2, 5), torch.tensor([-1, 0])), r"0 \.\.\. 4, got -1"),
    "class 5 in margin": (lambda: losses.multi_margin(draw(2, 5), torch.tensor([5, 0])), r"0 \.\.\. 4, got 5"),
    "[n, 1] classes": (lambda: losses.cross_entropy(draw(2, 5), torch.zeros(2, 1).long()), r"must have shape \(2,\)"),
    "classes last": (lambda: losses.cross_entropy(draw(2, 7, 5), torch.zeros(2, 7).long()), r"shape \(2, 5\)"),
    "bool classes": (lambda: losses.cross_entropy(draw(2, 5), torch.zeros(2).bool()), "whole numbers .*torch.bool"),
    "no example": (lambda: losses.cross_entropy(draw(0, 5), torch.zeros(0).long()), r"got shape \(0, 5\)"),
    "a scalar": (lambda: losses.cross_entropy(torch.tensor(1.0), torch.tensor(0)), "got a scalar"),
    "all ignored": (lambda: losses.cross_entropy(draw(2, 5), torch.tensor([-100, -100])), "nothing to average"),
    "nan probabilities": (lambda: losses.cross_entropy(draw(1, 2), NAN.double()[None]), r"\[0, 1\], got nan"),
    "p above 1": (lambda: losses.cross_entropy(draw(1, 2), torch.tensor([[2.0, 0.0]])), r"\[0, 1\], got 2"),
    "two weights": (lambda: losses.cross_entropy(draw(2, 5), classes(2), weight=torch.ones(2)), r"\(5,\), got \(2,\)"),
    "weight below 0": (lambda: losses.cross_entropy(draw(2, 5), classes(2), weight=-torch.ones(5)), "finite and >= 0"),
    "smoothing of 2": (lambda: losses.cross_entropy(draw(2, 5), classes(2), label_smoothing=2.0), r"\[0, 1\], got 2.0"),
    "bce target 2": (lambda: losses.binary_cross_entropy(draw(1), torch.tensor([2.0])), r"\[0, 1\], got 2"),
    "bce target nan": (lambda: losses.binary_cross_entropy(draw(2), NAN), r"\[0, 1\], got nan"),
    "bce shapes": (lambda: losses.binary_cross_entropy(draw(2, 1), torch.zeros(2)), r"\(2, 1\) and \(2,\)"),
    "pos_weight": (lambda: losses.binary_cross_entropy(draw(1), torch.ones(1), pos_weight=-1.0), "pos_weight .*-1"),
    "hinge target 0": (lambda: losses.hinge(draw(2), torch.tensor([0.0, 1.0])), r"-1 or 1.*got 0"),
    "kl target": (lambda: losses.kl_divergence(draw(1, 2), torch.tensor([[-0.5, 1.5]])), r"\[0, 1\], got -0.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_losses_refuse(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_unchecked_skips_values_but_never_shapes():
    with losses.unchecked():
        assert torch.isnan(losses.mse(torch.zeros(2), NAN))
        with pytest.raises(ValueError, match="same shape"):
            losses.mse(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        losses.mse(torch.zeros(2), NAN)
