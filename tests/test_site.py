"""What a reader's browser finds on every page of the site; and each check fails on a planted fault."""

import re

import pytest
from dlopt_book.browser import PHONE, check, opened, pages, served

pytestmark = pytest.mark.browser
WAYS = {"http, light": {}, "http, dark": {"dark": True}, "phone": {"size": PHONE},
        "file": {"accessibility": False}, "file, dark": {"accessibility": False, "dark": True}}


def looked(chromium, folder, way):
    """Every page's problems under one set of circumstances, without the pages that have none."""
    with served(folder) as base:
        where = folder.as_uri() if way.startswith("file") else base
        every = {name: check(chromium, f"{where}/{name}", **WAYS[way]) for name in pages(folder)}
    return {name: problems for name, problems in every.items() if problems}


@pytest.mark.parametrize("way", WAYS)
def test_no_page_asks_others_complains_or_shuts_anyone_out(chromium, site, way):
    assert looked(chromium, site, way) == {}


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_term_in_the_chapter_about_it(chromium, site, scheme):
    with served(site) as base:
        where = base if scheme == "http" else site.as_uri()
        with opened(chromium, f"{where}/search.html?q=gradient") as (page, heard):
            page.wait_for_selector("#search-results li a", timeout=10_000)
            titles = page.locator("#search-results li a").all_inner_texts()
    assert any("radient" in title for title in titles)
    assert heard == []


def test_every_page_has_a_description_of_its_own(site):
    content = {name: (site / name).read_text(encoding="utf-8") for name in pages(site) if name.startswith("chapters/")}
    tags = {name: re.findall(r'<meta [^>]*\bname="description"[^>]*>', text) for name, text in content.items()}
    found = {name: [re.search(r'content="([^"]+)"', tag)[1] for tag in every] for name, every in tags.items()}
    assert {name: len(texts) for name, texts in found.items()} == dict.fromkeys(found, 1)
    assert len({texts[0] for texts in found.values()}) == len(found)
    assert all(20 <= len(texts[0]) <= 200 for texts in found.values())


def test_no_page_names_another_host_for_a_script_style_or_font(site):
    asked = {name: re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"',
                              (site / name).read_text(encoding="utf-8")) for name in pages(site)}
    assert {name: addresses for name, addresses in asked.items() if addresses} == {}


def test_thebe_is_not_loaded(site):
    assert [name for name in pages(site) if re.search(r"<script[^>]*thebe\.js", (site / name).read_text())] == []


def test_a_missing_page_leads_home(chromium, site):
    with served(site) as base, opened(chromium, f"{base}/404.html") as (page, _):
        page.evaluate("history.replaceState(null, '', '/chapters/nowhere.html')")
        page.evaluate("for (const s of document.scripts) eval(s.textContent)")
        assert page.locator("#home").get_attribute("href") == "/index.html"


# ---------------------------------------------------------------- the checks can fail

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head>
<body><main><h1>A page</h1><article>{}</article></main></body></html>"""
PLANTED = {
    "request to another host": '<img src="http://192.0.2.1/pixel.png" alt="A pixel of another host">',
    "console error": "<script>console.error('no')</script>",
    "script error": "<script>throw Error('no')</script>",
    "404": '<script src="missing.js"></script>',
    "axe: label": "<input>",
    "axe: color-contrast": '<p style="color: #ccc; background: #fff">Hard to read.</p>',
    "axe: region": "</article></main><p>Outside of every landmark.</p><main><article>",
    "mathematics not typeset": '<div class="math">\\(x\\)</div>',
    "mathematics with an error": '<mjx-merror data-mjx-error="no such command">x</mjx-merror>',
    "image without alt text": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "image that does not load": '<img src="data:image/png;base64,AAAA" alt="A picture that is broken">',
    "figure without caption": "<figure><p>A figure.</p></figure>",
    "scrolls sideways": '<div style="width: 2000px">Wide.</div>',
}


def planted(folder, body):
    (folder / "page.html").write_text(PAGE.format(body))
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_a_sound_page_has_no_problems(chromium, tmp_path, way):
    assert looked(chromium, planted(tmp_path, "<p>All is well.</p>"), way) == {}


@pytest.mark.parametrize("problem", PLANTED)
def test_the_planted_problem_is_found(chromium, tmp_path, problem):
    problems = looked(chromium, planted(tmp_path, PLANTED[problem]), "phone")
    assert any(sentence.startswith(problem) for sentence in problems.get("page.html", [])), problems


def test_contrast_is_judged_in_the_mode_of_the_reader(chromium, tmp_path):
    style = "<style>@media (prefers-color-scheme: dark) { body { background: #222; color: #444 } }</style>"
    folder = planted(tmp_path, f"{style}<p>Legible by day.</p>")
    assert looked(chromium, folder, "http, light") == {}
    assert any("color-contrast" in s for s in looked(chromium, folder, "http, dark")["page.html"])


def test_what_is_folded_away_is_judged_too(chromium, tmp_path):
    folded = '<details><summary>More</summary><p style="color: #ccc; background: #fff">Hard to read.</p></details>'
    problems = looked(chromium, planted(tmp_path, folded), "http, light")
    assert any("color-contrast" in sentence for sentence in problems["page.html"])
