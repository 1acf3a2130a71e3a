"""The ledger: a Sphinx extension that sets every item of the sources beside what the executed chapters say of it.

Directives ``{ledger} <topic>`` (a table of the topic's items) and ``{ledger-summary}`` (counts and a filter), and a
role ``{item}`S37``` that links to an item's row. Tables are filled in after all documents have been read, from the runs
in the book's cache; ``ledger.json`` beside the page holds the same for programs.
"""

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from dlopt.claims import ITEMS, MIME, SOURCES, VERDICTS, anchor, format_interval
from dlopt.claims.box import SYMBOLS
from docutils import nodes
from myst_nb.core.render import MimeRenderPlugin
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from dlopt_book import cache, figure_data
from dlopt_book.book import Book

LOG = logging.getLogger(__name__)
FILTER = Path(__file__).parent / "templates" / "ledger_filter.html"
OPEN = "open"


@dataclass(frozen=True)
class Entry:
    """A claim found in a chapter: the document's name, the HTML id of its box, and the claim's JSON."""

    document: str
    anchor: str
    claim: dict


# ---------------------------------------------------------------- reading the runs

def entries(notebooks):
    """All claims in executed notebooks, in order.

    Args:
        notebooks: pairs (document name, notebook with outputs).
    """
    return [Entry(document, anchor(output["data"][MIME]["item"], output["data"][MIME]["part"]), output["data"][MIME])
            for document, notebook in notebooks for cell in notebook.cells
            for output in cell.get("outputs", []) if MIME in output.get("data", {})]


def duplicates(found):
    """Pairs of entries that claim the same item and part: (the first, the later one)."""
    first, pairs = {}, []
    for entry in found:
        key = entry.claim["item"], entry.claim["part"]
        if key in first:
            pairs.append((first[key], entry))
        first.setdefault(key, entry)
    return pairs


def as_json(found):
    """The whole ledger as plain data: every item with its claims (none: open), and the counts."""
    by_item = {id: [e for e in found if e.claim["item"] == id] for id in ITEMS}
    items = [asdict(item) | {"claims": [e.claim | {"document": e.document, "anchor": e.anchor} for e in by_item[id]]}
             for id, item in ITEMS.items()]
    counts = Counter(e.claim["verdict"] for e in found)
    return {"sources": SOURCES, "items": items, "claims": len(found), "verdicts": {v: counts[v] for v in VERDICTS},
            "run": sum(bool(claims) for claims in by_item.values()), OPEN: sum(not c for c in by_item.values())}


# ---------------------------------------------------------------- directives and role

class _Placeholder(nodes.General, nodes.Element):
    """Stands in a document until all are read; ``topic`` is a topic of the registry, or None for the summary."""


class LedgerTable(SphinxDirective):
    """``{ledger} <topic>``: the items of one topic."""

    required_arguments, final_argument_whitespace = 1, True

    def run(self):
        topics = list(dict.fromkeys(item.topic for item in ITEMS.values()))
        if self.arguments[0] not in topics:
            raise self.error(f"ledger: topic must be one of {', '.join(topics)}; got {self.arguments[0]!r}")
        _ledgers(self.env).add(self.env.docname)
        return [_Placeholder(topic=self.arguments[0])]


class LedgerSummary(SphinxDirective):
    """``{ledger-summary}``: how many items were run, with which verdicts, and a field that filters the tables."""

    def run(self):
        _ledgers(self.env).add(self.env.docname)
        return [_Placeholder(topic=None)]


class ItemRole(SphinxRole):
    """``{item}`S37```: the item's id as a link to its row in the ledger."""

    def run(self):
        if self.text not in ITEMS:
            message = self.inliner.reporter.error(f"item must be S1 to S79 or E1 to E44, got {self.text!r}")
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        item = ITEMS[self.text]
        return [nodes.reference(self.text, self.text, internal=True, reftitle=item.statement, classes=["dlopt-item"],
                                refuri="#", dlopt_item=self.text)], []


class ClaimRenderer(MimeRenderPlugin):
    """Tells myst-nb (by an entry point in pyproject.toml) that claims and figures' numbers are known; shows nothing."""

    mime_priority_overrides = [("*", MIME, None), ("*", figure_data.MIME, None)]

    @staticmethod
    def handle_mime(renderer, data, inline):
        return [] if data.mime_type in (MIME, figure_data.MIME) else None


# ---------------------------------------------------------------- events

def _ledgers(env):
    """The documents that hold ledger tables."""
    if not hasattr(env, "dlopt_ledgers"):
        env.dlopt_ledgers = set()
    return env.dlopt_ledgers


def _purge(app, env, document):
    _ledgers(env).discard(document)


def _merge(app, env, documents, other):
    _ledgers(env).update(_ledgers(other))


def _collect(app, env):
    """All documents are read: read the runs, complain about duplicates, have the ledger's pages written again."""
    app.dlopt_ledger = entries(cache.executed(Book(Path(app.srcdir))))
    for first, again in duplicates(app.dlopt_ledger):
        item, part = again.claim["item"], again.claim["part"]
        LOG.warning("%s%s is claimed twice, in %s and in %s: give one a part of its own", item,
                    f" ({part})" if part else "", first.document, again.document, location=again.document,
                    type="dlopt", subtype="ledger")
    return sorted(_ledgers(env) & set(env.found_docs))


def _resolve(app, doctree, document):
    for node in list(doctree.findall(_Placeholder)):
        fill = _summary if node["topic"] is None else _table
        node.replace_self(fill(app, document, node["topic"]))
    for node in list(doctree.findall(nodes.reference)):
        if node.get("dlopt_item"):
            _link(app, document, node)


