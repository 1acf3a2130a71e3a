"""The book on paper: one PDF whose references, contents and outline lead to the right page; and the site in a ZIP."""

import re
import zipfile

import pytest
from dlopt_book import printed, site
from dlopt_book.book import Book
from pypdf import PdfReader

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><article class="bd-article"><h1>{title}</h1>{body}</article></body></html>"""
FILLER = '<p style="height: 700px">A paragraph as long as most of a page.</p>'
FIRST = f"""<p>See <a href="two.html#eq-b">equation B</a>, <a href="#far">far below</a>, <a href="two.html">chapter
two</a>, <a href="gone.html">a page that is not printed</a> and
<a href="https://example.org">elsewhere</a>.</p>{FILLER * 2}
<h2 id="far">Far below<a class="headerlink" href="#far">#</a></h2>
<h2 style="width: 14em">How long is the answer to
<mjx-container><mjx-math>v</mjx-math><mjx-assistive-mml><math><mi>x</mi>
<mo>=</mo><mn>1</mn></math></mjx-assistive-mml></mjx-container>, in a line that is broken?</h2>"""
SECOND = f'{FILLER * 2}<p id="eq-b">B</p><details><summary>More</summary><p>Folded away.</p></details>'


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    (root / "_config.yml").write_text("title: A book on paper")
    (root / "_toc.yml").write_text("format: jb-book\nroot: one\nparts: [{chapters: [{file: two}]}]")
    folder = root / "_build" / "html"
    folder.mkdir(parents=True)
    (folder / "one.html").write_text(PAGE.format(title="One", body=FIRST))
    (folder / "two.html").write_text(PAGE.format(title="Two", body=SECOND))
    (folder / "index.html").write_text("<html></html>")
    return Book(root)


@pytest.fixture(scope="module")
def pdf(book):
    target, said = book.root / "_build" / "book.pdf", []
    assert printed.make(book, target, said.append) == len(PdfReader(target).pages)
    assert [re.sub(r"\d+", "N", line) for line in said] == ["  one.html: N pages", "  two.html: N pages"]
    return PdfReader(target)


def page_with(pdf, words):
    return next(number for number, page in enumerate(pdf.pages) if words in page.extract_text())


def links(pdf, page):
    """Where the links of a page lead: page numbers and addresses."""
    ids = {each.indirect_reference.idnum: number for number, each in enumerate(pdf.pages)}
    every = [reference.get_object() for reference in pdf.pages[page].get("/Annots", [])]
    return [ids[each["/Dest"][0].idnum] if "/Dest" in each else str(each["/A"]["/URI"]) for each in every]


@pytest.mark.browser
def test_references_lead_within_the_book_and_out_of_it(pdf):
    here = page_with(pdf, "equation B")
    pages = {page_with(pdf, words) for words in ("Folded away", "Far below\n", "Two\n")}
    assert set(links(pdf, here)) == pages | {"https://example.org/"}


@pytest.mark.browser
def test_every_page_but_the_title_has_its_number(pdf):
    assert pdf.pages[0].extract_text().strip() == "A book on paper"
    assert [page.extract_text().split()[-1] for page in pdf.pages[1:]] == [str(n) for n in range(2, len(pdf.pages) + 1)]


@pytest.mark.browser
def test_contents_and_outline_name_the_headings_with_their_pages(pdf):
    contents = pdf.pages[1].extract_text()
    for title in ("One", "Far below", "Two"):
        number = page_with(pdf, f"{title}\n") if title != "One" else page_with(pdf, "equation B")
        assert re.search(rf"{title}\s*{number + 1}\b", contents), contents
    top = [entry for entry in pdf.outline if not isinstance(entry, list)]
    flat = [(entry.title, pdf.get_destination_page_number(entry)) for entry in top]
    assert [title for title, _ in flat] == ["Contents", "One", "Two"]
    assert dict(flat)["Two"] == page_with(pdf, "Two\n")
    below = ["Far below", "How long is the answer to x =1, in a line that is broken?"]
    assert [entry.title for entry in pdf.outline[2]] == below
    assert set(links(pdf, 1)) == {number for _, number in flat[1:]}


def test_the_archive_holds_the_site_in_one_folder(book):
    with zipfile.ZipFile(site.pack(book)) as archive:
        assert set(archive.namelist()) == {f"{book.root.name}/{name}.html" for name in ("index", "one", "two")}
