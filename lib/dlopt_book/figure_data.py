"""The numbers behind the figures, as CSV files beside the site and a link under each figure."""

import re
from pathlib import Path

MIME = "application/vnd.dlopt.figure+json"
FOLDER = "_downloads/data"
CAPTION = re.compile(r'(<figure\b[^>]*\bid="([^"]+)"[^>]*>(?:(?!</figure>).)*?)((?:</p>\s*)?</figcaption>)', re.DOTALL)


def tables(notebook):
    """The figures of an executed notebook that come with numbers: name -> CSV text."""
    found = {}
    for cell in notebook.cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        for output in cell.get("outputs", []):
            if name and MIME in output.get("data", {}):
                found[name] = output["data"][MIME]["csv"]
    return found


def with_links(body, names, address):
    """The page's HTML with a link to the data under each figure in ``names``; ``address`` maps a name to its CSV."""
    def linked(match):
        if match[2] not in names:
            return match[0]
        link = f'<a href="{address(match[2])}" download aria-label="Data of {match[2]}, CSV">data</a>'
        return f'{match[1]}<span class="dlopt-data">{link}</span>{match[3]}'

    return CAPTION.sub(linked, body)


def write(folder, tables):
    """Write the tables below a site's folder."""
    target = Path(folder) / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name, text in tables.items():
        (target / f"{name}.csv").write_text(text, encoding="utf-8")
