"""The interactive figures: their rules are the library's, every way of working them works, and they stay small."""

import json
import re

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import program
from dlopt import heavy_ball, interactive, losses, objectives, rules
from dlopt.chains import expected_square
from dlopt.noise import expected_error, noise_ball, update_noise
from playwright.sync_api import sync_playwright
from scipy import optimize, stats

FIGURES = {name: getattr(interactive, name) for name in interactive.figures()}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>html[data-theme=dark]{--pst-color-text-base:#ced6dd;--pst-color-background:#121212;--pst-color-text-muted:#9ca4af}
body{background:var(--pst-color-background,#fff);color:var(--pst-color-text-base,#000);font-family:sans-serif}</style>
</head><body><main><h1>Figures</h1>%s</main></body></html>"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("browser"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    """``opened(figure, ...)``: a page from ``file://`` that shows the figures; its complaints fail the test."""
    contexts, complaints = [], []

    def open_page(*figures, fragment="", html=None, **options):
        path = tmp_path / "page.html"
        path.write_text(PAGE % "".join(html or [figure._repr_html_() for figure in figures]), encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": {"width": 900, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if "://" in request.url
                and not request.url.startswith("file:") else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_function("[...document.querySelectorAll('.dlopt-figure')].every(f => f.dlopt)")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def state(page, index=0):
    settle(page)
    return page.evaluate(f"document.querySelectorAll('.dlopt-figure')[{index}].dlopt.state")


def settle(page):
    """Let the figure draw what was changed."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


# --- without a browser

@pytest.mark.parametrize("name", interactive.figures())
def test_a_figure_with_its_framework_weighs_less_than_25_kilobytes(name):
    assert len(FIGURES[name]()._repr_html_().encode()) < 25_000


@pytest.mark.parametrize("name", interactive.figures())
def test_a_figure_names_no_other_host_and_is_the_same_text_every_time(name):
    text = FIGURES[name]()._repr_html_()
    assert set(re.findall(r"https?://[^\"' ]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert text == FIGURES[name]()._repr_html_()


@pytest.mark.parametrize("arguments, message", [
    ({"surface": "hill"}, "surface must be one of quadratic, .*; got 'hill'"), ({"lr": -1}, "lr must be > 0, got -1"),
    ({"mu": 1.0}, r"mu must be in \[0, 0.99\], got 1.0"), ({"kappa": 0}, r"kappa must be in \[1, 100\], got 0"),
    ({"method": "adam"}, "method must be one of"), ({"start": (1, 2, 3)}, r"start must be \(x, y\)"),
])
def test_descent_refuses_what_its_controls_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        interactive.descent(**arguments)


def test_an_unknown_kind_of_figure_is_refused():
    with pytest.raises(ValueError, match="kind must be one of descent"):
        interactive.Interactive("desent", "t", "h")


def test_a_text_that_looks_like_markup_stays_text():
    text = interactive.Interactive("descent", '<b>"bold"</b>', "x")._repr_html_()
    assert "&lt;b&gt;&quot;bold&quot;" in text and "<b>" not in text.split("<script>")[0]


# --- the rules in JavaScript are the rules in Python

def surface(name, kappa=10.0, angle=30.0):
    if name == "quadratic":
        return objectives.quadratic([1 / kappa, 1], rotation=torch.deg2rad(torch.tensor(angle).double()).item())
    return getattr(objectives, name)()


RUNS = [("quadratic", 1.9, 0.0), ("quadratic", 0.3, 0.9), ("rosenbrock", 0.001, 0.0), ("rosenbrock", 0.0005, 0.8),
        ("saddle", 0.2, 0.5), ("ripple", 0.02, 0.9), ("himmelblau", 0.005, 0.5), ("plateau", 0.5, 0.9)]


@pytest.mark.browser
@pytest.mark.parametrize("method", ["momentum", "nesterov"])
@pytest.mark.parametrize("name, lr, mu", RUNS)
def test_200_steps_in_javascript_equal_the_python_rule(opened, name, lr, mu, method):
    page = opened(interactive.descent())
    start = [1.3, -0.7]
    setting = {"surface": name, "method": method, "lr": lr, "mu": mu, "kappa": 10.0, "angle": 30.0, "start": start}
    got = page.evaluate("s => DlOpt.lib.descent.run(s, 200)", setting)
    rule = getattr(rules, method)
    want = objectives.trajectory(surface(name), rule, torch.tensor(start, dtype=torch.float64), 200, lr=lr, mu=mu)
    points = torch.tensor(got["points"], dtype=torch.float64)
    scale = want.positions.norm(dim=1).clamp(min=1e-3)  # of the point, not of a coordinate that crosses zero
    assert ((points - want.positions).norm(dim=1) / scale).max() < 1e-12
    values = torch.tensor(got["values"], dtype=torch.float64)
    assert ((values - want.values).abs() / want.values.abs().clamp(min=1e-3)).max() < 1e-12


@pytest.mark.browser
@pytest.mark.parametrize("name", ["quadratic", "rosenbrock", "saddle", "ripple", "himmelblau", "plateau"])
def test_the_gradient_in_javascript_is_the_derivative_of_the_surface_it_draws(opened, name):
    page = opened(interactive.descent())
    got = page.evaluate("""([name, h]) => {
        const S = DlOpt.lib.descent.SURFACES[name], s = S.make ? S.make({kappa: 7, angle: 20}) : S;
        return [[0.7, -0.4], [-1.1, 1.3]].map(([x, y]) => [s.g(x, y),
            [(s.f(x + h, y) - s.f(x - h, y)) / (2 * h), (s.f(x, y + h) - s.f(x, y - h)) / (2 * h)]]);
    }""", [name, 1e-5])
    for exact, numeric in got:
        assert torch.allclose(torch.tensor(exact), torch.tensor(numeric), rtol=1e-5, atol=1e-5)


# --- estimators

def data(n, seed):
    rng = np.random.default_rng(seed)
    return np.round(np.column_stack([rng.uniform(0, 10, n), rng.standard_t(2, n) + 5]), 3)


def average_loss(points, line, kind, delta):
    residual = torch.tensor(points[:, 1] - line[0] - line[1] * points[:, 0])
    zero = torch.zeros_like(residual)
    return {"squared": lambda: losses.mse(residual, zero), "absolute": lambda: losses.mae(residual, zero),
            "huber": lambda: losses.huber(residual, zero, delta=delta)}[kind]().item()


@pytest.mark.browser
@pytest.mark.parametrize("n, seed, delta", [(9, 0, 1.0), (9, 1, 0.1), (8, 2, 1.0), (9, 3, 10.0)])
def test_the_estimates_in_javascript_are_the_minimizers_of_the_library_losses(opened, n, seed, delta):
    page, points = opened(interactive.estimators()), data(n, seed)
    got = page.evaluate("""([points, delta]) => { const e = DlOpt.lib.estimators, y = points.map((p) => p[1]);
        return [e.mean(y), e.median(y), e.huber(y, delta), e.lse(points), e.lad(points), e.huberLine(points, delta),
                ['squared', 'absolute', 'huber'].map((k) => e.risk(points, [1, 0.5], k, delta))]; }""",
                        [points.tolist(), delta])
    y = points[:, 1]
    assert got[0] == pytest.approx(y.mean(), rel=1e-12) and got[1] == pytest.approx(np.median(y), rel=1e-12)
    root = optimize.brentq(lambda c: np.clip(y - c, -delta, delta).sum(), y.min(), y.max(), xtol=1e-13)
    assert got[2] == pytest.approx(root, abs=1e-9)
    assert got[3] == pytest.approx(np.polyfit(points[:, 0], y, 1)[::-1], rel=1e-9)
    for kind, line in (("absolute", got[4]), ("huber", got[5])):
        def risk(c, kind=kind):
            return average_loss(points, c, kind, delta)
        best = min(optimize.minimize(risk, [a, b], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14,
                    "maxiter": 4000}).fun for a in (2.0, 5.0) for b in (-0.5, 0.5))
        assert risk(line) <= best + 1e-9
    want = [average_loss(points, [1, 0.5], kind, delta) for kind in ("squared", "absolute", "huber")]
    assert got[6] == pytest.approx(want, rel=1e-12)


@pytest.mark.browser
def test_the_mean_follows_the_outlier_and_the_median_does_not(opened):
    page = opened(interactive.estimators())
    said = page.locator(".dlopt-readout").inner_text()
    assert said.startswith("Mean 4.2, median 3.8, Huber 4.25")
    outlier = page.locator(".dlopt-handle").last
    outlier.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    settle(page)
    assert page.locator(".dlopt-readout").inner_text().startswith("Mean 4.09, median 3.8, Huber 4.25")
    page.get_by_role("button", name="Put the points back").click()
    settle(page)
    assert page.locator(".dlopt-readout").inner_text() == said


@pytest.mark.browser
def test_the_line_panel_shows_the_chosen_landscape(opened):
    page = opened(interactive.estimators("line", loss="absolute"))
    shown = page.locator("canvas").nth(1).evaluate("c => [c.width > 200, c.style.display]")
    assert shown == [True, ""] and "LAD: y = 1.16 + 0.743 x" in page.locator(".dlopt-readout").inner_text()


# --- working a figure

def grip(page):
    return page.locator(".dlopt-handle").first


def center(locator):
    box = locator.locator(".dlopt-ring").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.browser
def test_the_start_is_dragged_by_mouse_and_stays_under_the_pointer(opened):
    page = opened(interactive.descent())
    x, y = center(grip(page))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 40, steps=4)
    page.mouse.up()
    settle(page)
    assert center(grip(page)) == pytest.approx((x + 80, y + 40), abs=1)
    assert state(page)["start"] != [-2.4, 1.6]


@pytest.mark.browser
def test_the_start_is_dragged_by_touch(opened):
    page = opened(interactive.descent(), has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    grip(page).scroll_into_view_if_needed()
    x, y = center(grip(page))
    touch = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x + 20, y + 25)]), ("touchMove", [(x + 40, y + 50)]),
                         ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
    settle(page)
    assert center(grip(page)) == pytest.approx((x + 40, y + 50), abs=1.5)


@pytest.mark.browser
def test_the_start_moves_by_arrow_keys_and_the_page_does_not_scroll(opened):
    page = opened(interactive.descent(), viewport={"width": 900, "height": 400})
    grip(page).focus()
    before, scroll = state(page)["start"], page.evaluate("scrollY")
    for key in ("ArrowRight", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    after = state(page)["start"]
    assert after[0] > before[0] and after[1] < before[1] and page.evaluate("scrollY") == scroll


@pytest.mark.browser
def test_every_control_is_reached_by_tab_and_has_a_name(opened):
    page = opened(interactive.descent())
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("""() => { const e = document.activeElement, label = e.labels && e.labels[0];
            return e.getAttribute('aria-label') || (label || e).textContent; }"""))
    for word in ("Surface", "Method", "Learning rate", "Momentum", "Condition", "Rotation", "Play", "Step",
                 "Start over", "Start: drag"):
        assert any(name.startswith(word) for name in names), (word, names)


@pytest.mark.browser
def test_the_readout_says_when_a_rate_diverges_and_when_it_does_not(opened):
    page = opened(interactive.descent(kappa=4.0, lr=2.2))
    assert "It diverges" in page.locator(".dlopt-readout").inner_text()
    page.evaluate("document.querySelector('.dlopt-figure').dlopt.set('lr', 1.0)")
    settle(page)
    assert "It has reached the minimum" in page.locator(".dlopt-readout").inner_text()
    page.wait_for_function("document.querySelector('[role=status]').textContent.includes('reached the minimum')")


@pytest.mark.browser
def test_play_runs_to_the_end_and_step_and_start_over_do_what_they_say(opened):
    page = opened(interactive.descent())
    shown = lambda: page.locator(".dlopt-readout").inner_text()  # noqa: E731
    page.get_by_role("button", name="Start over").click()
    settle(page)
    assert shown().startswith("Step 0 of 200")
    page.get_by_role("button", name="Step", exact=True).click()
    settle(page)
    assert shown().startswith("Step 1 of 200")
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("document.querySelector('.dlopt-figure').dlopt.t >= 200", timeout=15_000)
    page.get_by_role("button", name="Play").wait_for()


@pytest.mark.browser
def test_with_reduced_motion_play_shows_the_end_without_animation(opened):
    page = opened(interactive.descent(), reduced_motion="reduce")
    page.get_by_role("button", name="Start over").click()
    page.get_by_role("button", name="Play").click()
    settle(page)
    assert page.locator(".dlopt-readout").inner_text().startswith("Step 200 of 200")
    assert page.get_by_role("button", name="Pause").count() == 0


@pytest.mark.browser
def test_the_address_holds_the_setting_and_gives_it_back(opened):
    page = opened(interactive.descent())
    page.get_by_role("combobox", name="Surface").select_option("saddle")
    page.get_by_role("slider", name="Momentum").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("location.hash.includes('mu=0.01')")
    fragment, before = page.evaluate("location.hash"), state(page)
    again = opened(interactive.descent(), fragment=fragment)
    assert state(again) == before and before["surface"] == "saddle" and before["start"] == [1.5, 0.01]


@pytest.mark.browser
def test_an_address_with_nonsense_leaves_the_figure_as_it_was(opened):
    page = opened(interactive.descent(), fragment="#descent?lr=fast&surface=moon&start=1,x&other=3")
    assert state(page) | {"start": [-2.4, 1.6], "lr": 0.3, "surface": "quadratic"} == state(page)


@pytest.mark.browser
def test_two_figures_on_a_page_are_independent_and_have_ids_of_their_own(opened):
    page = opened(interactive.descent(), interactive.descent(surface="saddle"))
    page.evaluate("document.querySelector('.dlopt-figure').dlopt.set('lr', 1.25)")
    assert state(page, 0)["lr"] == 1.25 and state(page, 1)["lr"] == 0.2 and state(page, 1)["surface"] == "saddle"
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)) >= 6


# --- every figure, looked at

@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", interactive.figures())
def test_axe_finds_no_violation(opened, name, theme):
    page = opened(FIGURES[name]())
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    dark = json.dumps(theme == "dark")
    page.wait_for_function(f"document.querySelector('.dlopt-figure').hasAttribute('data-dark') === {dark}")
    found = Axe().run(page).response["violations"]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in found] == []


@pytest.mark.browser
@pytest.mark.parametrize("name", interactive.figures())
def test_a_figure_fits_a_phone(opened, name):
    page = opened(FIGURES[name](), viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_the_checks_of_this_file_see_a_planted_fault(opened):
    wrong = interactive.descent()._repr_html_().replace("s.mu * v[0] + d[0]", "s.mu * v[0] - d[0]")
    page = opened(html=[wrong])
    got = page.evaluate("DlOpt.lib.descent.run({surface: 'saddle', mu: 0.5, lr: 0.1, start: [1, 0.5]}, 3)")
    start = torch.tensor([1, 0.5]).double()
    want = objectives.trajectory(objectives.saddle(), rules.momentum, start, 3, lr=0.1, mu=0.5)
    assert (torch.tensor(got["points"]).double() - want.positions).abs().max() > 0.1


# --- schedules

@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.4])
def test_the_expected_square_of_a_schedule_is_the_library_s(opened, exponent):
    page = opened(interactive.schedule_exponent(exponent))
    found = page.evaluate("s => DlOpt.lib.scheduleExponent.expectedSquare(s, 200)",
                          {"exponent": exponent, "scale": 0.7, "start": 3})
    expected = expected_square(lambda t: 0.7 * t**-exponent, steps=200, start=3.0)
    assert found == pytest.approx(expected.tolist(), rel=1e-12)


@pytest.mark.parametrize("exponent, met", [(0.0, [False, True, False]), (0.5, [True, True, False]),
                                           (0.75, [True, True, True]), (1.0, [True, True, True]),
                                           (1.2, [True, False, True])])
def test_the_conditions_change_at_zero_one_half_and_one(opened, exponent, met):
    page = opened(interactive.schedule_exponent(exponent))
    assert page.evaluate(f"Object.values(DlOpt.lib.scheduleExponent.conditions({exponent}))") == met
    assert page.inner_text(".dlopt-readout").count("✓") == sum(met)


def test_the_chains_noise_is_standard_normal(opened):
    page = opened(interactive.schedule_exponent())
    draws = page.evaluate("Array.from({length: 20000}, DlOpt.normals(7))")
    assert stats.kstest(draws, "norm").pvalue > 1e-3


# --- the phase map

@pytest.mark.browser
@pytest.mark.parametrize("method", ["heavy ball", "nesterov"])
def test_the_phase_map_has_the_library_s_roots_regimes_and_ball(opened, method):
    page, settings = opened(interactive.phase_map(method=method)), [(a, mu) for a in (0.01, 0.3, 1.0, 1.9, 3.7, 4.2)
                                                                   for mu in (0.0, 0.2, 0.9)]
    got = page.evaluate("""([settings, nesterov]) => settings.map(([a, mu]) => { const m = DlOpt.lib.phaseMap;
        return [m.roots(a, mu, nesterov), m.regime(a, mu, nesterov), m.run(a, mu, nesterov, 30)]; })""",
                        [settings, method == "nesterov"])
    rule = rules.nesterov if method == "nesterov" else rules.momentum
    for (a, mu), (pair, word, path) in zip(settings, got):
        want = heavy_ball.roots(1.0, lr=a, mu=mu, method=method)
        found = np.array([complex(*root) for root in pair])
        assert np.sort_complex(found) == pytest.approx(np.sort_complex(want), abs=1e-12)
        assert word == heavy_ball.regime(1.0, lr=a, mu=mu, method=method)
        start = torch.ones(1, dtype=torch.float64)
        run = objectives.trajectory(objectives.quadratic([1.0]), rule, start, 30, lr=a, mu=mu).positions[:, 0]
        assert (torch.tensor(path, dtype=torch.float64) - run).abs().max() < 1e-9 * run.abs().max()


@pytest.mark.browser
def test_the_phase_map_says_what_the_ball_does_and_moves_by_the_keys(opened):
    page = opened(interactive.phase_map(0.1, 0.5))
    assert "swings through the bottom" in page.inner_text(".dlopt-readout")
    grip(page).focus()
    for _ in range(4):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    settle(page)
    assert state(page)["point"][1] == 0 and "creeps to the bottom" in page.inner_text(".dlopt-readout")


def test_the_phase_map_refuses_a_momentum_of_one():
    with pytest.raises(ValueError, match=r"mu must be in \[0, 0.999\], got 1"):
        interactive.phase_map(mu=1.0)


# --- the optimizer race

RACES = [("sgd", 0.3, {}), ("momentum", 0.05, {"mu": 0.9}), ("nesterov", 0.05, {"mu": 0.8}), ("adagrad", 0.5, {}),
         ("rmsprop", 0.05, {"rho": 0.99}), ("adadelta", 1.0, {"rho": 0.95}), ("adadelta_printed", 1.0, {"rho": 0.95}),
         *((name, 0.1, {"beta1": 0.9, "beta2": beta2}) for beta2 in (0.9, 0.999)
           for name in ("adam", "adam_uncorrected", "amsgrad", "nadam", "radam")),
         ("lion", 0.03, {"beta1": 0.9, "beta2": 0.99})]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["quadratic", "saddle", "himmelblau"])
def test_every_rule_of_the_race_in_javascript_takes_the_steps_of_the_library(opened, name):
    page, start = opened(interactive.optimizer_race()), [1.3, -0.7]
    for rule, lr, hyper in RACES:
        lr = lr / 100 if name == "himmelblau" and rule in ("sgd", "momentum", "nesterov") else lr
        b, r = hyper.get("mu", hyper.get("beta1", 0.0)), hyper.get("rho", hyper.get("beta2", 0.0))
        got = page.evaluate("([s, lane]) => DlOpt.lib.optimizerRace.run(s, lane, 30)",
                            [{"surface": name, "kappa": 10.0, "angle": 30.0, "start": start},
                             {"rule": rule, "lr": lr, "b": b, "r": r}])
        want = objectives.trajectory(surface(name), getattr(rules, rule), torch.tensor(start, dtype=torch.float64), 30,
                                     lr=lr, **hyper)
        points = torch.tensor(got["points"], dtype=torch.float64)
        apart = (points - want.positions).norm(dim=1) / want.positions.norm(dim=1).clamp(min=1e-3)
        assert apart.max() < 1e-9, rule  # later, near the minimum, rounding decides the sign of a long step
    assert {rule for rule, _, _ in RACES} == set(page.evaluate("Object.keys(DlOpt.lib.optimizerRace.RULES)"))
    assert {rule for rule, _, _ in RACES} == set(interactive.gallery.RACERS)


@pytest.mark.browser
def test_a_lane_s_new_rule_brings_its_own_numbers_and_the_others_keep_theirs(opened):
    page = opened(interactive.optimizer_race(surface="saddle"))
    before = state(page)
    page.get_by_role("combobox", name="1: rule").select_option("rmsprop")
    after = state(page)
    assert (after["rule1"], after["lr1"], after["r1"]) == ("rmsprop", 0.05, 100)
    assert {k: v for k, v in after.items() if k[-1] != "1"} == {k: v for k, v in before.items() if k[-1] != "1"}
    page.get_by_role("combobox", name="Surface").select_option("rosenbrock")
    assert state(page)["start"] == [-1.2, 1] and state(page)["lr2"] == 0.5
    assert "1, RMSProp: " in page.inner_text(".dlopt-readout") and "is ahead" in page.inner_text(".dlopt-readout")


@pytest.mark.parametrize("arguments, message", [
    ({"rules": ("adam", "sgd")}, "rules must name three rules, got 2"),
    ({"rules": ("adam", "sgd", "muon")}, "each of rules must be"),
    ({"angle": 100}, r"angle must be in \[0, 90\], got 100"),
])
def test_the_race_refuses_what_its_controls_cannot_show(arguments, message):
    with pytest.raises(ValueError, match=message):
        interactive.optimizer_race(**arguments)


# --- the noise scale

@pytest.mark.browser
@pytest.mark.parametrize("lr, batch, momentum", [(0.05, 10, 0.0), (0.4, 80, 0.0), (0.02, 64, 0.9), (1.5, 900, 0.5)])
def test_noise_scale_ball_and_expected_square_are_the_library_s(opened, lr, batch, momentum):
    page, variance = opened(interactive.noise_scale()), expected_error(1.0, batch, 1000)
    got = page.evaluate("""([lr, B, m]) => { const n = DlOpt.lib.noiseScale, s = n.variance(B);
        const ball = n.noiseBall(lr, 0.2, s, m);
        return [s, n.updateNoise(lr, B, m), ball, n.expectedSquare(lr, 0.2, s, m, 2.5, 3000)]; }""",
                        [lr, batch, momentum])
    ball = noise_ball(lr, curvature=0.2, noise=variance**0.5, momentum=momentum)
    assert got[:3] == pytest.approx([variance, update_noise(lr, batch, 1000, momentum), ball], rel=1e-12)
    assert got[3][-1] == pytest.approx(ball, rel=1e-6)
    if momentum == 0:
        want = expected_square(lambda t: lr, steps=3000, curvature=0.2, noise=variance**0.5, start=2.5)
        assert got[3][1:] == pytest.approx(want.tolist(), rel=1e-9)
    else:  # without noise the moments are the squares of the rule's own path
        path = page.evaluate("([lr, m]) => DlOpt.lib.noiseScale.expectedSquare(lr, 0.2, 0, m, 2.5, 40)", [lr, momentum])
        start = torch.full((1,), 2.5, dtype=torch.float64)
        run = objectives.trajectory(objectives.quadratic([0.2]), rules.momentum, start, 40, lr=lr, mu=momentum)
        assert path == pytest.approx((run.positions[:, 0] ** 2).tolist(), rel=1e-9, abs=1e-12)


@pytest.mark.browser
def test_a_rate_beyond_the_edge_is_said_to_diverge_and_a_run_can_be_kept(opened):
    page = opened(interactive.noise_scale(2.5, 100))
    assert "it diverges" in page.inner_text(".dlopt-readout")
    page.evaluate("document.querySelector('.dlopt-figure').dlopt.set('lr', 0.1)")
    settle(page)
    assert "g = 0.9 (small-batch limit 1)" in page.inner_text(".dlopt-readout")
    lines = "document.querySelectorAll('.dlopt-panel')[1].querySelectorAll('path[stroke]').length"
    before = page.evaluate(lines)
    page.get_by_role("button", name="Keep for comparison").click()
    settle(page)
    assert page.evaluate(lines) == before + 1


def test_the_noise_scale_figure_refuses_a_batch_of_one():
    with pytest.raises(ValueError, match=r"batch must be in \[2, 1000\], got 1"):
        interactive.noise_scale(batch=1)
