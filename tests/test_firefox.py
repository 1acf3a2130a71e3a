"""The site in Firefox; where there is none, a line says that this was not checked."""

import pytest
from dlopt_book import browser, firefox

pytestmark = pytest.mark.skipif(firefox.firefox() is None,
                                reason="not checked: the site in Firefox; apt-get install firefox-esr")
PAGE = '<!DOCTYPE html><html lang="en"><title>A page</title><link rel="icon" href="data:,"><body>{}</body></html>'
PLANTED = {
    "console error": "<script>console.error('no')</script>",
    "request to another host": '<img src="http://192.0.2.1/pixel.png" alt="">',
    "scrolls sideways": '<div style="width: 2000px">Wide.</div>',
    "font that does not load": '<style>@font-face {font-family: F; src: url("no.woff")} p {font-family: F}</style><p>x',
    "1 interactive figures did not start": '<div class="dlopt-figure"></div>',
    "1 of 1 formulas have no height": "<article><mjx-container></mjx-container></article>",
}


@pytest.fixture(scope="module")
def session():
    with firefox.running() as session:
        yield session


def looked(session, folder, body):
    (folder / "page.html").write_text(PAGE.format(body))
    with browser.served(folder) as base:
        return session.look(f"{base}/page.html")


def test_a_sound_page_has_no_problems(session, tmp_path):
    assert looked(session, tmp_path, "<p>All is well.</p>") == []


def test_a_page_that_sends_readers_on_is_looked_at_where_they_arrive(session, tmp_path):
    (tmp_path / "next.html").write_text(PAGE.format("<script>console.error('arrived')</script>"))
    moves = '<meta http-equiv="refresh" content="0.2; url=next.html">'
    assert "console error: arrived" in looked(session, tmp_path, moves)


@pytest.mark.parametrize("problem", PLANTED)
def test_the_planted_problem_is_found(session, tmp_path, problem):
    found = looked(session, tmp_path, PLANTED[problem])
    assert any(sentence.startswith(problem) for sentence in found), found


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_pages_of_the_site_work_in_firefox(session, site, scheme):
    with browser.served(site) as base:
        where = base if scheme == "http" else site.as_uri()
        found = {name: session.look(f"{where}/{name}") for name in ("chapters/index.html", "chapters/losses.html",
                                                                  "chapters/gradient_descent.html", "search.html")}
    assert {name: problems for name, problems in found.items() if problems} == {}
