"""The last pass over the site: formulas typeset, icons and rules that are used, images that say their size."""

import re
import shutil

import pytest
from dlopt_book.finish import finish, fonts, images, mathematics, styles
from dlopt_book.finish import site as last
from fontTools.ttLib import TTFont

SHEET = """.used { color: red } .unused, #here > .used { color: blue }
@media print { .unused { color: green } .used { top: 0 } }"""
PAGE = """<html><head><link rel="stylesheet" type="text/css" href="../_static/one.css?v=1" />
<link rel="stylesheet" href="../_static/styles/two.css" />
<script src="../_static/documentation_options.js"></script><script src="../_static/doctools.js"></script>
<script src="../searchindex.js"></script><script>window.MathJax = {"options": {}}</script>
<script defer="defer" src="../_static/mathjax/tex-chtml.js"></script></head>
<body><p id="here" class="used">Let <span class="math notranslate">\\(a &lt; b_1\\)</span>.</p>
<div class="math" id="x">
<span class="eqno">(1)<a class="headerlink" href="#x">#</a></span>
\\[\\begin{split}x &amp;= y\\\\ z &amp;= 1\\end{split}\\]</div>
<pre>r"\\(.+\\)"</pre><img alt="A line." src="../_images/line.png" /></body></html>"""
PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000003000000020802000000")


@pytest.fixture
def folder(tmp_path):
    """A small site as Sphinx leaves it."""
    site = tmp_path / "html"
    for name in ("chapters", "_static/styles", "_images"):
        (site / name).mkdir(parents=True)
    (site / "chapters" / "page.html").write_text(PAGE)
    (site / "_static" / "one.css").write_text(f'@import "base.css"; {SHEET}')
    (site / "_static" / "base.css").write_text('body { margin: 0; background: url("file.png") } /* a comment */')
    (site / "_static" / "styles" / "two.css").write_text('.used { background: url("../dot.png") }')
    (site / "_static" / "documentation_options.js").write_text("const DOCUMENTATION_OPTIONS = {};")
    (site / "_static" / "doctools.js").write_text("")
    (site / "_images" / "line.png").write_bytes(PIXEL)
    return site


def finished(site):
    assert finish(site, site.parent / "memory") == []
    return (site / "chapters" / "page.html").read_text(), (site / last.STYLE).read_text()


def test_formulas_are_typeset_and_keep_their_mathml_and_number(folder):
    page, css = finished(folder)
    assert page.count("<mjx-container") == 2 == page.count("<math")
    assert "<mo>&lt;</mo>" in page and "(1)<a" in page and 'r"\\(.+\\)"' in page
    assert "MathJax = " not in page and "tex-chtml.js" not in page
    assert "mjx-c1D44E" in css and "mjx-c1D450" not in css, "a is shown, c is not"
    font = TTFont(folder / "_static" / "fonts" / "MathJax_Math-Italic.woff")
    assert {ord(c) for c in "abxyz"} <= set(font.getBestCmap()) and ord("q") not in font.getBestCmap()


def test_a_second_pass_changes_nothing(folder):
    first = finished(folder)
    assert finished(folder) == first


def test_a_page_that_is_built_anew_joins_the_finished_ones(folder):
    first = finished(folder)
    (folder / "chapters" / "other.html").write_text(PAGE.replace("b_1", "c_1"))
    page, css = finished(folder)
    assert page == first[0]
    assert "mjx-c1D450" in css and "mjx-c1D44E" in css


def test_a_formula_that_mathjax_refuses_is_named(folder):
    (folder / "chapters" / "page.html").write_text(PAGE.replace("b_1", "\\nonsense"))
    assert finish(folder, folder.parent / "memory") == ["a < \\nonsense: Undefined control sequence \\nonsense"]


def test_typeset_formulas_are_remembered(folder, monkeypatch):
    first = finished(folder)
    (folder / "chapters" / "page.html").write_text(PAGE)
    monkeypatch.setattr(mathematics, "node", lambda: None)
    assert finished(folder) == first
    (folder / "chapters" / "page.html").write_text(PAGE.replace("b_1", "new"))
    with pytest.raises(FileNotFoundError, match="no Node.js to typeset with: pip install playwright"):
        finish(folder, folder.parent / "memory")


def test_one_style_sheet_holds_the_rules_that_a_page_can_use(folder):
    page, css = finished(folder)
    assert re.findall(r'href="([^"]+\.css)', page) == ["../_static/styles/book.bundle.css"]
    assert ".used{color: red}" in css and "#here > .used{color: blue}" in css and ".unused" not in css
    assert "margin: 0" in css and "a comment" not in css and 'url("../dot.png")' in css
    assert 'url("../file.png")' in css
    assert css.index("margin: 0") < css.index("color: red") < css.index("dot.png")


@pytest.mark.parametrize("selector, possible", [
    (".a", True), (".a .b", False), (".a:not(.b)", True), (":is(.b, .a) p", True), ("p > a[href='.b']", True),
    ("#b", False), (r".a\:x", False), (":not(:is(.b, .c)) .a", True)])
def test_a_selector_is_kept_if_its_classes_exist_outside_of_alternatives(selector, possible):
    assert styles.possible(selector, {"a"}) is possible


