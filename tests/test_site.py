"""What a reader's browser finds on every page of the site; and each check fails on a planted fault."""

import re

import pytest
from conftest import SITE_TABLE
from dlopt_book import report
from dlopt_book.browser import check, opened, pages, served

pytestmark = pytest.mark.browser
WAYS = ("http", "file")
ALIKE = re.compile(r"chapters/api_")  # long pages of the markup of chapters/api: axe, which takes long, reads that one


def looked(chromium, folder, way, say=lambda line: None):
    """Every page's problems, from a server or from ``file://``, without the pages that have none."""
    found = {}
    with served(folder) as base:
        for name in pages(folder):
            if way == "file":
                found[name] = check(chromium, f"{folder.as_uri()}/{name}", accessibility=False)
            else:
                row = report.measure(chromium, folder, base, name, slow=False, accessibility=not ALIKE.match(name))
                found[name] = row.misses()
                say(report.line(row))
    return {name: problems for name, problems in found.items() if problems}


@pytest.mark.parametrize("way", WAYS)
def test_no_page_asks_others_complains_or_shuts_anyone_out(chromium, site, way, record_property):
    def say(line):
        record_property(SITE_TABLE, line)  # printed at the end of the run

    assert looked(chromium, site, way, say) == {}


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
    content = {name: (site / name).read_text(encoding="utf-8") for name in pages(site)}
    tags = {name: re.findall(r'<meta [^>]*\bname="description"[^>]*>', text) for name, text in content.items()}
    found = {name: [re.search(r'content="([^"]+)"', tag)[1] for tag in every] for name, every in tags.items()}
    assert {name: len(texts) for name, texts in found.items()} == dict.fromkeys(found, 1)
    assert len({texts[0] for texts in found.values()}) == len(found)
    assert all(20 <= len(texts[0]) <= 200 for texts in found.values())


def test_no_page_names_another_host_for_a_script_style_or_font(site):
    asked = {name: re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"',
                              (site / name).read_text(encoding="utf-8")) for name in pages(site)}
    assert {name: addresses for name, addresses in asked.items() if addresses} == {}


def test_no_page_shows_the_markup_of_a_table(site):
    row = re.compile(r"<p>\s*\|[^<]*\|\s*[-\u2013\u2014]")
    assert [name for name in pages(site) if row.search((site / name).read_text(encoding="utf-8"))] == []


def test_the_library_shows_values_that_fit_on_a_line_and_no_others(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "chapters").glob("api*.html"))
    assert 'id="dlopt.rules.contract.RULES"' in text and "function adadelta" not in text


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
    "image out of shape": '<img width="90" height="90" alt="A stripe." src="data:image/svg+xml,'
                          '%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 width=%2290%22 height=%2230%22/%3E">',
    "interactive figure that did not start": '<div class="dlopt-figure" id="f"><p>Needs JavaScript.</p></div>',
    "figure without caption": "<figure><p>A figure.</p></figure>",
    "scrolls sideways": '<div style="width: 2000px">Wide.</div>',
    "scrolls sideways: 800 px wide on a screen of 390": '<div style="width: 792px">Wide on a phone.</div>',
    "scrolls without a way by keyboard": '<pre style="overflow-x: auto; width: 20px">Wide.</pre>',
    "9": "<i>a</i><b>b</b>" * 2250,  # 9,000 boxes and a few
    "weighs": "<!-- " + "".join(map(chr, range(0x4E00, 0x9000))) * 12 + " -->",
}


def planted(folder, body):
    (folder / "page.html").write_text(PAGE.format(body))
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_a_sound_page_has_no_problems(chromium, tmp_path, way):
    assert looked(chromium, planted(tmp_path, "<p>All is well.</p>"), way) == {}


@pytest.mark.parametrize("problem", PLANTED)
def test_the_planted_problem_is_found(chromium, tmp_path, problem):
    problems = looked(chromium, planted(tmp_path, PLANTED[problem]), "http")
    assert any(sentence.startswith(problem) for sentence in problems.get("page.html", [])), problems


def test_contrast_is_judged_in_the_mode_of_the_reader(chromium, tmp_path):
    style = "<style>@media (prefers-color-scheme: dark) { body { background: #222; color: #444 } }</style>"
    problems = looked(chromium, planted(tmp_path, f"{style}<p>Legible by day.</p>"), "http")["page.html"]
    assert problems and all("color-contrast" in sentence and sentence.endswith("(dark)") for sentence in problems)


def test_what_is_folded_away_is_judged_too(chromium, tmp_path):
    folded = '<details><summary>More</summary><p style="color: #ccc; background: #fff">Hard to read.</p></details>'
    problems = looked(chromium, planted(tmp_path, folded), "http")
    assert any("color-contrast" in sentence for sentence in problems["page.html"])


# ---------------------------------------------------------------- finding one's way

@pytest.mark.parametrize("query, title", [("η", "Notation"), ("β₁", "Library"), ("RMSProp", "Library"),
                                          ("condition number", "Glossary")])
def test_search_finds_symbols_methods_and_terms(chromium, site, query, title):
    with served(site) as base, opened(chromium, f"{base}/search.html?q={query}") as (page, _):
        page.wait_for_selector("#search-results li a", timeout=10_000)
        page.wait_for_timeout(300)
        titles = page.locator("#search-results li > a").all_inner_texts()
    assert any(title in found for found in titles), titles


@pytest.fixture(scope="module")
def references(chromium, site):
    """A page with references of every kind."""
    with served(site) as base, opened(chromium, f"{base}/chapters/gradient_descent.html") as (page, heard):
        yield page
    assert heard == []


PREVIEWS = {"equation": ("article a.reference[href^='#equation-']", "mjx-container"),
            "theorem": ("article a.reference[href^='#thm-']", "p"),
            "source": ("article a.reference[href*='bibliography.html#']", None)}


@pytest.mark.parametrize("kind", PREVIEWS)
def test_a_reference_shows_what_it_refers_to_until_escape(references, kind):
    link, inside = PREVIEWS[kind]
    references.locator(link).first.scroll_into_view_if_needed()
    references.locator(link).first.hover()
    box = references.locator(".dlopt-preview")
    box.wait_for(timeout=5000)
    assert box.locator(inside).count() if inside else len(box.inner_text()) > 40
    assert references.locator(link).first.get_attribute("aria-describedby") == "dlopt-preview"
    references.keyboard.press("Escape")
    assert box.count() == 0
    references.mouse.move(0, 0)


def test_a_reference_to_another_page_shows_it_from_a_server(chromium, site):
    with served(site) as base, opened(chromium, f"{base}/chapters/gradient_descent.html") as (page, _):
        page.evaluate("""() => { const link = document.querySelector('article a.reference[href^="#equation-"]');
          link.setAttribute('href', 'momentum.html#equation-mom-rule'); link.id = 'elsewhere'; }""")
        page.locator("#elsewhere").scroll_into_view_if_needed()
        page.locator("#elsewhere").hover()
        equation = page.locator(".dlopt-preview mjx-container").first
        equation.wait_for(timeout=5000)
        assert equation.is_visible()
