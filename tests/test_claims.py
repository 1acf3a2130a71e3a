"""Claims: what is recorded is what the run supports, and nothing can be recorded twice or without numbers."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from dlopt import claims
from dlopt.claims import ITEMS, MIME, VERDICTS, claim, format_interval, format_number
from dlopt.statistics import mean_interval
from jupyter_client.manager import start_new_kernel

GOOD = {"supported": True, "effect": 0.25, "interval": (0.2, 0.3), "n": 5}


@pytest.fixture(autouse=True)
def fresh():
    claims.forget()
    yield
    claims.forget()


# --- the registry

def test_the_registry_holds_79_items_and_44_errata_in_order():
    assert list(ITEMS) == [f"S{i}" for i in range(1, 80)] + [f"E{i}" for i in range(1, 45)]


def test_every_item_has_sources_a_chapter_and_a_sentence_and_errata_say_what_is_right():
    for item in ITEMS.values():
        assert item.sources and set(item.sources) <= set(claims.SOURCES) and list(item.sources) == sorted(item.sources)
        assert re.fullmatch(r"[a-z_]+", item.chapter) and item.topic
        assert item.statement.endswith(".") and len(item.statement) > 20
        assert bool(item.correction) == item.id.startswith("E")


# --- recording

def test_a_claim_is_recorded_with_its_numbers_and_the_settings_of_the_run(monkeypatch):
    monkeypatch.setenv("DLOPT_SEED", "3")
    made = claim("S37", "false", unit="points", note="Small nets only.", part="digits", **GOOD)
    assert claims.recorded() == [made] and made.interval == (0.2, 0.3)
    assert made.to_json() == {"item": "S37", "part": "digits", "verdict": "false", "effect": 0.25,
                              "interval": [0.2, 0.3], "n": 5, "unit": "points", "note": "Small nets only.", "seed": 3,
                              "scale": "quick"}


def test_numbers_may_be_tensors_arrays_or_an_interval_object():
    interval = mean_interval(np.array([0.1, 0.2, 0.3]))
    made = claim("S9", "holds", supported=torch.tensor(True), effect=torch.tensor(0.2), interval=interval,
                 n=np.int64(3))
    assert made.interval == interval.bounds and type(made.effect) is float and type(made.n) is int
    json.dumps(made.to_json())


def test_an_unsupported_verdict_fails_with_the_numbers_and_records_nothing():
    with pytest.raises(AssertionError, match=r"S37 \(digits\).*'holds'.*0.25 \[0.20, 0.30\] nats, n = 5"):
        claim("S37", "holds", part="digits", unit="nats", **GOOD | {"supported": np.bool_(False)})
    assert claims.recorded() == []


@pytest.mark.parametrize("change, error, message", [
    ({"item": "S80"}, KeyError, "item must be S1 to S79 or E1 to E44, got 'S80'"),
    ({"item": "s1"}, KeyError, "got 's1'"),
    ({"verdict": "true"}, ValueError, "verdict must be one of holds, .*; got 'true'"),
    ({"interval": (0.3, 0.2)}, ValueError, r"low <= high, got \(0.3, 0.2\)"),
    ({"interval": (0.26, 0.3)}, ValueError, r"must contain the effect, got 0.25 outside \[0.26, 0.3\]"),
    ({"interval": (0.2, math.inf)}, ValueError, r"interval must be finite, got \(0.2, inf\)"),
    ({"interval": (math.nan, 0.3)}, ValueError, "interval must be finite"),
    ({"interval": 0.2}, ValueError, r"interval must be \(low, high\)"),
    ({"interval": (0.1, 0.2, 0.3)}, ValueError, r"interval must be \(low, high\)"),
    ({"effect": math.nan}, ValueError, "effect must be a finite number"),
    ({"n": 0}, ValueError, "n must be a whole number >= 1, got 0"),
    ({"n": 2.5}, ValueError, "n must be a whole number >= 1, got 2.5"),
    ({"part": " "}, ValueError, "part must be None or a short label"),
    ({"supported": 1}, TypeError, "supported must be a single True or False"),
    ({"supported": np.array([True, True])}, TypeError, "supported must be a single True or False"),
    ({"supported": None}, TypeError, "supported must be a single True or False"),
])
def test_what_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        claim(**{"item": "S1", "verdict": "holds", **GOOD, **change})
    assert claims.recorded() == []


def test_the_same_item_twice_is_refused_and_the_first_record_stays():
    first = claim("S1", "holds", **GOOD)
    with pytest.raises(ValueError, match="S1 is already recorded by another cell; give part="):
        claim("S1", "false", **GOOD)
    assert claims.recorded() == [first]


def test_two_parts_of_one_item_are_two_claims():
    for part in ("digits", "diabetes", None):
        claim("S1", "holds", part=part, **GOOD)
    assert len(claims.recorded()) == 3


def test_an_effect_on_the_edge_of_its_interval_up_to_rounding_is_inside():
    made = claim("S1", "holds", **GOOD | {"effect": 0.1 + 0.2, "interval": (0.3, 0.3)})
    assert claims.recorded() == [made]


# --- which cell recorded it, in a real kernel

@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, cell=None):
    """Run ``code`` as the cell with the id that JupyterLab would send; return the error's text or None."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = client.session.msg("execute_request", content, metadata={"cellId": cell} if cell else {})
    client.shell_channel.send(message)
    reply = client._recv_reply(message["header"]["msg_id"], timeout=60)["content"]
    return None if reply["status"] == "ok" else f"{reply['ename']}: {reply['evalue']}"


