"""The live picture of a run: redrawn in place, honest about the time left, and readable when the run is over."""

import contextlib
import math
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dlopt.data import digits
from dlopt.interactive import Live, live
from dlopt.losses import cross_entropy, mse
from dlopt.training import train


class Shown:
    """Stands in for the notebook: keeps what was shown and how often it was redrawn."""

    def __init__(self):
        self.pictures, self.opened = [], 0

    def display(self, picture, display_id):
        self.opened += 1
        self.pictures.append(picture.data)
        return self

    def update(self, picture):
        self.pictures.append(picture.data)


@pytest.fixture
def shown(monkeypatch):
    shown = Shown()
    monkeypatch.setattr(live, "display", shown.display)
    return shown


def steps(callback, losses, total):
    for step, loss in enumerate(losses, start=1):
        callback(SimpleNamespace(step=step, total=total, loss=loss))


def test_one_picture_is_redrawn_and_ends_without_a_bar(shown):
    steps(Live(every=1e-9), [1.0, 0.5, 0.25], total=3)
    assert shown.opened == 1 and len(shown.pictures) == 3
    assert "<progress" in shown.pictures[0] and "<progress" not in shown.pictures[-1]
    assert "3 of 3 updates" in shown.pictures[-1] and "1 at first, 0.25 now" in shown.pictures[-1]


def test_it_is_drawn_no_more_often_than_asked(shown):
    steps(Live(every=3600), np.ones(50), total=50)
    assert len(shown.pictures) == 2, "the first and the last"


def test_the_time_left_is_that_of_the_updates_so_far():
    callback = Live()
    callback.losses, callback.first = [1.0, 0.5], 1
    assert "about 18 s left" in callback.picture(step=11, total=100, seconds=2.02)
    assert "time left unknown" in callback.picture(step=1, total=100, seconds=0)


def test_a_training_run_draws_itself(shown):
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 32)[:, None]
    train(torch.nn.Linear(1, 1), (x, 2 * x), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), loss=mse, steps=20,
          evaluate_every=0, callback=Live())
    assert "20 of 20 updates" in shown.pictures[-1]


def interrupt(run):
    signal.raise_signal(signal.SIGINT)


def fail(run):
    raise OSError("disk full")


def diverge(run):
    for parameter in run.model.parameters():
        parameter.data.fill_(math.nan)


@pytest.mark.parametrize("what, said, error", [
    (interrupt, "interrupted", None), (fail, "ended by an error", OSError), (diverge, "diverged", FloatingPointError),
    (lambda run: True, "stopped by the callback", None),
])
def test_a_run_cut_short_leaves_a_picture_that_says_so_and_waits_for_nothing(shown, keyboard, what, said, error):
    class Cut(Live):
        def __call__(self, run):
            super().__call__(run)
            return what(run) if run.step == 3 else None

    x = torch.linspace(-1, 1, 32)[:, None]
    with pytest.raises(error) if error else contextlib.nullcontext():
        train(torch.nn.Linear(1, 1), (x, 2 * x), optimizer=lambda p: torch.optim.SGD(p, lr=0.1), loss=mse, steps=20,
              evaluate_every=0, callback=Cut(every=3600))
    assert shown.opened == 1 and len(shown.pictures) == 2
    assert re.search(f"3 of 20 updates, 0 s, {said}<", shown.pictures[-1])
    assert ">3 updates</text>" in shown.pictures[-1], "the axis ends where the run did"
    assert "<progress" not in shown.pictures[-1] and "left" not in shown.pictures[-1]


def test_early_stopping_is_said_and_the_next_run_has_a_picture_of_its_own(shown):
    data, callback = digits(seed=0), Live(every=3600)
    for opened in (1, 2):
        train(torch.nn.Linear(64, 10), data, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), loss=cross_entropy,
              epochs=50, early_stopping=2, callback=callback)
        assert shown.opened == opened and "stopped early" in shown.pictures[-1]


def test_the_curve_leaves_out_what_is_not_finite_and_says_when_it_is_logarithmic():
    picture = live.curve([1.0, math.nan, 0.5, 0.25], total=4)
    assert len(re.findall("M", re.findall(r'd="([^"]*)"', picture)[1])) == 2 and "logarithmic" not in picture
    assert 'y="16" text-anchor="end">loss axis logarithmic<' in live.curve([10.0, 0.1], total=2)
    assert "NaN" not in live.curve([math.nan], total=1)


def test_what_an_untrusted_notebook_keeps_of_the_curve_is_a_sentence_and_numbers_apart():
    kept = re.sub("<[^>]+>", "", live.curve([10.0, 0.1], total=2))  # it strips the tags of a drawing, not its words
    assert kept == live.UNTRUSTED + "10 0.1 1 2 updates loss axis logarithmic"


def test_many_losses_make_a_small_picture():
    assert len(live.curve(np.random.default_rng(0).random(100_000), total=100_000)) < 10_000


def test_the_interval_must_be_positive():
    with pytest.raises(ValueError, match="every must be > 0 seconds, got 0"):
        Live(every=0)
