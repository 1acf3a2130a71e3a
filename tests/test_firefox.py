"""Every page of the site in Firefox, from a server and from ``file://``."""

import pytest
from dlopt_book import browser, firefox

pytestmark = pytest.mark.firefox
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


def test_every_page_of_the_site_works_in_firefox_from_a_server_and_from_files(session, site):
    assert firefox.survey(session, site) == {}
