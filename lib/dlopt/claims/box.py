"""How a claim looks: plain text, and a small HTML box that is legible on light and dark pages."""

import html
import math
import re

from dlopt.claims.items import ITEMS

SYMBOLS = {"holds": "✓", "holds with limits": "◐", "does not show at this scale": "○", "false": "✗"}

# One rule set for JupyterLab (--jp-*), the site (--pst-*) and a bare page. The :has() rule undoes the light card that
# the site's theme puts behind HTML outputs in dark mode. Color only repeats what symbol and words say.
STYLE = """<style>
.dlopt-claim{--edge:#0072b2;border:1px solid var(--pst-color-border,var(--jp-border-color1,#8a8f98));
border-left:.4rem solid var(--edge);border-radius:.3rem;padding:.5rem .8rem;margin:.4rem 0;max-width:46rem;
line-height:1.45;background:var(--pst-color-surface,var(--jp-layout-color1,#fff));
color:var(--pst-color-text-base,var(--jp-content-font-color1,#1c1e21));font-family:inherit;font-size:.95rem}
.dlopt-claim p{margin:.15rem 0;color:inherit}
.dlopt-claim[data-verdict="false"]{--edge:#d55e00}.dlopt-claim[data-verdict^="does"]{--edge:#8a8f98}
.dlopt-claim[data-verdict$="limits"]{--edge:#e69f00}
html[data-theme=dark] .bd-content div.cell_output .text_html.text_html:has(.dlopt-claim){background:transparent;
color:var(--pst-color-text-base);padding:0}
@media print{.dlopt-claim{break-inside:avoid}}
</style>"""


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(x, digits=4):
    """``x`` with ``digits`` significant digits, a true minus sign, no trailing zeros, and no e for "times ten to the".

    >>> format_number(11012.3), format_number(9.63612e-16), format_number(-2.5)
    ('11,010', '9.636 × 10⁻¹⁶', '−2.5')
    """
    text, _, power = f"{x:.{digits}g}".partition("e")
    if power and 0 < int(power) < 7:
        return f"{float(text + 'e' + power):,.0f}".replace("-", "−")
    text = text.replace("-", "−")
    return f"{text} × 10{str(int(power)).translate(RAISED)}" if power else text


def format_interval(mean, low, high, unit=""):
    """``mean [low, high] unit``, rounded so that the width of the interval keeps two significant digits.

    >>> format_interval(0.123456, 0.1122, 0.1347, "nats")
    '0.123 [0.112, 0.135] nats'
    """
    width = high - low
    biggest = max(abs(mean), abs(low), abs(high))
    if width > 0 and 1e-4 <= biggest < 1e6:
        decimals = max(0, 1 - math.floor(math.log10(width) + 1e-9))
        text = [f"{x:.{min(decimals, 10)}f}".replace("-", "−") for x in (mean, low, high)]
    else:
        text = [format_number(x) for x in (mean, low, high)]
    exact = low == high
    return " ".join(filter(None, [text[0] if exact else f"{text[0]} [{text[1]}, {text[2]}]", unit]))


def anchor(item, part=None):
    """The HTML id of a claim's box, to which the ledger links: ``claim-s37-wide-nets``."""
    slug = re.sub(r"[^a-z0-9]+", "-", (part or "").lower()).strip("-")
    return "-".join(filter(None, ["claim", item.lower(), slug]))


def _heading(claim):
    part = "" if claim.part is None else f" ({claim.part})"
    return f"{claim.item}{part}"


def _numbers(claim):
    runs = "exact" if claim.n == 1 and claim.low == claim.high else f"n = {claim.n}"
    return f"{format_interval(claim.effect, claim.low, claim.high, claim.unit)}, {runs}"


def as_text(claim):
    """Plain-text form, for consoles and for readers without HTML."""
    lines = [f"{_heading(claim)}: {claim.verdict} {SYMBOLS[claim.verdict]}", f"  says: {ITEMS[claim.item].statement}",
             f"  effect: {_numbers(claim)}"]
    return "\n".join(lines + ([f"  note: {claim.note}"] if claim.note else []))


def as_html(claim):
    """The verdict box."""
    item = ITEMS[claim.item]
    said_by = f"source{'s' if len(item.sources) > 1 else ''} {', '.join(item.sources)}"
    correction = f"<p><strong>Instead:</strong> {html.escape(item.correction)}</p>" if item.correction else ""
    note = f"<p><strong>Note:</strong> {html.escape(claim.note)}</p>" if claim.note else ""
    return (f'{STYLE}<div class="dlopt-claim" id="{anchor(claim.item, claim.part)}" role="note" '
            f'aria-label="Verdict on {html.escape(_heading(claim))}" '
            f'data-item="{claim.item}" data-verdict="{claim.verdict}">'
            f"<p><strong>{html.escape(_heading(claim))}: {claim.verdict} "
            f'<span aria-hidden="true">{SYMBOLS[claim.verdict]}</span></strong></p>'
            f"<p>{html.escape(item.statement)} <small>({said_by})</small></p>{correction}"
            f"<p><strong>Effect:</strong> {html.escape(_numbers(claim))}</p>{note}</div>")
