"""The Pareto explorer: its front is the library's, and it says what a setting costs and what beats it."""

import numpy as np
import pytest
from dlopt import interactive
from dlopt.compression import pareto
from test_interactive import browser, opened, settle  # noqa: F401


def runs(seed=0):
    rng = np.random.default_rng(seed)
    return [{"sparsity": s, "bits": b, "rank": r, "bytes": float(rng.integers(100, 9000)),
             "accuracy": round(float(rng.random()), 3)} for s in (0.0, 0.9) for b in (32, 4, 2) for r in (0, 20)]


@pytest.mark.browser
def test_the_front_is_that_of_the_library(opened):  # noqa: F811
    for seed in range(3):
        page, made = opened(interactive.pareto_explorer(runs(seed))), runs(seed)
        found = page.evaluate("runs => DlOpt.lib.paretoExplorer.front(runs)", made)
        want = np.flatnonzero(pareto([[run["bytes"], -run["accuracy"]] for run in made]))
        assert found == want.tolist()


@pytest.mark.browser
def test_choosing_a_setting_says_its_bytes_and_its_rival(opened):  # noqa: F811
    made = [{"sparsity": 0.0, "bits": 32, "rank": 0, "bytes": 4000, "accuracy": 0.9},
            {"sparsity": 0.9, "bits": 32, "rank": 0, "bytes": 500, "accuracy": 0.92}]
    page = opened(interactive.pareto_explorer(made, raw=4000))
    said = lambda: page.inner_text(".dlopt-readout")  # noqa: E731
    assert said().startswith("0 % removed, 32 (as trained) bits, rank full: 4,000 bytes, 1 times less")
    assert "Beaten by 90 % removed" in said()
    page.get_by_role("combobox", name="Weights removed").select_option("0.9")
    settle(page)
    assert "500 bytes, 8 times less" in said() and "No other setting" in said()


@pytest.mark.parametrize("arguments, message", [({"runs": []}, "at least one setting"),
                                                ({"raw": 0}, "raw must be > 0")])
def test_impossible_runs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        interactive.pareto_explorer(**arguments)
