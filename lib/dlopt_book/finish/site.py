"""The steps of the last pass, over all pages of a built site."""

import re
import shutil
from pathlib import Path

from dlopt_book.finish import fonts, images, mathematics, styles

STYLE, FONTS = "_static/styles/book.bundle.css", "_static/fonts"
FONT_AWESOME = re.compile(r"@font-face\s*\{[^}]*Font Awesome[^}]*\}\s*")
LINK = re.compile(r'[ \t]*<link\b[^>]*\bhref="(?:\.\./)*(_static/[^"?]+\.css)[^"]*"[^>]*>\n?')
BUNDLE = re.compile(r'<link rel="stylesheet" href="[^"]*" data-from="([^"]*)">')
SCRIPT = re.compile(r'<script\b([^>]*)\bsrc="([^":]+)"([^>]*)></script>')
INLINE = re.compile(r"<script\b(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
MEASURED = "e.tabIndex=e.scrollWidth>e.clientWidth||e.scrollHeight>e.clientHeight?0:-1"
FIGURE = re.compile(r"<script>((?:(?!</script>).)*DlOpt\.mount\(\);\s*</script>)", re.DOTALL)
ICON = re.compile(r"\bfa-[a-z][\w-]*")
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")  # wanted by the search page only
UNUSED = ("_static/scripts/fontawesome*", "_static/**/*.map", "_static/vendor", "_static/*webpack-macros.html",
          "_static/sphinx-thebe.js", "_static/mathjax")
THEME = re.compile(r'document\.documentElement\.dataset\.theme = [^;]*;')
EARLY = ('document.documentElement.dataset.theme = localStorage.getItem("theme") || '
         '(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");')  # no flash of the other mode


def finish(site, memory, tex=None):
    """Make every page below ``site`` light.

    Args:
        site: the folder of a site that Sphinx has built.
        memory: a folder for what the next build need not compute again.
        tex: options of MathJax's TeX input.

    Returns:
        Sentences about formulas that MathJax refuses; empty if there are none.
    """
    site = Path(site)
    texts = {path: path.read_text(encoding="utf-8") for path in pages(site)}
    done, problems = _typeset(texts, Path(memory) / "formulas.json", tex)
    sheets = list(dict.fromkeys(name for text in done.values() for name in style_names(text)))
    for path, text in done.items():
        name = path.relative_to(site).as_posix()
        text = _linked(_scripts(text, name, site), "../" * name.count("/"), sheets)
        done[path] = images.sized(text, path.parent)
    _unburden(site / "_static" / "scripts" / "pydata-sphinx-theme.js")
    _write_styles(site, done, sheets, Path(memory) / "formulas.json", tex)
    for path, text in done.items():
        if text != texts[path]:
            path.write_text(text, encoding="utf-8")
    for pattern in UNUSED:
        for path in site.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return problems


def _unburden(script):
    """When a page opens the theme's script lays out all of it to find what scrolls; `book.js` does so bit by bit."""
    if script.exists():
        script.write_text(script.read_text(encoding="utf-8").replace(MEASURED, "0"), encoding="utf-8")


def pages(site):
    """The site's pages, without what only lies there to be downloaded."""
    return [path for path in sorted(Path(site).rglob("*.html"))
            if path.relative_to(site).parts[0] not in ("_static", "_sources", "reports", "_downloads")]


def _typeset(texts, memory, tex):
    typeset = mathematics.Typesetter(memory, tex)(set().union(*map(mathematics.formulas, texts.values())))
    problems = [f"{source}: {complaint}" for (source, _), shown in typeset.items()
                if (complaint := mathematics.complaint(shown))]
    done = {path: re.sub(r"\s*<script>window\.MathJax = .*?</script>", "", mathematics.with_formulas(text, typeset))
            for path, text in texts.items()}
    return done, problems


def style_names(page):
    """The style sheets of a page, as addresses below the site; also of a page that is finished."""
    bundle = BUNDLE.search(page)
    return bundle[1].split() if bundle else LINK.findall(page)


def _linked(page, up, sheets):
    """The page with one style sheet in the place of its own."""
    link = f'<link rel="stylesheet" href="{up}{STYLE}" data-from="{" ".join(sheets)}">'
    if BUNDLE.search(page):
        return BUNDLE.sub(link, page)
    first = LINK.search(page)
    return page[: first.start()] + link + "\n" + LINK.sub("", page[first.start() :]) if first else page


def _write_styles(site, texts, sheets, memory, tex):
    used = set().union(*map(mathematics.characters, texts.values()))
    words = set().union(*(styles.words_of_page(text) for text in texts.values()))
    inline = (script for text in texts.values() for script in INLINE.findall(text))
    files = (path.read_text(encoding="utf-8") for path in (site / "_static").rglob("*.js") if _counts(path, site))
    words |= set().union(*(styles.words_of_script(script) for script in {*inline, *files}))
    css = styles.pruned(styles.combined(site / "_static", [name.removeprefix("_static/") for name in sheets]), words)
    css = FONT_AWESOME.sub("", css)
    icons = fonts.write_icons(site / "_static" / "vendor" / "fontawesome" / "webfonts", site / FONTS,
                              {word for word in words if ICON.fullmatch(word)}, css)
    math = fonts.write_math(mathematics.mathjax() / "output" / "chtml" / "fonts" / "woff-v2", site / FONTS,
                            mathematics.Typesetter(memory, tex).css(used))
    (site / STYLE).write_text(css + icons + math, encoding="utf-8")


def _counts(path, site):
    """Whether a script of the site may name classes of its elements."""
    return path.name != "fontawesome.js" and "mathjax" not in path.relative_to(site).parts


def _scripts(page, name, site):
    """Scripts run when the page is there; those that it has no use for are not fetched."""
    def changed(match):
        before, source, after = match.groups()
        file = source.split("?")[0].rsplit("/", 1)[-1]
        if file == "fontawesome.js" or "mathjax/" in source or (file in SEARCH and name != "search.html"):
            return ""
        if file == "documentation_options.js":  # small, and inline scripts need it at once
            return f"<script>{(site / '_static' / file).read_text(encoding='utf-8').strip()}</script>"
        wait = "" if re.search(r"\b(defer|async|module)\b", before + after) else " defer"
        return f'<script{wait}{before}src="{source}"{after}></script>'

    page = re.sub(r'[ \t]*<link rel="preload" as="script"[^>]*>\n?', "", page)
    page = FIGURE.sub(r'<script type="text/later">\1', page)  # book.js runs it when the figure comes near the screen
    return THEME.sub(EARLY, SCRIPT.sub(changed, page), count=1)
