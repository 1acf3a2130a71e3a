"""Softmax regression as a finite sum: value, gradient, minimum, and descent on it."""

import numpy as np
import pytest
import torch
from dlopt.finite_sums import SoftmaxRegression, descend, first_below, steps_to_levels, stochastic_descend, tuned_steps
from dlopt.scale import generator


@pytest.fixture(scope="module")
def problem():
    x = torch.randn(60, 4, dtype=torch.float64, generator=generator(0))
    return SoftmaxRegression(x, torch.arange(60) % 3, l2=0.05)


def reference(problem, w, rows):
    """F over ``rows`` written with torch's own loss."""
    loss = torch.nn.functional.cross_entropy(problem.x[rows] @ w, problem.y[rows])
    return loss + problem.l2 / 2 * w.square().sum()


def test_value_and_gradient_equal_torch_s_cross_entropy_and_autograd(problem):
    w = torch.randn(2, *problem.shape, dtype=torch.float64, generator=generator(1)).requires_grad_()
    index = torch.tensor([[0, 5, 9], [7, 7, 2]])
    torch.testing.assert_close(problem.value(w[0]), reference(problem, w[0], slice(None)), rtol=1e-13, atol=0)
    for k in range(2):
        (expected,) = torch.autograd.grad(reference(problem, w[k], index[k]), w)
        torch.testing.assert_close(problem.gradient(w, index)[k], expected[k], rtol=1e-12, atol=1e-15)


def test_hessian_eigenvalues_lie_between_l2_and_the_smoothness_bound(problem):
    w = torch.zeros(problem.shape, dtype=torch.float64)
    size = w.numel()
    hessian = torch.autograd.functional.hessian(lambda v: problem.value(v.view(problem.shape)), w.flatten())
    eigenvalues = torch.linalg.eigvalsh(hessian.view(size, size))
    assert eigenvalues[0] >= problem.l2 * (1 - 1e-12)
    assert eigenvalues[-1] <= problem.smoothness * (1 + 1e-12)


def test_minimum_has_no_gradient_and_gradient_descent_reaches_it_at_a_linear_rate(problem):
    w, low = problem.minimum()
    assert problem.gradient(w[None]).norm() < 1e-10
    gaps = problem.value(descend(problem, epochs=60)).numpy() - low
    assert (gaps[1:] <= (1 - problem.l2 / problem.smoothness) * gaps[:-1] + 1e-14).all()


def test_nesterov_is_ahead_of_gradient_descent(problem):
    hard = SoftmaxRegression(problem.x[:, :4] * torch.tensor([1, 1, 0.05, 0.05]), problem.y, l2=1e-4)
    low = hard.minimum()[1]
    plain, nesterov = (hard.value(descend(hard, epochs=100, momentum=m))[-1] - low for m in (0.0, "nesterov"))
    assert plain > 1e-6
    assert nesterov < plain / 10


def test_batches_that_grow_are_runs_of_each_size_one_after_the_other(problem):
    settings = dict(epochs=1, seeds=[5, 6])
    grown = stochastic_descend(problem, lambda t: 0.3, epochs=2, batch_size=lambda e: [10, 60][e], seeds=[5, 6])
    first = stochastic_descend(problem, lambda t: 0.3, batch_size=10, **settings)
    torch.testing.assert_close(grown[:, :2], first, rtol=0, atol=0)
    full = first[:, 1] - 0.3 * problem.gradient(first[:, 1])
    torch.testing.assert_close(grown[:, 2], full, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="batch_size must be <= 60, the number of examples, got 61"):
        stochastic_descend(problem, lambda t: 0.3, epochs=2, batch_size=lambda e: 60 + e, seeds=[5])


def test_full_batches_are_gradient_descent_whatever_the_seed(problem):
    lr = 1 / problem.smoothness
    runs = stochastic_descend(problem, lambda t: lr, epochs=5, batch_size=60, seeds=[3, 4])
    torch.testing.assert_close(runs[0], descend(problem, epochs=5), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(runs[1], runs[0], rtol=1e-12, atol=1e-14)


def test_runs_of_several_seeds_equal_each_seed_alone(problem):
    settings = dict(epochs=3, batch_size=7, replacement=True)
    together = stochastic_descend(problem, lambda t: 1 / t, seeds=[1, 2], **settings)
    alone = stochastic_descend(problem, lambda t: 1 / t, seeds=[2], **settings)
    torch.testing.assert_close(together[1], alone[0], rtol=1e-12, atol=1e-14)


def test_first_below_counts_columns_and_says_inf_where_never():
    np.testing.assert_array_equal(first_below([[3, 2, 1], [3, 3, 3]], 2), [1, np.inf])


def test_bad_arguments_are_refused(problem):
    with pytest.raises(ValueError, match="batch_size must be <= 60, the number of examples, got 61"):
        stochastic_descend(problem, lambda t: 1.0, epochs=1, batch_size=61, seeds=[0])
    with pytest.raises(ValueError, match="same length >= 1, got 0 and 0"):
        SoftmaxRegression(problem.x[:0], problem.y[:0], 0.1)
    with pytest.raises(ValueError, match="l2 must be > 0, got 0.0"):
        SoftmaxRegression(problem.x, problem.y, 0.0)


def test_steps_to_levels_counts_the_steps_of_the_recursion(problem):
    low, lr = problem.minimum()[1], 0.1 / problem.smoothness
    levels = [low + share * (np.log(3) - low) for share in (0.6, 0.5)]
    found = steps_to_levels(problem, levels, lr=[lr, 1e-9], batch_size=5, seeds=[3, 4], limit=200)
    source, w, values = generator(4), torch.zeros(1, *problem.shape, dtype=torch.float64), []
    for _ in range(200):
        w = w - lr * problem.gradient(w, torch.randint(60, (1, 5), generator=source))
        values.append(problem.value(w[0]).item())
    for level, row in zip(levels, found):
        assert row[0, 1] == 1 + np.flatnonzero(np.array(values) <= level)[0]
    assert np.isinf(found[:, 1]).all()


def test_steps_to_levels_looks_only_as_often_as_asked(problem):
    level = (np.log(3) + problem.minimum()[1]) / 2
    found = steps_to_levels(problem, [level], lr=[0.05], batch_size=5, seeds=[0], limit=1000, checks=10)
    assert np.isfinite(found[0, 0, 0]) and found[0, 0, 0] % 100 == 0


def test_tuned_steps_counts_the_best_factor_on_fresh_seeds(problem):
    low = problem.minimum()[1]
    levels, factors = [low + share * (np.log(3) - low) for share in (0.6, 0.3)], [1e-3, 0.2, 1e3]
    settings = dict(factors=factors, tuning_seeds=[0, 1], budget=2000, least=50)
    steps, chosen = tuned_steps(problem, levels, [4, 30], seeds=[5, 6], **settings)
    assert steps.shape == (2, 2, 2) and chosen.shape == (2, 2)
    assert (chosen == 0.2).all()
    lr = [chosen[1, 0] / problem.smoothness]
    again = steps_to_levels(problem, levels, lr=lr, batch_size=4, seeds=[5, 6], limit=500)
    np.testing.assert_array_equal(steps[1, 0], again[1, 0])
    with pytest.raises(ValueError, match=r"must be disjoint, both hold \[1\]"):
        tuned_steps(problem, levels, [4], seeds=[1, 2], **settings)