CODE = "claim('S1', 'holds', supported=True, effect={}, interval=(0, 1), n=5)"


@pytest.mark.parametrize("cells", [("a", "a", "b"), (None, None, None)])
def test_running_a_cell_again_is_allowed_and_another_cell_is_not(kernel, cells):
    assert run(kernel, "from dlopt.claims import claim, forget; forget()") is None
    first, again, other = cells
    assert run(kernel, CODE.format(0.5), first) is None
    assert run(kernel, CODE.format(0.5), again) is None
    assert "S1 is already recorded by another cell" in run(kernel, CODE.format(0.7), other)


def test_a_cell_that_was_edited_in_jupyterlab_may_run_again(kernel):
    assert run(kernel, "from dlopt.claims import claim, forget; forget()") is None
    assert run(kernel, CODE.format(0.5), "a") is None
    assert run(kernel, CODE.format(0.6) + "  # edited", "a") is None


# --- how it looks

class Tags(HTMLParser):
    """Collects the text, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_box_says_in_words_what_the_claim_says(verdict):
    made = claim("E11", verdict, unit="points", note="a <b> &amp; c", **GOOD)
    bundle = made._repr_mimebundle_()
    shown = Tags(bundle["text/html"]).text
    for text in (shown, bundle["text/plain"]):
        assert f"E11: {verdict}" in text and "0.25 [0.20, 0.30] points, n = 5" in text and "a <b> &amp; c" in text
    assert ITEMS["E11"].correction in shown and "sources A, B" in shown
    assert bundle[MIME] == made.to_json()


@pytest.mark.parametrize("numbers, text", [
    ((0.12345, 0.1122, 0.1347), "0.123 [0.112, 0.135]"), ((-2.0, -3.0, -1.0), "−2.0 [−3.0, −1.0]"),
    ((1234.5, 1200.0, 1300.0), "1234 [1200, 1300]"), ((1e-9, 5e-10, 2e-9), "1 × 10⁻⁹ [5 × 10⁻¹⁰, 2 × 10⁻⁹]"),
    ((0.5, 0.5, 0.5), "0.5"), ((0.0, -0.01, 0.01), "0.000 [−0.010, 0.010]"),
])
def test_an_interval_is_rounded_so_that_its_width_keeps_two_digits(numbers, text):
    assert format_interval(*numbers) == text


@pytest.mark.parametrize("number, text", [
    (11012.3, "11,010"), (-11012.3, "−11,010"), (9999.0, "9999"), (1.2e9, "1.2 × 10⁹"), (9.6361e-16, "9.636 × 10⁻¹⁶"),
    (-2.5, "−2.5"), (0.0, "0"), (float("inf"), "inf"), (float("nan"), "nan"),
])
def test_a_number_is_written_as_in_print(number, text):
    assert format_number(number) == text


def test_anchors_are_distinct_for_parts_and_safe_in_addresses():
    assert claims.anchor("S37") == "claim-s37" and claims.anchor("S37", "Wide nets, 2x") == "claim-s37-wide-nets-2x"
