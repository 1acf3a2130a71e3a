"""The whole book as one PDF: Chromium prints each page, pypdf joins them and leads their references to each other."""

import html
import io
import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, Fit, FloatObject, NameObject, NullObject, NumberObject

from dlopt_book import browser

SHEET = {"format": "A4", "print_background": True, "tagged": False,
         "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}}
WIDTH = {"width": 800, "height": 1100}
READY = """async (anchors) => {
  dispatchEvent(new Event('beforeprint')); // interactive figures far from the screen start
  document.querySelectorAll('img').forEach(e => { e.loading = 'eager'; });
  document.querySelectorAll('details').forEach(e => { e.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
  const headings = [...document.querySelectorAll('article :is(h1, h2, h3, h4)')].filter(e => e.getClientRects().length);
  headings.forEach((e, i) => { e.id ||= 'heading-' + i; });
  const box = document.createElement('div');
  box.style.cssText = 'height: 0; overflow: hidden';
  for (const id of [...anchors, ...headings.map(e => e.id)]) { // Chromium makes a target of what a link leads to
    const link = document.createElement('a');
    link.href = '#' + id;
    box.append(link);
  }
  document.body.append(box);
  const images = [...document.images].map(e => e.decode().catch(() => 0));
  await Promise.all([...images, document.fonts.ready]);
  return headings.map(e => {
    const copy = e.cloneNode(true);
    for (const part of copy.querySelectorAll('.headerlink')) part.remove();
    for (const part of copy.querySelectorAll('mjx-container'))
      part.replaceWith(part.querySelector('mjx-assistive-mml').textContent);
    return [copy.textContent.replace(/\\s+/g, ' ').trim(), e.tagName[1] - 1, e.id];
  });
}"""


def _template(name):
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@dataclass
class Sheet:
    """A page of the site in print.

    Args:
        name: its address below the site.
        pdf: what Chromium printed.
        headings: (title, depth, page, top) of its headings; pages count from 0 within the sheet.
        targets: anchor -> (page, left, top).
        start: the number of pages before it in the book.
    """

    name: str
    pdf: PdfReader
    headings: list
    targets: dict
    start: int = 0

    @property
    def title(self):
        """Its first heading."""
        return self.headings[0][0] if self.headings else self.name


def make(book, target, say=print):
    """Print the book's site into the file ``target``; returns the number of pages.

    Args:
        book: a `Book` whose site is built.
        target: the PDF to write.
        say: called with each line of progress.
    """
    title = yaml.safe_load((book.root / "_config.yml").read_text(encoding="utf-8"))["title"]
    names = [f"{page}.html" for page in book.pages()]
    wanted = anchors(book.site, names)
    with browser.browser() as running, browser.served(book.site) as base:
        sheets = []
        for name in names:
            sheets.append(_printed(running, base, name, wanted[name]))
            say(f"  {name}: {len(sheets[-1].pdf.pages)} pages")
        front = _front(running, base, title, sheets)
        total = sheets[-1].start + len(sheets[-1].pdf.pages)
        every = "".join(f"<div><p>{number}</p></div>" for number in ["", *range(2, total + 1)])
        numbers = _pdf(running, _template("print_numbers.html").format(numbers=every), {"format": "A4"})
    writer = _joined([front, *sheets], numbers, base)
    writer.add_metadata({"/Title": title, "/Creator": "Jupyter Book, Chromium, pypdf"})
    target.parent.mkdir(parents=True, exist_ok=True)
    writer.write(target)
    return total


def anchors(site, names):
    """For each page the anchors that any page refers to: name -> list of ids."""
    found = defaultdict(set)
    for name in names:
        for reference in re.findall(r'href="([^":?]+#[^"]+)"', (site / name).read_text(encoding="utf-8")):
            path, anchor = reference.split("#", 1)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            found[target].add(unquote(html.unescape(anchor)))
    return defaultdict(list, {name: sorted(ids) for name, ids in found.items()})


def _printed(running, base, name, wanted):
    with browser.opened(running, f"{base}/{name}", size=WIDTH) as (page, _):
        page.add_style_tag(content=_template("print.css"))
        headings = page.evaluate(READY, wanted)
        pdf = PdfReader(io.BytesIO(page.pdf(**SHEET)))
    targets = {unquote(anchor.lstrip("/")): (pdf.get_destination_page_number(place), place.left, place.top)
               for anchor, place in pdf.named_destinations.items()}
    places = [(title, depth, *targets.get(id, (0, None, None))) for title, depth, id in headings]
    return Sheet(name, pdf, [(title, depth, page, top) for title, depth, page, _, top in places], targets)


def _pdf(running, content, options):
    page = running.new_page()
    try:
        page.set_content(content)
        return PdfReader(io.BytesIO(page.pdf(**options)))
    finally:
        page.close()


def _front(running, base, title, sheets):
    """The title page and the contents; sets where each sheet starts."""
    pages = 2
    while True:
        start = pages
        for sheet in sheets:
            sheet.start, start = start, start + len(sheet.pdf.pages)
        lines = "".join(_line(base, sheet, *heading) for sheet in sheets for heading in sheet.headings)
        text = _template("print_front.html").format(title=html.escape(title), lines=lines)
        pdf = _pdf(running, text, SHEET)
        if len(pdf.pages) == pages:
            return Sheet("", pdf, [("Contents", 0, 1, None)], {})
        pages = len(pdf.pages)


def _line(base, sheet, title, depth, page, top):
    if depth > 1:
        return ""
    link = f'<a href="{base}/{sheet.name}">{html.escape(title)}</a>'
    return f'<p class="{"sub" if depth else "top"}">{link}<span>{sheet.start + page + 1}</span></p>'


# ---------------------------------------------------------------- joining

def _joined(sheets, numbers, base):
    writer, links = PdfWriter(), []
    for sheet in sheets:
        links += [(sheet, *link) for link in _taken_links(sheet)]
        for name in ("/Dests", "/Names", "/StructTreeRoot", "/Outlines"):
            sheet.pdf.trailer["/Root"].pop(name, None)
        writer.append(sheet.pdf, import_outline=False)
    for page, number in zip(writer.pages, numbers.pages):
        page.merge_page(number)
        page.compress_content_streams()
    by_name = {sheet.name: sheet for sheet in sheets}
    for sheet, page, annotation in links:
        place = _place(sheet, annotation, by_name, base)
        if place is not None:
            _add_link(writer, sheet.start + page, annotation["/Rect"], *place)
    for sheet in sheets:
        _outline(writer, sheet)
    writer.compress_identical_objects()
    return writer


def _taken_links(sheet):
    """The links that lead into the book, taken off the sheet's pages: pairs (page, annotation)."""
    for number, page in enumerate(sheet.pdf.pages):
        kept = ArrayObject()
        for reference in page.get("/Annots", []):
            annotation = reference.get_object()
            if "/Dest" in annotation or "127.0.0.1" in str(annotation.get("/A", {}).get("/URI", "")):
                yield number, annotation
            else:
                kept.append(reference)
        page[NameObject("/Annots")] = kept


def _place(sheet, annotation, by_name, base):
    """Where a link leads: (page in the book, left, top); None if that is not printed."""
    if "/Dest" in annotation:
        anchor = unquote(str(annotation["/Dest"]).lstrip("/"))
    else:
        address = urlsplit(str(annotation["/A"]["/URI"]))
        sheet, anchor = by_name.get(address.path.lstrip("/")), unquote(address.fragment)
    if sheet is None:
        return None
    page, left, top = sheet.targets.get(anchor, (0, None, None))
    return sheet.start + page, left, top


def _add_link(writer, page, rectangle, goal, left, top):
    where = [writer.pages[goal].indirect_reference, NameObject("/XYZ"), _number(left), _number(top), NullObject()]
    writer.add_annotation(page, DictionaryObject({
        NameObject("/Type"): NameObject("/Annot"), NameObject("/Subtype"): NameObject("/Link"),
        NameObject("/Rect"): ArrayObject(rectangle), NameObject("/Border"): ArrayObject([NumberObject(0)] * 3),
        NameObject("/Dest"): ArrayObject(where)}))


def _number(value):
    return NullObject() if value is None else FloatObject(value)


def _outline(writer, sheet):
    parents = []
    for title, depth, page, top in sheet.headings:
        del parents[depth:]
        fit = Fit.xyz(left=0, top=top) if top else Fit.fit()
        parent = parents[-1] if parents else None
        parents.append(writer.add_outline_item(title=title, page_number=sheet.start + page, parent=parent, fit=fit))
