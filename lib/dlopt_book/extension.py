"""The Sphinx extension: runs that match the library, a site that asks nobody for anything, sound accessibility."""

import html
import importlib.util
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from dlopt_book import cache
from dlopt_book.book import Book
from dlopt_book.fingerprint import notebook_key

HERE = Path(__file__).parent
MATHJAX_FILES = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")
DESCRIPTION_LENGTH = 155  # characters that search engines show


def setup(app):
    app.add_config_value("planned_chapters", {}, "env", dict)
    app.add_directive("chapter-map", ChapterMap)
    app.connect("missing-reference", _name_planned_chapter)
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _forget_stale_runs)
    app.connect("builder-inited", _release_homework)
    app.connect("env-get-outdated", _pages_with_new_runs)
    app.connect("html-page-context", _finish_page, priority=900)
    app.connect("html-collect-pages", _extra_pages)
    app.connect("build-finished", _finish_build)
    app.add_css_file("book.css", priority=900)
    app.add_js_file("book.js", loading_method="defer")
    if importlib.util.find_spec("dlopt_book.ledger"):
        app.setup_extension("dlopt_book.ledger")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _configure(app, config):
    config.templates_path.append(str(HERE / "templates"))
    config.html_static_path.append(str(HERE / "static"))


# ---------------------------------------------------------------- runs

def _forget_stale_runs(app):
    """Make sure that no page is rendered from outputs of another library, scale, seed or version."""
    book = Book(Path(app.srcdir))
    app.dlopt_keys = {book.docname(path): notebook_key(path, book.lib) for path in book.notebooks()}
    cache.evict(book, cache.stale(book))


def _release_homework(app):
    """Make the students' versions that the homework page offers; what is up to date is left alone."""
    sources = Path(app.srcdir) / "chapters" / "homework"
    if sources.is_dir():
        from dlopt.homework import course, publish

        place = course.find(sources=sources)
        for topic in place.topics:
            publish.for_site(place, topic)


def _pages_with_new_runs(app, env, added, changed, removed):
    """Sphinx sees changed sources only; a page whose run changed must be read again too, and so must the ledger."""
    before, env.dlopt_keys = getattr(env, "dlopt_keys", {}), dict(app.dlopt_keys)
    again = {name for name, key in app.dlopt_keys.items() if before.get(name) != key}
    return [name for name in again | ({"chapters/ledger"} if again else set()) if name in env.found_docs]


def _finish_build(app, exception):
    if app.builder.format != "html":
        return
    if exception is not None:  # a cell failed, or worse: leave no site that pretends to be the book
        shutil.rmtree(app.outdir, ignore_errors=True)
        return
    book = Book(Path(app.srcdir))
    for path in book.notebooks():
        cache.adopt(book, path, app.dlopt_keys[book.docname(path)])
    _copy_mathjax(Path(app.outdir) / "_static" / "mathjax")


# ---------------------------------------------------------------- landing page

class ChapterMap(SphinxDirective):
    """``{chapter-map}``: a table of the book's chapters with their questions, in the order of ``_toc.yml``."""

    def run(self):
        book = Book(Path(self.env.srcdir))
        rows = ["| chapter | question |", "|---|---|"]
        for path in book.notebooks():
            self.env.note_dependency(str(path))
            notebook = cache.read(path)
            if not notebook.metadata.get("dlopt", {}).get("reference"):
                rows.append(f"| {{doc}}`/{book.docname(path)}` | {question(notebook)} |")
        planned = self.env.app.config.planned_chapters.items()
        rows += [f"| {title} | planned |" for stem, title in planned if f"chapters/{stem}" not in self.env.found_docs]
        container = nodes.container()
        self.state.nested_parse(StringList(rows), self.content_offset, container)
        return container.children


def _name_planned_chapter(app, env, node, content):
    """A ``{doc}`` reference to a chapter of ``planned_chapters`` becomes its title, until the chapter is there."""
    title = app.config.planned_chapters.get(node["reftarget"].rsplit("/", 1)[-1])
    if node.get("reftype") == "doc" and title:
        return content if node.get("refexplicit") else nodes.inline(text=f"{title} (planned)")
    return None


def question(notebook):
    """What a chapter asks: the first question in bold or italics in its first cell; else nothing."""
    found = re.search(r"\*{1,2}([^*]+\?)\*{1,2}", notebook.cells[0].source)
    return " ".join(found[1].split()) if found else ""


# ---------------------------------------------------------------- offline

def _copy_mathjax(target):
    """Serve MathJax from the site; only the parts that a page can ask for (the package holds 24 MB)."""
    source = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
    for name in MATHJAX_FILES:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy2(source / name, target / name)


def _is_thebe(script):
    return "thebe" in str(script.filename) or "thebe" in (script.attributes.get("body") or "").lower()


# ---------------------------------------------------------------- pages

def _finish_page(app, pagename, templatename, context, doctree):
    context["script_files"] = [s for s in context.get("script_files", []) if not _is_thebe(s)]
    if "generate_toctree_html" in context:
        context["generate_toctree_html"] = _with_named_toggles(context["generate_toctree_html"])
    if "body" in context:
        context["body"] = accessible(context["body"])
    if doctree is not None and 'name="description"' not in context.get("metatags", ""):
        text = html.escape(description(doctree), quote=True)
        context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{text}" />\n'


def _with_named_toggles(generate):
    """The theme's sidebar unfolds by a ``summary`` that holds an icon only; give it a name."""
    def generated(*arguments, **options):
        return str(generate(*arguments, **options)).replace("<summary>", '<summary aria-label="Pages below">')

    return generated


def accessible(body):
    """The page's HTML mended: a bibliography is a plain list of items; an empty corner of a table is no header."""
    body = re.sub(r"<th\b[^>]*>(\s|<p>\s*</p>)*</th>", "<td></td>", body)
    body = re.sub(r' role="doc-biblioentry"', ' role="listitem"', body)
    return re.sub(r' role="doc-bibliography"', "", body)


def description(doctree):
    """The first sentence or two of the page, without mathematics, at most ``DESCRIPTION_LENGTH`` characters."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) > 40 and not list(paragraph.findall(nodes.math)):
            return text if len(text) <= DESCRIPTION_LENGTH else text[: DESCRIPTION_LENGTH - 1].rsplit(" ", 1)[0] + "…"
    title = next(doctree.findall(nodes.title), None)
    return f"{title.astext()}: a page of the course Optimization for Deep Learning" if title else ""


def _extra_pages(app):
    yield "404", {"title": "Page not found"}, "404.html"
    if app.config.root_doc != "index":
        yield "index", {"target": f"{app.config.root_doc}.html"}, "redirect.html"
