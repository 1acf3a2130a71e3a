"""The Gantt chart: its traces are the simulator's, and its words are right."""

import random

import numpy as np
import pytest
from dlopt import interactive
from dlopt.distributed.simulate import asynchronous, synchronous
from test_interactive import PAGE


class Recorded:
    """A law that hands out a list of times."""

    def __init__(self, times):
        self.times = iter(times)

    def sample(self, rng, size):
        return np.array([next(self.times) for _ in range(size)])


@pytest.fixture
def page(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE % interactive.workers()._repr_html_(), encoding="utf-8")
    page = chromium.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelector('.dlopt-figure').dlopt")
    yield page
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("M, b", [(1, 0), (5, 0), (6, 2)])
def test_the_figure_s_traces_are_the_simulator_s(page, M, b):
    draw = random.Random(M)
    times = [1 + draw.random() + 8 * (draw.random() < 0.2) for _ in range(2000)]
    run = "([f, t, args]) => { let i = 0; return DlOpt.lib.workers[f](() => t[i++], ...args); }"
    for name, trace, options in (("synchronous", synchronous(Recorded(times), M, until=40, seed=0, backups=b), [M, b]),
                                 ("asynchronous", asynchronous(Recorded(times), M, until=40, seed=0), [M])):
        found = page.evaluate(run, [name, times, [*options, 40]])
        assert found["times"] == pytest.approx(trace.times.tolist(), abs=1e-9)
        assert found["staleness"] == trace.staleness.flatten().tolist()
        want = sorted((m, start, end, fate == "used") for m, start, end, fate in trace.spans)
        np.testing.assert_allclose(np.array(sorted(found["spans"]), float), np.array(want, float), atol=1e-9)


@pytest.mark.browser
def test_the_readout_counts_updates_and_staleness(page):
    assert "rounds of 6 gradients" in page.inner_text(".dlopt-readout")
    page.select_option("select", "async")
    page.wait_for_function("document.querySelector('.dlopt-readout').textContent.includes('every gradient an update')")
    assert "0 dropped as too late" in page.inner_text(".dlopt-readout")


@pytest.mark.parametrize("arguments, message", [
    ({"mode": "half"}, "mode must be one of sync, async"), ({"workers": 17}, r"workers must be in \[1, 16\], got 17"),
    ({"workers": 3, "backups": 3}, r"backups must be in \[0, 2\], got 3"), ({"chance": 0.6}, "chance must be in"),
])
def test_settings_that_the_controls_cannot_show_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        interactive.workers(**arguments)
