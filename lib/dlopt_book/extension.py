"""The Sphinx extension: runs that match the library, a site that asks nobody for anything, sound accessibility."""

import html
import importlib.util
import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from dlopt_book import cache, figure_data, guide, publish
from dlopt_book.book import Book
from dlopt_book.fingerprint import notebook_key
from dlopt_book.finish import finish

HERE = Path(__file__).parent
LOG = logging.getLogger(__name__)
VALUE_LENGTH = 60
DESCRIPTION_LENGTH = 155  # characters that search engines show


def setup(app):
    app.add_config_value("planned_chapters", {}, "env", dict)
    app.add_directive("chapter-map", ChapterMap)
    app.connect("missing-reference", _name_planned_chapter)
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _forget_stale_runs)
    app.connect("builder-inited", _release_homework)
    app.connect("env-get-outdated", _pages_with_new_runs)
    app.connect("object-description-transform", _shorten_value)
    app.connect("html-page-context", _finish_page, priority=900)
    app.connect("html-collect-pages", _extra_pages)
    app.connect("build-finished", _finish_build, priority=900)
    app.add_css_file("book.css", priority=900)
    for script in ("book.js", "previews.js"):
        app.add_js_file(script, loading_method="defer")
    if importlib.util.find_spec("dlopt_book.ledger"):
        app.setup_extension("dlopt_book.ledger")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _configure(app, config):
    config.templates_path.append(str(HERE / "templates"))
    config.html_static_path.append(str(HERE / "static"))
    config.html_theme_options = publish.launch_options(config.html_theme_options)
    if config.html_baseurl and not config.html_baseurl.endswith("/"):
        config.html_baseurl += "/"


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
        if _source_of(app, book.docname(path)):
            guide.write_archive(book, path, Path(app.outdir, "_downloads", "run", f"{path.stem}.zip"))
    if app.config.html_baseurl:
        every = [f"{name}.html" for name in sorted(app.env.found_docs)]
        Path(app.outdir, "sitemap.xml").write_text(publish.sitemap(app.config.html_baseurl, every), encoding="utf-8")
    tex = (app.config.mathjax3_config or {}).get("tex")
    for problem in finish(Path(app.outdir), book.root / "_build" / "finish", tex):
        LOG.warning("mathematics: %s", problem, type="dlopt", subtype="mathematics")


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


# ---------------------------------------------------------------- pages

def _shorten_value(app, domain, objtype, content):
    """A constant of the library shows its value if that fits on a line."""
    for part in list(content.parent[0].findall(addnodes.desc_annotation)):
        if part.astext().lstrip().startswith("=") and len(part.astext()) > VALUE_LENGTH:
            part.parent.remove(part)


def _finish_page(app, pagename, templatename, context, doctree):
    context["script_files"] = [s for s in context.get("script_files", []) if not _is_thebe(s)]
    if "generate_toctree_html" in context:
        context["generate_toctree_html"] = _with_named_toggles(context["generate_toctree_html"])
    if "body" in context:
        body = _with_start(app, pagename, context["body"], context["pathto"])
        context["body"] = accessible(_with_data(app, pagename, body, context["pathto"]))
    for side, neighbour in zip(("prev", "next"), (app.builder.relations.get(pagename) or (None,) * 3)[1:]):
        context[f"{side}_question"] = _question_of(app, neighbour)
    if doctree is not None:
        _describe(app, pagename, context, doctree)
    else:
        _describe_made(app, pagename, context)


def _describe_made(app, pagename, context):
    """The same for the pages that Sphinx makes: the search and the indices."""
    titles = {"genindex": "The index of terms and names", "search": "The search"}
    title = titles.get(pagename) or context.get("indextitle")
    if title:
        text = html.escape(f"{title}: a page of the course {app.config.project}", quote=True)
        context["metatags"] = f'{context.get("metatags", "")}\n<meta name="description" content="{text}" />\n'


def _is_thebe(script):
    return "thebe" in str(script.filename) or "thebe" in (script.attributes.get("body") or "").lower()


def _describe(app, pagename, context, doctree):
    """Say in the page's head what it is about; the page's own description counts, if it has one."""
    tags = context.get("metatags", "")
    own = re.search(r'<meta\b(?=[^>]*\bname="description")[^>]*\bcontent="([^"]*)"[^>]*>\n?', tags)
    text = html.unescape(own[1]) if own else description(doctree)
    title = app.env.titles[pagename].astext()
    said = f'<meta name="description" content="{html.escape(text, quote=True)}" />\n'
    said += publish.tags(app.config.html_baseurl, f"{pagename}.html", title, text, app.config.project)
    context["metatags"] = (tags.replace(own[0], "") if own else tags) + said
    if app.config.html_baseurl:
        card = Path(app.outdir, publish.CARDS, publish.card_name(f"{pagename}.html"))
        publish.write_card(card, title, _question_of(app, pagename) or text, app.config.project)


def _source_of(app, docname):
    """The path of the notebook that is a chapter; None for pages that are not one."""
    path = Path(app.srcdir, f"{docname}.ipynb")
    return path if path.exists() and not cache.read(path).metadata.get("dlopt", {}).get("reference") else None


def _question_of(app, docname):
    path = docname and _source_of(app, docname)
    return question(cache.read(path)) if path else ""


def _with_start(app, docname, body, pathto):
    """The page's HTML with the chapter's box below its title."""
    path = _source_of(app, docname)
    if path is None or "</h1>" not in body:
        return body
    book, folder = Book(Path(app.srcdir)), docname.rpartition("/")[0]
    needed = [_need(app, f"{folder}/{need}", need, pathto) for need in guide.needs(book).get(path.stem, [])]
    box = guide.box(cache.read(path), cache.seconds(book, path), needed, pathto(f"_downloads/run/{path.stem}.zip", 1))
    return body.replace("</h1>", f"</h1>\n{box}", 1)


def _with_data(app, docname, body, pathto):
    """The page's HTML with a link to the numbers of each figure; the numbers are written beside the site."""
    if not Path(app.srcdir, f"{docname}.ipynb").exists() or "<figure" not in body:
        return body
    notebook = cache.executed_one(Book(Path(app.srcdir)), Path(app.srcdir, f"{docname}.ipynb"))
    tables = figure_data.tables(notebook) if notebook else {}
    figure_data.write(app.outdir, tables)
    return figure_data.with_links(body, tables, lambda name: pathto(f"{figure_data.FOLDER}/{name}.csv", 1))


def _need(app, docname, words, pathto):
    if docname in app.env.found_docs:
        return f'<a href="{pathto(docname)}">{html.escape(app.env.titles[docname].astext())}</a>'
    return html.escape(app.config.planned_chapters.get(words, words))


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
