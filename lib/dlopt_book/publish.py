"""What a site says of itself to others once it has an address: canonical links, cards for links, a map of its pages."""

import html
from pathlib import Path
from urllib.parse import urljoin

CARDS = "_static/cards"
LAUNCH = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"}


def launch_options(options):
    """The theme's options with the buttons of Binder and Colab if ``repository_url`` is set, else without any.

    JupyterHub has no common address: ``launch_buttons: {jupyterhub_url: ...}`` in ``_config.yml`` adds its button.
    """
    options = dict(options)
    if not options.get("repository_url"):
        for name in ("launch_buttons", "use_repository_button", "use_issues_button", "use_edit_page_button"):
            options.pop(name, None)
        return options
    options["launch_buttons"] = {"notebook_interface": "jupyterlab", **LAUNCH, **options.get("launch_buttons", {})}
    return {"use_repository_button": True, "use_issues_button": True, **options}


def tags(base, page, title, description, name):
    """The ``<meta>`` elements of a page for those who show links to it.

    Args:
        base: the site's address; without one, what needs an address is left out.
        page: the page's address below it.
        title, description: what the page is.
        name: the book's title.
    """
    said = {"og:type": "article", "og:title": title, "og:description": description, "og:site_name": name}
    if base:
        said |= {"og:url": urljoin(base, page), "og:image": urljoin(base, f"{CARDS}/{card_name(page)}"),
                 "og:image:width": "1200", "og:image:height": "630", "og:image:alt": title}
    lines = [f'<meta property="{key}" content="{html.escape(value, quote=True)}" />' for key, value in said.items()]
    if base:
        lines.append('<meta name="twitter:card" content="summary_large_image" />')
    return "\n".join(lines) + "\n"


def card_name(page):
    """The file of a page's card."""
    return page.removesuffix(".html").replace("/", "-") + ".png"


def write_card(target, title, text, name):
    """Draw a card of 1200 by 630 pixels: the page's title, its question or description, the book's name."""
    import textwrap

    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor="#102a43")
    FigureCanvasAgg(figure)
    lines = {"color": "white", "ha": "left", "va": "top", "parse_math": False}
    figure.text(0.07, 0.84, textwrap.fill(title, 26), fontsize=54, weight="bold", linespacing=1.1, **lines)
    figure.text(0.07, 0.46, textwrap.fill(text, 52)[:220], fontsize=27, linespacing=1.35, **lines)
    figure.text(0.07, 0.11, name, fontsize=22, **{**lines, "color": "#ffb454"})
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"savefig.bbox": "standard", "savefig.dpi": "figure"}):  # whatever style a process has set
        figure.savefig(target, metadata={"Software": None})


def sitemap(base, pages):
    """A sitemap of pages, given as addresses below ``base``, as XML."""
    entries = "".join(f"<url><loc>{html.escape(urljoin(base, page))}</loc></url>\n" for page in pages)
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
            f"{entries}</urlset>\n")
