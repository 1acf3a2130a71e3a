"""The learning-rate range test finds the edge where it is known; accumulated gradients are those of the large batch."""

import copy

import numpy as np
import pytest
import torch
from dlopt import losses
from dlopt.models import mlp
from dlopt.optimizers import SGD, Adam
from dlopt.scale import generator
from dlopt.training import accumulate_gradient, lr_range_test, staged, train


@pytest.fixture
def problem():
    x = torch.randn(200, 6, dtype=torch.float64, generator=generator(0))
    return mlp([6, 12, 3], seed=0).double(), (x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long())


def test_rates_grow_by_a_constant_factor_from_low_to_high(problem):
    model, data = problem
    found = lr_range_test(model, data, optimizer=SGD, loss=losses.cross_entropy, low=1e-4, high=1e-1, steps=31)
    assert found.stopped == "finished"
    np.testing.assert_allclose(found.lr, 10 ** np.linspace(-4, -1, 31), rtol=1e-10)


def test_the_losses_are_those_of_torch_s_own_loop(problem):
    model, (x, y) = problem
    found = lr_range_test(model, (x, y), optimizer=SGD, loss=losses.cross_entropy, low=1e-3, high=1.0, steps=10,
                          batch_size=len(x))
    twin = copy.deepcopy(model)
    for t in range(10):
        loss = torch.nn.functional.cross_entropy(twin(x), y)
        assert found.loss[t] == pytest.approx(loss.item(), rel=1e-10)
        grads = torch.autograd.grad(loss, list(twin.parameters()))
        with torch.no_grad():
            for p, g in zip(twin.parameters(), grads):
                p -= 1e-3 * 1000 ** (t / 9) * g


def test_the_smoothed_loss_is_the_weighted_average_of_its_equation(problem):
    model, data = problem
    found = lr_range_test(model, data, optimizer=SGD, loss=losses.cross_entropy, high=1e-2, steps=20, smoothing=0.8)
    for t in (0, 7, 19):
        weights = 0.8 ** np.arange(t, -1, -1)
        assert found.smooth[t] == pytest.approx(weights @ found.loss[: t + 1] / weights.sum(), rel=1e-12)


def test_on_a_parabola_the_loss_rises_beyond_two_over_the_curvature():
    curvature = 4.0
    model = torch.nn.Linear(1, 1, bias=False).double()
    x = torch.full((8, 1), curvature**0.5, dtype=torch.float64)
    found = lr_range_test(model, (x, torch.zeros(8, 1, dtype=torch.float64)), optimizer=SGD, low=1e-3, high=100.0,
                          loss=lambda p, y: (p - y).square().mean() / 2, steps=200, batch_size=8, smoothing=0.0)
    assert found.stopped == "risen"
    assert 2 / curvature <= found.edge * 1.06 and found.edge < 2.2 / curvature
    assert found.steepest < found.edge


def test_the_model_is_left_as_it_was_and_an_optimizer_class_needs_no_rate(problem):
    model, data = problem
    before, mode = copy.deepcopy(model.state_dict()), model.training
    found = lr_range_test(model, data, optimizer=Adam, loss=losses.cross_entropy, high=1.0, steps=15)
    assert found.lr[0] == pytest.approx(1e-5) and model.training == mode
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_a_run_that_blows_up_ends_with_finite_records(problem):
    model, data = problem
    settings = dict(optimizer=SGD, loss=losses.cross_entropy, low=1.0, high=1e30, steps=40, rise=1e300)
    found = lr_range_test(model, data, **settings)
    assert found.stopped == "diverged" and np.isfinite(found.smooth).all()
    assert len(found.lr) == len(found.loss) == len(found.smooth)


