"""The ledger page is what the runs say: every item, every claim, and a warning when two cells claim the same."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import minibook
import nbformat
import pytest
from conftest import program
from dlopt.claims import ITEMS, MIME, VERDICTS
from dlopt_book import cache, execution, ledger, site
from dlopt_book.book import Book
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import sync_playwright

TOC = """
format: jb-book
root: chapters/index
parts: [{caption: All, chapters: [{file: chapters/one}, {file: chapters/two}, {file: chapters/ledger}]}]
"""
PAGE = """# Ledger

The claims of this small book, for a test.

```{ledger-summary}
```

## Objectives and losses

```{ledger} Objectives and losses
```
"""
CLAIM = "claim('S1', 'holds with limits', supported=True, effect=0.25, interval=(0.2, 0.3), n=5, note='Small.'%s)"


def recorded(item="S1", part=None, verdict="holds"):
    """A notebook whose only cell recorded a claim."""
    data = {"item": item, "part": part, "verdict": verdict, "effect": 1.0, "interval": [0.5, 1.5], "n": 5, "unit": "",
            "note": "", "seed": 0, "scale": "quick"}
    output = new_output("execute_result", data={MIME: data, "text/plain": "a claim"})
    return new_notebook(cells=[new_markdown_cell("# T"), new_code_cell("1"), new_code_cell("2", outputs=[output])])


# --- data

def test_claims_are_read_from_every_output_of_every_notebook():
    found = ledger.entries([("chapters/a", recorded("S1")), ("chapters/b", recorded("E3", "wide nets"))])
    assert [(e.document, e.anchor, e.claim["item"]) for e in found] == [
        ("chapters/a", "claim-s1", "S1"), ("chapters/b", "claim-e3-wide-nets", "E3")]


def test_the_same_item_and_part_in_two_notebooks_is_a_duplicate_and_another_part_is_not():
    notebooks = [("a", recorded("S1")), ("b", recorded("S1", "x")), ("c", recorded("S1", "x"))]
    ((first, again),) = ledger.duplicates(ledger.entries(notebooks))
    assert (first.document, again.document) == ("b", "c")


def test_the_data_lists_all_items_and_counts_claims_by_verdict():
    found = ledger.entries([("a", recorded("S1", verdict="false")), ("b", recorded("S1", "x")), ("c", recorded("E2"))])
    data = ledger.as_json(found)
    assert [item["id"] for item in data["items"]] == list(ITEMS)
    assert (data["run"], data["open"], data["claims"]) == (2, 121, 3)
    assert data["verdicts"] == dict.fromkeys(VERDICTS, 0) | {"holds": 2, "false": 1}
    assert [c["document"] for c in data["items"][0]["claims"]] == ["a", "b"]


def test_the_books_ledger_page_has_a_table_for_every_topic_once_under_its_heading():
    text = (minibook.ROOT / "chapters" / "ledger.md").read_text(encoding="utf-8")
    topics = list(dict.fromkeys(item.topic for item in ITEMS.values()))
    assert sorted(re.findall(r"^```\{ledger\} (.+)$", text, re.MULTILINE)) == sorted(topics)
    assert re.findall(r"^## (.+)\n\n```\{ledger\} \1$", text, re.MULTILINE) == \
        re.findall(r"^```\{ledger\} (.+)$", text, re.MULTILINE)


# --- the page

def make(root, monkeypatch, parts=(", part='again'",)):
    """A mini book with a claim in its first chapter and, for each of ``parts``, one in the second."""
    minibook.make(root)
    (root / "_toc.yml").write_text(TOC)
    (root / "chapters" / "ledger.md").write_text(PAGE)
    for name, arguments in (("one", ("",)), ("two", parts)):
        path = root / "chapters" / f"{name}.ipynb"
        notebook = cache.read(path)
        notebook.cells.insert(1, new_code_cell("from dlopt.claims import claim", id="cell-import"))
        notebook.cells += [new_markdown_cell("See {item}`S1` and {item}`E27`.", id="cell-see")] if name == "two" else []
        notebook.cells += [new_code_cell(CLAIM % a, id=f"cell-claim-{i}") for i, a in enumerate(arguments)]
        nbformat.write(notebook, path)
    monkeypatch.setenv("PYTHONPATH", str(root / "lib"))
    monkeypatch.delenv("DLOPT_SEED", raising=False)
    monkeypatch.delenv("DLOPT_SCALE", raising=False)
    return Book(root)


def plain_build(book):
    """`jupyter-book build .` on an empty cache, strictly."""
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", ".", "-W", "--keep-going", "-n"]
    return subprocess.run(command, cwd=book.root, capture_output=True, text=True, env=execution.environment())


@pytest.mark.slow
def test_the_page_shows_verdicts_with_links_to_their_cells_and_lists_the_rest_as_open(tmp_path, monkeypatch):
    book = make(tmp_path, monkeypatch)
    done = plain_build(book)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (book.site / "chapters" / "ledger.html").read_text(encoding="utf-8")
    rows = dict(re.findall(r'<tr[^>]*id="([se]\d+)"[^>]*>(.*?)</tr>', text, re.DOTALL))
    assert set(rows) == {i.id.lower() for i in ITEMS.values() if i.topic == "Objectives and losses"}
    assert html.unescape(rows["s1"]).replace("\N{NO-BREAK SPACE}", " ").count(": 0.25 [0.20, 0.30], n = 5") == 2
    assert 'href="one.html#claim-s1"' in rows["s1"] and 'href="two.html#claim-s1-again"' in rows["s1"]
    assert "<strong>holds with limits</strong>, again: 0.25" in rows["s1"] and "◐" in rows["s1"]
    assert "Small." in rows["s1"] and "(A, B)" in rows["s1"]
    assert "<strong>open</strong> (losses, to come)" in rows["e27"]
    assert "<strong>Instead: </strong>It is a squared norm" in rows["e27"]
    assert "1 of 123 items have been run, 122 are open. 2 claims: 0 × holds, 2 × holds with limits" in text
    chapters = {name: (book.site / "chapters" / f"{name}.html").read_text() for name in ("one", "two")}
    assert 'id="claim-s1"' in chapters["one"] and 'id="claim-s1-again"' in chapters["two"]
    assert 'href="ledger.html#s1"' in chapters["two"] and 'href="ledger.html#e27"' in chapters["two"]
    data = json.loads((book.site / "chapters" / "ledger.json").read_text(encoding="utf-8"))
    assert data["verdicts"]["holds with limits"] == 2 and data["items"][0]["claims"][0]["document"] == "chapters/one"

    # a claim that changes changes the page, though nobody touched the page
    path = book.root / "chapters" / "two.ipynb"
    path.write_text(path.read_text().replace("0.25", "0.28"))
    assert plain_build(book).returncode == 0
    assert "0.28 [0.20, 0.30]" in (book.site / "chapters" / "ledger.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_duplicate_across_chapters_fails_the_strict_build_and_names_both(tmp_path, monkeypatch):
    book = make(tmp_path, monkeypatch, parts=("",))
    said = []
    assert not site.make(book, said.append)
    assert "S1 is claimed twice, in chapters/one and in chapters/two" in "\n".join(said)


@pytest.mark.slow
@pytest.mark.parametrize("line, message", [("{item}`S99`", "item must be S1 to S79 or E1 to E44, got 'S99'"),
                                           ("```{ledger} Weather\n```", "topic must be one of Objectives and losses")])
def test_an_unknown_item_or_topic_fails_the_strict_build(tmp_path, monkeypatch, line, message):
    book = make(tmp_path, monkeypatch)
    (book.root / "_toc.yml").write_text("format: jb-book\nroot: chapters/index\nchapters: [{file: chapters/ledger}]\n")
    (book.root / "chapters" / "ledger.md").write_text(f"{PAGE}\n{line}\n")
    done = plain_build(book)
    assert done.returncode != 0 and message in done.stdout + done.stderr


@pytest.mark.parametrize("note, shown", [("a line through 50 points", "A line through 50 points."),
                                         ("κ = 10,000: slow.", "κ = 10,000: slow."), ("c/ln t falls", "c/ln t falls.")])
def test_a_note_is_shown_as_a_sentence(note, shown):
    assert ledger._sentence(note) == shown


# --- the filter

ROWS = "".join(
    f'<section id="{topic.lower()}"><h2>{topic}</h2><table class="dlopt-ledger"><tbody><tr id="{item}">'
    f'<td>{item.upper()}</td><td>{said}</td><td><p class="dlopt-verdict"><strong>{verdict}</strong>: 0.1</p></td></tr>'
    "</tbody></table></section>" for topic, item, said, verdict in [
        ("Losses", "s1", "Mean squared error.", "holds"), ("Momentum", "s24", "Momentum sums.", "false"),
        ("Adaptive", "e24", "Adam has momentum.", "open")])


@pytest.mark.browser
def test_the_filter_finds_words_items_and_verdicts_and_hides_empty_topics(tmp_path):
    path = tmp_path / "page.html"
    form = ledger.FILTER.read_text(encoding="utf-8")
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{form}{ROWS}</body>", encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("browser"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(path.as_uri())

        def shown():
            return page.evaluate("[...document.querySelectorAll('tr')].filter(r => r.offsetParent).map(r => r.id)")

        assert shown() == ["s1", "s24", "e24"]
        page.get_by_label("Filter", exact=True).fill("MOMENTUM")
        assert shown() == ["s24", "e24"] and page.locator("h2:visible").all_inner_texts() == ["Momentum", "Adaptive"]
        assert page.get_by_role("status").inner_text() == "2 of 3 items"
        page.get_by_label("Verdict").select_option("open")
        assert shown() == ["e24"]
        page.get_by_label("Filter", exact=True).fill("s24")  # an item's id matches that item only
        assert shown() == []
        page.get_by_label("Verdict").select_option("any")
        assert shown() == ["s24"]
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function("document.querySelectorAll('tr[hidden]').length === 0")
        page.get_by_label("Items").select_option("E, errata")
        assert shown() == ["e24"] and page.get_by_role("status").inner_text() == "1 of 3 items"
        browser.close()


@pytest.mark.browser
def test_the_ledger_counts_items_by_verdict_and_topic_and_a_link_to_a_hidden_row_shows_it(tmp_path):
    path = tmp_path / "page.html"
    form = ledger.FILTER.read_text(encoding="utf-8")
    narrow = "<style>.dlopt-ledger, .dlopt-ledger :is(tbody, tr, td){display:block}</style>"  # as on a phone
    path.write_text(f"<!doctype html><meta charset=utf-8>{narrow}<body>{form}{ROWS}</body>", encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("browser"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(path.as_uri())
        assert page.get_by_label("Verdict").locator("option").all_inner_texts() == [
            "any", "holds (1)", "holds with limits (0)", "does not show at this scale (0)", "false (1)", "open (1)"]
        topics = page.get_by_role("navigation", name="Topics of the ledger").get_by_role("link")
        assert topics.all_inner_texts() == ["Losses (1)", "Momentum (1)", "Adaptive (1)"]
        page.get_by_label("Filter", exact=True).fill("adaptive")  # a word of the topic's heading finds its items
        assert [t for t in topics.all_inner_texts() if t] == ["Adaptive (1)"]
        assert page.locator("tr:visible").count() == 1
        page.evaluate("location.hash = 's1'")
        page.wait_for_function("document.getElementById('s1').offsetParent !== null")
        assert page.get_by_label("Filter", exact=True).input_value() == ""
        browser.close()
