"""The report measures what a reader downloads and waits for, and a missed target is said."""

import contextlib
import gzip

import pytest
from dlopt_book import browser, report

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width"></head>
<body><main><h1>A page</h1><article>{}</article></main></body></html>"""


def site(folder, body):
    (folder / "_images").mkdir()
    (folder / "_images" / "a.png").write_bytes(bytes(range(256)) * 40)
    (folder / "page.html").write_text(PAGE.format(body))
    return folder


def test_text_counts_compressed_and_figures_as_they_are(tmp_path):
    folder = site(tmp_path, "word " * 10_000)
    asked = ["http://x/page.html", "http://x/page.html?q=1", "http://x/_images/a.png", "http://x/gone.css"]
    text, figures, requests = report.weigh(folder, asked)
    assert text == len(gzip.compress((folder / "page.html").read_bytes(), 6)) / 1000 < 1
    assert figures == 10.24 and requests == 2


@pytest.mark.browser
def test_a_page_is_measured_with_its_longest_task(chromium, tmp_path):
    busy = "<script>const end = performance.now() + 120; while (performance.now() < end);</script>"
    folder = site(tmp_path, f'{busy}<img src="_images/a.png" alt="Noise, not a picture.">')
    with browser.served(folder) as base:
        row = report.measure(chromium, folder, base, "page.html")
    assert row.task >= 100 and row.requests == 2 and row.figures == 10.24
    assert any(sentence.startswith("image that does not load") for sentence in row.problems)


def test_every_missed_target_is_said():
    scores = {"performance": 0.5, "seo": 1.0, "desktop": 0.97}
    row = report.Row("a.html", text=351, boxes=report.BOXES + 1, problems=["axe: label"],
                     task=report.LONG_TASK_MS + 1, scores=scores)
    assert row.misses() == ["axe: label", "weighs 351 kB without figures, target 350",
                            f"{report.BOXES + 1} boxes are laid out when it opens, target {report.BOXES}",
                            f"a task of {report.LONG_TASK_MS + 1} ms on a phone, target {report.LONG_TASK_MS}",
                            "Lighthouse performance 0.50, target 0.9", "Lighthouse desktop 0.97, target 0.98"]
    assert report.Row("b.html", text=100, scores={"seo": 1.0}).misses() == []


@pytest.mark.browser
def test_the_table_has_a_line_for_each_page_and_says_what_was_not_run(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "browser", lambda: contextlib.nullcontext(chromium))
    monkeypatch.setattr(report, "lighthouse", lambda: None)
    monkeypatch.setattr(report.firefox, "firefox", lambda: None)
    said = []
    report.report(site(tmp_path, "<p>All is well.</p>"), say=said.append)
    assert said[1].startswith("page.html") and any(line.startswith("Lighthouse: not run") for line in said)
    assert any(line.startswith("Firefox: not run") for line in said) and not any("MISSED" in line for line in said)