def test_scripts_wait_and_the_search_index_is_for_the_search_page(folder):
    page, _ = finished(folder)
    assert "searchindex.js" not in page
    assert '<script defer src="../_static/doctools.js">' in page
    assert "<script>const DOCUMENTATION_OPTIONS = {};</script>" in page
    (folder / "search.html").write_text(PAGE.replace("../", ""))
    finished(folder)
    assert '<script defer src="searchindex.js">' in (folder / "search.html").read_text()


def test_images_say_their_size_and_wait_until_they_are_near(folder):
    page, _ = finished(folder)
    assert '<img loading="lazy" decoding="async" width="3" height="2" alt="A line."' in page


def test_an_image_can_shrink_though_its_notebook_fixed_its_size(folder):
    page = images.sized('<img src="../_images/line.png" style="width: 3px; height: 2px;" />', folder / "chapters")
    assert 'width="3" height="2"' in page and "style=" not in page


def test_a_formula_and_the_comma_after_it_stay_on_one_line(folder):
    typeset = {("x", False): "<i>x</i>"}
    held = '<span class="held">(<span class="math notranslate"><i>x</i></span>),</span>'
    assert mathematics.with_formulas(r'a (<span class="math notranslate">\(x\)</span>), b', typeset) == f"a {held} b"
    alone = '<span class="math"><i>x</i></span> b'
    assert mathematics.with_formulas(r'<span class="math">\(x\)</span> b', typeset) == alone


def test_a_png_that_says_its_resolution_is_as_large_as_it_says(tmp_path):
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"savefig.bbox": None}):  # the book's style crops, if a test before this one switched it on
        for dpi in (96, 150):
            Figure(figsize=(6, 3)).savefig(tmp_path / f"{dpi}.png", dpi=dpi)
    assert images.size(tmp_path / "96.png") == images.size(tmp_path / "150.png") == (576, 288)


def test_a_picture_of_several_panels_gets_a_box_that_can_scroll(folder):
    (folder / "_images" / "line.png").write_bytes(PIXEL[:16] + (900).to_bytes(4) + PIXEL[20:])
    page, _ = finished(folder)
    assert re.search(r'<span class="dlopt-wide"><img [^>]*width="900"[^>]*></span>', page)


def test_scripts_of_figures_wait_until_book_js_runs_them(folder):
    figure = "<style>.x{}</style><div class='dlopt-figure'></div><script>let a = '<b>';\nDlOpt.mount();</script>"
    (folder / "chapters" / "page.html").write_text(PAGE.replace("<pre>", f"<script>let b;</script>{figure}<pre>"))
    page, _ = finished(folder)
    assert "<script type=\"text/later\">let a = '<b>';" in page and "<script>let b;</script>" in page


def test_the_theme_measures_nothing_when_a_page_opens(site):
    text = (site / "_static" / "scripts" / "pydata-sphinx-theme.js").read_text()
    assert "scrollWidth" not in text, "the theme changed: see MEASURED in finish/site.py"


def test_the_size_of_an_svg_is_in_css_pixels(tmp_path):
    (tmp_path / "a.svg").write_text('<svg width="72pt" height="36pt" viewBox="0 0 72 36"></svg>')
    (tmp_path / "b.svg").write_text('<svg viewBox="0 0 72 36"></svg>')
    assert images.size(tmp_path / "a.svg") == (96, 48)
    assert images.size(tmp_path / "b.svg") is None


def test_icons_that_are_used_are_in_the_font_and_in_the_rules(tmp_path):
    from pydata_sphinx_theme import __file__ as theme

    source = theme.removesuffix("__init__.py") + "theme/pydata_sphinx_theme/static/vendor/fontawesome/webfonts"
    rules = fonts.write_icons(source, tmp_path, {"fa-bars", "fa-solid", "fa-github"}, ".x{content:'\\f0f3'}")
    assert '.fa-bars::before{content:"\\f0c9"}' in rules and ".fa-github::before" in rules and ".fa-solid:" not in rules
    held = set(TTFont(tmp_path / "fa-solid-900.woff").getBestCmap())
    assert {0xF0C9, 0xF0F3} <= held and len(held) < 10


def test_every_icon_of_the_site_has_its_rule(site):
    css = (site / last.STYLE).read_text()
    every = (re.findall(r'<i class="([^"]*fa-[^"]*)"', path.read_text()) for path in last.pages(site))
    groups = {group for found in every for group in found}
    shown = {icon for group in groups for icon in group.split() if icon.startswith("fa-")}
    shown -= {"fa-solid", "fa-regular", "fa-brands", "fa-lg", "fa-fw"}
    assert shown and {icon for icon in shown if f".{icon}::before" not in css} == set()


def test_no_page_of_the_site_typesets_in_the_browser(site):
    for path in last.pages(site):
        page = path.read_text()
        assert "tex-chtml" not in page and "MathJax = " not in page and not mathematics.formulas(page), path
    assert not (site / "_static" / "mathjax").exists()


def test_a_finished_site_holds_no_leftovers(folder):
    (folder / "_static" / "scripts").mkdir()
    shutil.copy(folder / "_static" / "doctools.js", folder / "_static" / "scripts" / "fontawesome.js.map")
    finished(folder)
    assert not (folder / "_static" / "scripts" / "fontawesome.js.map").exists()