def _link(app, document, node):
    """Lead an item reference to its row; without a ledger in the book it is plain text."""
    pages = sorted(_ledgers(app.env))
    if not pages:
        node.replace_self(nodes.inline(node.astext(), node.astext(), classes=["dlopt-item"]))
    else:
        node["refuri"] = f"{app.builder.get_relative_uri(document, pages[0])}#{node['dlopt_item'].lower()}"


def _write_json(app, exception):
    if exception is None and app.builder.format == "html":
        for document in _ledgers(app.env):
            target = Path(app.outdir, document).with_name("ledger.json")
            target.write_text(json.dumps(as_json(app.dlopt_ledger), indent=1, ensure_ascii=False), encoding="utf-8")


# ---------------------------------------------------------------- nodes

def _paragraph(*parts, classes=()):
    return nodes.paragraph("", "", *[nodes.Text(p) if isinstance(p, str) else p for p in parts], classes=list(classes))


def _summary(app, document, topic):
    ledger = as_json(app.dlopt_ledger)
    settings = sorted({f"DLOPT_SCALE={e.claim['scale']}, DLOPT_SEED={e.claim['seed']}" for e in app.dlopt_ledger})
    counts = ", ".join(f"{n} × {verdict}" for verdict, n in ledger["verdicts"].items())
    data = nodes.reference("", "ledger.json", refuri="ledger.json", internal=True)
    return [_paragraph(f"{ledger['run']} of {len(ITEMS)} items have been run, {ledger[OPEN]} are open. "
                       f"{ledger['claims']} claims: {counts}. The same as data: ", data, "."),
            _paragraph(f"Run with {' and '.join(settings)}." if settings else "Nothing has been run yet."),
            nodes.raw("", FILTER.read_text(encoding="utf-8"), format="html")]


def _table(app, document, topic):
    body = nodes.tbody("", *[_row(app, document, item) for item in ITEMS.values() if item.topic == topic])
    titles = [nodes.entry("", _paragraph(title)) for title in ("Item", "Claim", "Result")]
    head = nodes.thead("", nodes.row("", *titles))
    columns = [nodes.colspec(colwidth=width) for width in (8, 52, 40)]
    return [nodes.table("", nodes.tgroup("", *columns, head, body, cols=3), classes=["dlopt-ledger"])]


def _row(app, document, item):
    said = _paragraph(item.statement, " ", nodes.inline("", f"({', '.join(item.sources)})", classes=["dlopt-sources"]))
    claim = [said] + ([_paragraph(nodes.strong("", "Instead: "), item.correction)] if item.correction else [])
    found = [entry for entry in app.dlopt_ledger if entry.claim["item"] == item.id]
    result = [part for entry in found for part in _result(app, document, entry)] or [_open(app, document, item)]
    cells = [nodes.entry("", *content) for content in ([_paragraph(nodes.strong("", item.id))], claim, result)]
    return nodes.row("", *cells, ids=[item.id.lower()])


def _result(app, document, entry):
    claim = entry.claim
    numbers = format_interval(claim["effect"], *claim["interval"], claim["unit"])
    exact = claim["n"] == 1 and len(set(claim["interval"])) == 1
    runs = "exact" if exact else f"n = {claim['n']}".replace(" ", "\N{NO-BREAK SPACE}")
    where = nodes.reference("", _title(app, entry.document), internal=True,
                            refuri=f"{app.builder.get_relative_uri(document, entry.document)}#{entry.anchor}")
    part = [f", {claim['part']}"] if claim["part"] else []
    lines = [_verdict(claim["verdict"], *part, f": {numbers}, {runs} (", where, ")")]
    return lines + ([_paragraph(_sentence(claim["note"]), classes=["dlopt-note"])] if claim["note"] else [])


def _sentence(note):
    """A note with a capital and a full stop, unless it begins with a symbol."""
    note = note[0].upper() + note[1:] if re.match(r"[a-z]+[ ,:]", note) else note
    return note if note[-1] in ".!?" else note + "."


def _verdict(verdict, *parts):
    """A line that begins with a verdict and its symbol; its class lets the page color its edge."""
    symbol = [SYMBOLS[verdict] + " "] if verdict in SYMBOLS else []
    return _paragraph(*symbol, nodes.strong("", verdict), *parts,
                      classes=["dlopt-verdict", "dlopt-" + verdict.split()[-1]])


def _open(app, document, item):
    """An item without a run, with the chapter that it waits for (a link where the chapter exists)."""
    for name in app.env.found_docs:
        if name.rsplit("/", 1)[-1] == item.chapter:
            where = nodes.reference("", _title(app, name), internal=True,
                                    refuri=app.builder.get_relative_uri(document, name))
            break
    else:
        where = f"{item.chapter.replace('_', ' ')}, to come"
    return _verdict(OPEN, " (", where, ")")


def _title(app, document):
    title = app.env.titles.get(document)
    return title.astext() if title is not None else document


def setup(app):
    app.add_node(_Placeholder)
    app.add_directive("ledger", LedgerTable)
    app.add_directive("ledger-summary", LedgerSummary)
    app.add_role("item", ItemRole())
    app.connect("env-purge-doc", _purge)
    app.connect("env-merge-info", _merge)
    app.connect("env-updated", _collect)
    app.connect("doctree-resolved", _resolve)
    app.connect("build-finished", _write_json, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
