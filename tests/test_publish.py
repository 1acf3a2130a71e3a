"""What a site says of itself once it has an address, and that it says nothing of the kind before."""

import struct

from dlopt_book import figure_data, publish
from nbformat.v4 import new_code_cell, new_notebook, new_output

ADDRESS = {"repository_url": "https://github.com/a/b", "show_toc_level": 2}


def test_buttons_appear_with_the_repository_and_only_then():
    nowhere = ADDRESS | {"repository_url": ""}
    assert publish.launch_options(nowhere | {"launch_buttons": {"colab_url": "x"}}) == nowhere
    options = publish.launch_options(ADDRESS | {"launch_buttons": {"jupyterhub_url": "https://hub.example.org"}})
    assert options["launch_buttons"].keys() == {"notebook_interface", "binderhub_url", "colab_url", "jupyterhub_url"}
    assert options["use_repository_button"] and options["show_toc_level"] == 2


def test_the_repository_is_set_in_one_place(root):
    text = (root / "_config.yml").read_text()
    assert text.count("url:") == 1 and 'repository: {url: ""}' in text
    assert "launch_buttons" not in text


def test_links_and_pictures_need_an_address():
    with_address = publish.tags("https://example.org/book/", "chapters/a.html", "A", 'Say "a".', "Book")
    assert '"og:url" content="https://example.org/book/chapters/a.html"' in with_address
    assert '"og:image" content="https://example.org/book/_static/cards/chapters-a.png"' in with_address
    without = publish.tags("", "chapters/a.html", "A", 'Say "a".', "Book")
    assert "og:url" not in without and "og:image" not in without and "Say &quot;a&quot;." in without


def test_a_card_is_a_picture_of_the_size_that_is_announced(tmp_path):
    publish.write_card(tmp_path / "cards" / "a.png", "A title with $100", "What does it ask? " * 20, "Book")
    head = (tmp_path / "cards" / "a.png").read_bytes()[:24]
    assert struct.unpack(">II", head[16:]) == (1200, 630)


def test_the_sitemap_lists_full_addresses():
    text = publish.sitemap("https://example.org/", ["chapters/a.html", "index.html"])
    assert text.count("<loc>") == 2 and "<loc>https://example.org/chapters/a.html</loc>" in text


def test_without_an_address_the_site_has_no_sitemap_and_no_cards(site):
    assert not (site / "sitemap.xml").exists() and not (site / publish.CARDS).exists()


# ---------------------------------------------------------------- data of figures

def executed(name, csv):
    output = new_output("display_data", data={"image/png": "", figure_data.MIME: {"csv": csv}})
    metadata = {"mystnb": {"figure": {"name": name}}}
    return new_notebook(cells=[new_code_cell("plot()", outputs=[output], metadata=metadata)])


def test_the_numbers_of_a_figure_are_written_and_linked_under_it(tmp_path):
    tables = figure_data.tables(executed("fig-a", "x,y\n1,2\n"))
    figure_data.write(tmp_path, tables)
    assert (tmp_path / "_downloads" / "data" / "fig-a.csv").read_text() == "x,y\n1,2\n"
    body = '<figure class="f" id="fig-{}"><img><figcaption><p>A line.</p></figcaption></figure>'
    page = figure_data.with_links(body.format("b") + body.format("a"), tables, lambda name: f"../{name}.csv")
    assert page.count("<a ") == 1
    link = '<a href="../fig-a.csv" download aria-label="Data of fig-a, CSV">data</a>'
    assert page.index('id="fig-a"') < page.index(link)


def test_the_figures_of_the_site_come_with_their_data(site):
    assert "_downloads/data/fig-" in (site / "chapters" / "figures.html").read_text()
    assert all(path.read_text().startswith("panel,") for path in (site / "_downloads" / "data").glob("*.csv"))
