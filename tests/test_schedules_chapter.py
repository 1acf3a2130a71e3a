"""The pages on SGD, batches and schedules: equations and worked numbers against the library; the items they owe."""

import ast
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from dlopt.chains import expected_square
from dlopt.noise import noise_ball, update_noise
from dlopt.schedules import wsd

CHAPTERS = Path(__file__).parents[1] / "chapters"
PAGES = {stem: nbformat.read(CHAPTERS / f"{stem}.ipynb", as_version=4)
         for stem in ("sgd", "batch_size", "schedules", "schedule_race")}  # fmt: skip
PAGE = PAGES["schedules"]
OWED = {
    "sgd": {"S23", "S39", "S40", "E17", "E18"},
    "batch_size": {"S17", "S21", "S22", "S23", "S45", "S69", "E22", "E42"},
    "schedules": {"S41", "S43", "S44", "E31", "E32", "E33", "E41"},
    "schedule_race": {"S42"},
}
MADE = {  # stems that a loop completes, and their ends
    "schedules": {"sched-": ("close", "wrong", "hybrid"), "sched-updates-": ("decay", "hybrid", "grow"),
                  "sched-seconds-": ("median", "low", "high"), "sched-edge-": ("rises", "lower", "sharp", "stall"),
                  "sched-late-": ("full", "half", "tenth", "chance"),
                  "sched-linear-": ("large", "near", "small", "root", "warm", "plain")},
    "batch_size": {"batch-{machine}-": ("small-0", "small-1", "big-0", "big-1"), "batch-own-": "01",
                   "batch-critical-": "01", "batch-average-": "01", "batch-ball-": "01", "batch-tuned-": ("8", "256"),
                   "batch-left-": ("zero", "tenth", "third", "one", "three"),
                   "batch-deeper-": ("zero", "tenth", "third", "one", "three")},
    "schedule_race": {"shapes-sum-": ("step", "cosine", "WSD", "cyclical"), "shapes-equal-": ("low", "high"),
                      "shapes-rate-": ("low", "high"), "shapes-relative-": ("WSD", "plateau", "cosine"),
                      "shapes-gap-": ("short", "long", "shift", "cosine", "WSD")},
}  # fmt: skip

PROBLEMS = ("perceptron", "CNN", "transformer")
TWICE_LOOPED = {
    "schedule_race": [f"shapes-lr-{p}-{name}" for p in PROBLEMS for name in ("constant", "cosine", "WSD")]
                     + [f"shapes-{p}-{name}" for p in PROBLEMS for name in ("cosine", "WSD", "plateau")]
                     + ["shapes-perceptron-step", "shapes-perceptron-cyclical"],
    "sgd": ["sgd-final-1", "sgd-final-exp"],
}  # fmt: skip


def prose(page=PAGE):
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")


def code(page=PAGE):
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "code")


def claims(page=PAGE):
    """(item, part) of every claim of a page, in order."""
    calls = [node for cell in page.cells if cell.cell_type == "code" for node in ast.walk(ast.parse(cell.source))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"]
    part = lambda call: next((k.value.value for k in call.keywords if k.arg == "part"), None)  # noqa: E731
    return [(call.args[0].value, part(call)) for call in calls]


@pytest.mark.parametrize("stem", PAGES)
def test_every_item_that_a_page_owes_is_claimed_and_no_part_twice(stem):
    made = claims(PAGES[stem])
    assert {item for item, _ in made} == OWED[stem]
    assert len(made) == len(set(made))


def test_no_part_of_an_item_is_claimed_on_two_pages():
    together = [made for page in PAGES.values() for made in claims(page)]
    assert len(together) == len(set(together))


@pytest.mark.parametrize("stem", PAGES)
def test_every_number_in_prose_is_glued_and_every_glued_number_is_used(stem):
    text, program = prose(PAGES[stem]), code(PAGES[stem])
    used = set(re.findall(r"\{glue:text\}`([\w.-]+)`", text))
    said = set(re.findall(r'glue(?:_interval)?\("([\w.-]+)"(?! ?\+)', program))
    looped = set(TWICE_LOOPED.get(stem, ()))
    for start, ends in MADE.get(stem, {}).items():
        assert start.rstrip("-") in program
        looped |= {start.replace("{machine}-", "") + end for end in ends}
    assert used == said | looped


def test_the_noise_scales_worked_by_hand():
    assert update_noise(0.1, 16, 3200) == pytest.approx(19.9)
    assert update_noise(0.025, 16, 3200) == pytest.approx(4.975)
    assert update_noise(0.1, 64, 3200) == pytest.approx(4.9)
    assert update_noise(0.1, 320, 3200) == pytest.approx(0.9) and "0.1\\cdot9=0.9" in prose()


def test_the_noise_ball_of_the_page_is_the_limit_of_the_recursion_and_of_its_small_rate_form():
    squares = expected_square(lambda t: 0.3, steps=400, curvature=2.0, noise=0.5)
    assert noise_ball(0.3, curvature=2.0, noise=0.5) == pytest.approx(squares[-1], rel=1e-12)
    for momentum in (0.0, 0.9):
        small = noise_ball(1e-6, curvature=2.0, noise=0.5, momentum=momentum)
        assert small == pytest.approx(0.25 / 4 * 1e-6 / (1 - momentum), rel=1e-5)


@pytest.mark.parametrize("curvature, noise, start", [(1.0, 1.0, 3.0), (0.3, 2.0, 1.0), (2.0, 0.5, 5.0)])
def test_the_best_schedule_has_its_closed_form_and_no_nearby_schedule_is_better(curvature, noise, start):
    steps, ratio = 30, (noise / curvature / start) ** 2
    best = 1 / (curvature * (np.arange(1, steps + 1) + ratio))
    settings = dict(steps=steps, curvature=curvature, noise=noise, start=start)
    squares = expected_square(best, **settings)
    exact = 1 / (1 / start**2 + (curvature / noise) ** 2 * np.arange(1, steps + 1))
    np.testing.assert_allclose(squares, exact, rtol=1e-12)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 0.5):
        for _ in range(20):
            other = best * np.exp(size * rng.standard_normal(steps))
            assert expected_square(other, **settings)[-1] > squares[-1]


