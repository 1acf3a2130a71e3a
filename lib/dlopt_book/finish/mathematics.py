"""Formulas as HTML: MathJax runs when the book is built, in the Node.js that Playwright brings along."""

import hashlib
import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

INLINE = re.compile(r'([(\[“]*)(<span class="math\b[^>]*>)\s*\\\((?P<tex>.+?)\\\)\s*</span>([^\s<&]{0,16})', re.DOTALL)
DISPLAY = re.compile(r'(<div class="[^"]*\bmath\b[^>]*>(?:\s*<span class="eqno">.*?</span>)?)'
                     r"\s*\\\[(?P<tex>.+?)\\\]\s*(?=</div>)", re.DOTALL)
USED = re.compile(r"mjx-c([0-9A-F]+)")
SCRIPT = Path(__file__).with_name("typeset.js")


def mathjax():
    """The folder of MathJax 3 that the package sphinx-mathjax-offline brings along."""
    return Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"


def node():
    """The path of a Node.js: Playwright's own, else one on ``PATH``; None if there is none."""
    try:
        from playwright._impl._driver import compute_driver_executable

        own = compute_driver_executable()
        own = Path(own[0] if isinstance(own, tuple) else own)
        return str(own) if own.exists() else shutil.which("node")
    except ImportError:
        return shutil.which("node")


def formulas(page):
    """The formulas in a page's HTML that are not typeset yet, as a set of pairs (TeX, whether displayed)."""
    return {(html.unescape(match["tex"]).strip(), pattern is DISPLAY) for pattern in (INLINE, DISPLAY)
            for match in pattern.finditer(page)}


def with_formulas(page, typeset):
    """The page with its formulas replaced; ``typeset`` maps pairs (TeX, displayed) to HTML."""
    def inline(match):
        before, tag, tex, after = match.groups()
        formula = f"{tag}{typeset[html.unescape(tex).strip(), False]}</span>"
        return f'<span class="held">{before}{formula}{after}</span>' if before or after else formula

    page = INLINE.sub(inline, page)
    return DISPLAY.sub(lambda match: match[1] + typeset[html.unescape(match["tex"]).strip(), True], page)


class Typesetter:
    """Typesets formulas and remembers them in a file, so that a book that is built again typesets what is new.

    Args:
        memory: the JSON file; it is made and overwritten as needed.
        tex: options of MathJax's TeX input, such as ``{"macros": {...}}``.
    """

    def __init__(self, memory, tex=None):
        self.memory, self.tex = Path(memory), tex or {}
        self.stamp = hashlib.sha256((SCRIPT.read_text(encoding="utf-8") + json.dumps(self.tex)).encode()).hexdigest()
        known = json.loads(self.memory.read_text(encoding="utf-8")) if self.memory.exists() else {}
        self.known = known if known.get("stamp") == self.stamp else {"stamp": self.stamp, "formulas": {}, "css": ""}

    def __call__(self, wanted):
        """A dict from each pair (TeX, displayed) in ``wanted`` to its HTML.

        Raises:
            FileNotFoundError: there is no Node.js.
            RuntimeError: MathJax does not run; holds what it said.
        """
        missing = sorted(pair for pair in wanted if _key(pair) not in self.known["formulas"])
        if missing or not self.known["css"]:
            answer = self._run(missing)
            self.known["formulas"].update(zip(map(_key, missing), map(_shorter, answer["formulas"])))
            self.known["css"] = answer["css"]
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            self.memory.write_text(json.dumps(self.known), encoding="utf-8")
        return {pair: self.known["formulas"][_key(pair)] for pair in wanted}

    def _run(self, pairs):
        program = node()
        if program is None:
            raise FileNotFoundError("no Node.js to typeset with: pip install playwright, or put node on PATH")
        asked = json.dumps({"root": str(mathjax()), "tex": self.tex, "formulas": pairs})
        done = subprocess.run([program, str(SCRIPT)], input=asked, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise RuntimeError(f"MathJax does not run: {done.stderr.strip()[-400:]}")
        return json.loads(done.stdout)

    def css(self, used):
        """MathJax's style rules for pages that use these characters (hexadecimal codes, see `characters`)."""
        rules = re.sub(r"/\*.*?\*/", "", self.known["css"]).strip().split("\n\n")
        kept = [" ".join(rule.split()) for rule in rules if set(USED.findall(rule)) <= used]
        return "\n".join(kept).replace("FONTS", "../fonts") + "\n"


def characters(page):
    """The codes of the characters that the formulas of a page are made of."""
    return set(USED.findall(page))


def complaint(typeset):
    """What MathJax says is wrong with a formula, given as HTML; None if nothing is."""
    found = re.search(r'data-mjx-error="([^"]*)"', typeset)
    return html.unescape(found[1]) if found else None


def _key(pair):
    return ("D" if pair[1] else "I") + pair[0]


def _shorter(text):
    return re.sub(r' (data-mjx-texclass="\w+"|xmlns="[^"]*"|unselectable="on"|style="position: relative;")', "", text)