@pytest.mark.parametrize("change, message", [
    ({"low": 1.0, "high": 0.1}, "low must be < high, got 1.0 and 0.1"),
    ({"low": 0.0}, "low must be > 0, got 0.0"),
    ({"steps": 3}, "steps must be a whole number >= 10, got 3"),
    ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\), got 1.0"),
    ({"rise": 1.0}, "rise must be > 1, got 1.0"),
    ({"optimizer": torch.optim.SGD([torch.zeros(1, requires_grad=True)])}, "optimizer must make one from parameters"),
])  # fmt: skip
def test_the_range_test_refuses(problem, change, message):
    model, data = problem
    with pytest.raises(ValueError, match=message):
        lr_range_test(model, data, **{"optimizer": SGD, "loss": losses.cross_entropy, **change})


# --- accumulation

def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("piece", [1, 7, 64, 1000])
@pytest.mark.parametrize("norm", [None, "layer", "group"])
def test_the_accumulated_gradient_is_the_whole_batch_s(problem, piece, norm):
    _, (x, y) = problem
    model = mlp([6, 16, 3], normalization=norm, seed=1).double()
    total = losses.cross_entropy(model(x), y)
    total.backward()
    whole = gradient(model).clone()
    assert accumulate_gradient(model, losses.cross_entropy, x, y, piece) == pytest.approx(total.item(), rel=1e-12)
    assert (gradient(model) - whole).abs().max() < 1e-14


def test_batch_normalization_breaks_the_identity(problem):
    _, (x, y) = problem
    model = mlp([6, 16, 3], normalization="batch", seed=1).double()
    accumulate_gradient(model, losses.cross_entropy, x, y, len(x))
    whole = gradient(model).clone()
    accumulate_gradient(model, losses.cross_entropy, x, y, 10)
    assert (gradient(model) - whole).norm() > 0.01 * whole.norm()


def test_steps_with_accumulated_gradients_are_training_with_the_large_batch(problem):
    model, (x, y) = problem
    twin = copy.deepcopy(model)
    train(model, (x, y), optimizer=lambda p: SGD(p, 0.1), loss=losses.cross_entropy, steps=20, batch_size=len(x))
    optimizer = SGD(twin.parameters(), 0.1)
    for _ in range(20):
        accumulate_gradient(twin, losses.cross_entropy, x, y, 16)
        optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n, m, piece, message", [(0, 0, 4, "same length >= 1, got 0 and 0"),
                                                  (5, 4, 4, "same length >= 1, got 5 and 4"),
                                                  (5, 5, 0, "piece must be a whole number >= 1, got 0")])
def test_accumulation_refuses(problem, n, m, piece, message):
    model, (x, y) = problem
    with pytest.raises(ValueError, match=message):
        accumulate_gradient(model, losses.cross_entropy, x[:n], y[:m], piece)


# --- stages of batch and rate

def test_stages_change_batch_and_rate_at_the_same_update():
    x, y = torch.randn(50, 6, dtype=torch.float64, generator=generator(1)), torch.arange(50) % 3
    batch_size, schedule = staged(50, [2, 3], [8, 20, 50], [1.0, 0.5, 0.1])
    history = train(mlp([6, 3], seed=0).double(), (x, y), optimizer=lambda p: SGD(p, 0.2), loss=losses.cross_entropy,
                    epochs=4, batch_size=batch_size, schedule=schedule)
    sizes, rates = np.diff(history.examples, prepend=0), history.lr
    assert sizes.tolist() == 2 * [8, 8, 8, 8, 8, 8, 2] + [20, 20, 10, 50]
    assert rates.tolist() == pytest.approx([0.2] * 14 + [0.1] * 3 + [0.02])


@pytest.mark.parametrize("arguments, message", [
    (([2], [8, 60], [1, 1]), "each of batch_sizes must be <= 50, the number of examples, got 60; cap it"),
    (([2], [8], [1, 1]), "one entry more than starts, got 1, 2 and 1 starts"),
    (([3, 2], [8, 8, 8], [1, 1, 1]), r"starts must increase, got \[3, 2\]"),
    (([2], [8, 0], [1, 1]), "each of batch_sizes must be a whole number >= 1, got 0"),
    (([2], [8, 8], [1, -1]), "each of factors must be >= 0, got -1"),
])  # fmt: skip
def test_stages_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        staged(50, *arguments)
