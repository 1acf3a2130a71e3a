"""Schedules equal torch's where torch has them, keep their shape for ints and tensors, and refuse bad input."""

import inspect
import math

import pytest
import torch
from dlopt import schedules

L = torch.optim.lr_scheduler


def torch_path(make, steps, lr=1.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    path = []
    for _ in range(steps):
        path.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return path


TWINS = {
    "step_decay": (schedules.step_decay(30, 0.5), lambda o: L.StepLR(o, 30, 0.5), 100),
    "milestones": (schedules.milestones([20, 50], 0.2), lambda o: L.MultiStepLR(o, [20, 50], 0.2), 100),
    "exponential": (schedules.exponential(0.97), lambda o: L.ExponentialLR(o, 0.97), 100),
    "linear": (schedules.linear(40, 1 / 3, 1.0), lambda o: L.LinearLR(o, 1 / 3, 1.0, 40), 60),
    "polynomial": (schedules.polynomial(50, 2.0), lambda o: L.PolynomialLR(o, 50, 2.0), 60),
    "cosine": (schedules.cosine(80, floor=0.1), lambda o: L.CosineAnnealingLR(o, 80, 0.1), 81),
    "cosine_restarts": (
        schedules.cosine_restarts(25, 0.05), lambda o: L.CosineAnnealingWarmRestarts(o, 25, eta_min=0.05), 100,
    ),
    "one_cycle": (schedules.one_cycle(90), lambda o: L.OneCycleLR(o, 1.0, total_steps=90, cycle_momentum=False), 89),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_schedule_equals_torch(name):
    ours, make, steps = TWINS[name]
    theirs = torch_path(make, steps)
    assert [ours(t) for t in range(steps)] == pytest.approx(theirs, rel=1e-10, abs=1e-12)


ALL = {
    "constant": schedules.constant(), "inverse_time": schedules.inverse_time(20.0),
    "inverse_sqrt": schedules.inverse_sqrt(20.0, warmup=5), "warm cosine": schedules.cosine(80, warmup=10),
    "wsd": schedules.wsd(100, warmup=10, decay=0.3, floor=0.1), "wsd sqrt": schedules.wsd(100, shape="sqrt"),
    "momentum": schedules.sutskever_momentum(), **{name: twin[0] for name, twin in TWINS.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_a_tensor_of_steps_gives_the_same_factors_as_one_step_at_a_time(name):
    many = ALL[name](torch.arange(150))
    assert many.dtype == torch.float64 and many.shape == (150,)
    one = [ALL[name](t) for t in range(150)]
    assert all(isinstance(factor, float) for factor in one)
    assert many.tolist() == pytest.approx(one, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ALL)
def test_factors_are_finite_and_not_negative(name):
    factors = ALL[name](torch.arange(2000))
    assert factors.isfinite().all() and (factors >= 0).all() and (factors <= 1 + 1e-12).all()


@pytest.mark.parametrize("name", ["linear", "polynomial", "cosine", "warm cosine", "wsd", "wsd sqrt", "one_cycle"])
def test_beyond_its_end_a_schedule_keeps_its_last_value(name):
    assert ALL[name](500) == ALL[name](5000)


def test_schedule_drives_an_optimizer_through_torch():
    path = torch_path(lambda o: L.LambdaLR(o, schedules.cosine(20, warmup=4)), 20, lr=0.3)
    assert path == pytest.approx([0.3 * schedules.cosine(20, warmup=4)(t) for t in range(20)])


def test_warmup_rises_in_equal_steps_to_one_and_hands_over_at_the_start():
    s = schedules.cosine(24, warmup=4)
    assert [s(t) for t in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert s(24) == pytest.approx(0.0, abs=1e-15) and s(14) == pytest.approx(0.5)


def test_wsd_is_flat_between_warmup_and_decay():
    s = schedules.wsd(100, warmup=10, decay=0.2, floor=0.1)
    assert {s(t) for t in range(10, 81)} == {1.0}
    assert s(90) == pytest.approx(0.55) and s(100) == pytest.approx(0.1)
    assert schedules.wsd(100, shape="sqrt")(85) == pytest.approx(1 - math.sqrt(0.25))


def test_inverse_time_halves_after_tau_and_inverse_sqrt_falls_by_the_root_of_two():
    assert schedules.inverse_time(50.0)(50) == 0.5
    assert schedules.inverse_sqrt(50.0)(50) == pytest.approx(1 / math.sqrt(2))


def test_sutskever_momentum_has_the_published_values():
    mu = schedules.sutskever_momentum(0.99)
    for t, expected in [(0, 0.5), (249, 0.5), (250, 0.75), (500, 1 - 1 / 6), (250 * 49, 0.99), (10**6, 0.99)]:
        assert mu(t) == pytest.approx(expected)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: schedules.cosine(10, warmup=10), "warmup must be shorter than the run, got 10 of 10 steps"),
        (lambda: schedules.cosine(10, warmup=-1), "warmup must be a whole number >= 0, got -1"),
        (lambda: schedules.cosine(0), "total must be a whole number >= 1, got 0"),
        (lambda: schedules.cosine(10, floor=2.0), r"floor must be in \[0, 1\], got 2.0"),
        (lambda: schedules.cosine(10)(-1), "the step must be a whole number >= 0, got -1"),
        (lambda: schedules.wsd(10, warmup=9, decay=0.5), "warmup [+] decay must fit into the 10 steps, got 9 [+] 5"),
        (lambda: schedules.wsd(10, shape="cubic"), "shape must be one of linear, sqrt; got 'cubic'"),
        (lambda: schedules.step_decay(0), "every must be a whole number >= 1, got 0"),
        (lambda: schedules.milestones([5, 3]), "milestones must increase"),
        (lambda: schedules.exponential(0.0), "gamma must be > 0, got 0.0"),
        (lambda: schedules.inverse_time(-1.0), "tau must be > 0, got -1.0"),
        (lambda: schedules.linear(10, start=-1.0), "start must be a factor >= 0, got -1.0"),
        (lambda: schedules.one_cycle(10, rise=0.1), "rise must span more than one step"),
        (lambda: schedules.with_warmup(schedules.constant(), -2), "warmup must be a whole number >= 0, got -2"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_schedule_is_documented_and_tested():
    public = [n for n, f in vars(schedules).items() if inspect.isfunction(f) and f.__module__ == schedules.__name__]
    public = [name for name in public if not name.startswith("_")]
    assert all(getattr(schedules, name).__doc__ for name in public)
    text = inspect.getsource(inspect.getmodule(test_bad_input_is_refused))
    assert [name for name in public if f"schedules.{name}(" not in text] == []