def test_growing_the_batch_trades_examples_one_to_one_until_the_contraction_is_the_limit():
    rate, steps = 0.2, 120
    contraction = (1 - rate) ** 2

    def exponent(growth):
        square, used, path = 1.0, 0.0, []
        for t in range(steps):
            square = contraction * square + rate**2 / growth**t
            used += growth**t
            path.append((used, square))
        (n0, s0), (n1, s1) = path[steps // 2], path[-1]
        return np.log(s1 / s0) / np.log(n1 / n0)

    assert exponent(1.2) == pytest.approx(-1, abs=0.01)
    for growth in (2.0, 3.0):
        assert exponent(growth) == pytest.approx(np.log(contraction) / np.log(growth), abs=0.02)


def test_the_hyperbola_worked_by_hand():
    steps = lambda batch: 50 * (1 + 60 / batch)  # noqa: E731
    assert steps(1) == pytest.approx(3050) and steps(60) == pytest.approx(100)
    assert steps(60) - steps(240) == pytest.approx(37.5) and 240 * steps(240) - 60 * steps(60) == pytest.approx(9000)


def test_the_critical_batch_of_a_constant_step_is_where_the_noise_ball_meets_the_target():
    most, trace, target = 0.02, 3.0, 1e-3
    batch = most * trace / (4 * target)
    halves = [0.5 * curvature * noise_ball(most, curvature=curvature, noise=(trace / 3 / batch) ** 0.5)
              for curvature in (0.1, 0.4, 0.7)]  # fmt: skip
    assert sum(halves) == pytest.approx(target, rel=0.01)


def test_the_best_steps_worked_by_hand():
    best = 1 / (np.arange(1, 37) + 4.0)
    squares = expected_square(best, steps=36, curvature=1.0, noise=2.0, start=1.0)
    assert best[:3] == pytest.approx([1 / 5, 1 / 6, 1 / 7])
    assert squares[3] == pytest.approx(1 / 2) and squares[35] == pytest.approx(1 / 10)


def test_the_stairs_and_the_shares_of_the_exercises_end_where_their_solutions_say():
    steps, tried = 1000, np.geomspace(0.003, 0.02, 60)
    end = lambda rates: expected_square(rates, steps=steps, start=3.0)[-1]  # noqa: E731
    least = lambda factor: min((end(rate * factor), rate) for rate in tried)  # noqa: E731
    stairs = np.repeat([1, 1 / 2, 1 / 4, 1 / 8], [500, 250, 125, 125])
    best, (level, low), (fallen, high) = 1 / (1 / 9 + steps), least(np.ones(steps)), least(stairs)
    assert (level, low) == pytest.approx((0.00287, 0.0052), rel=0.03)
    assert (fallen, high) == pytest.approx((0.00162, 0.0088), rel=0.03)
    assert (level - fallen) / (level - best) == pytest.approx(2 / 3, abs=0.01)
    falls = [least(wsd(steps, decay=share)(torch.arange(steps)).numpy())[0] for share in (0.05, 0.1, 0.25, 0.5, 1)]
    assert falls == pytest.approx([0.0027, 0.0026, 0.0022, 0.0018, 0.0016], abs=5e-5)


def test_steps_and_examples_to_a_target_lie_on_the_hyperbola_of_the_exercise():
    critical, least = 37.0, 12.0
    for batch in (1.0, 37.0, 500.0):
        steps, examples = least * (1 + critical / batch), least * (batch + critical)
        assert (steps / least - 1) * (examples / (least * critical) - 1) == pytest.approx(1)
    assert 1 / (1 - 0.6) == pytest.approx(10 / 4)  # the momentum of the first exercise
