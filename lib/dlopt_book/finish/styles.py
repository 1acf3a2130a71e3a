"""One style sheet for the whole site, with the rules that some page can use."""

import posixpath
import re
from pathlib import Path

import tinycss2

NESTING = ("media", "supports", "layer", "container")
CLASS = re.compile(r"[.#]((?:\\.|[\w-])+)")
OPTIONAL = re.compile(r":(?:not|is|where|has|host)\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|\[[^\]]*\]")
URL = re.compile(r"url\(\s*(['\"]?)(?!data:|#|https?:)([^'\")]+)\1\s*\)")
IMPORT = re.compile(r"""@import\s+(?:url\()?\s*['"]?([^'")\s]+)['"]?\s*\)?[^;]*;""")
WORD = re.compile(r"[A-Za-z_][\w-]*")


def combined(folder, names):
    """The style sheets ``names`` below ``folder`` as one text for a subfolder of it, with what they import."""
    return "\n".join(_text(Path(folder), name) for name in names)


def _text(folder, name):
    css, here = (folder / name).read_text(encoding="utf-8"), posixpath.dirname(name)
    css = re.sub(r"/\*.*?\*/|@charset [^;]*;", "", css, flags=re.DOTALL)
    imported = [posixpath.normpath(posixpath.join(here, found.split("?")[0])) for found in IMPORT.findall(css)]
    own = URL.sub(lambda m: f'url("../{posixpath.normpath(posixpath.join(here, m[2]))}")', IMPORT.sub("", css))
    return "\n".join([_text(folder, other) for other in imported] + [own])


def pruned(css, words):
    """The rules of ``css`` whose every class and id is one of ``words``, in their order."""
    return "".join(_kept(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True), words))


def _kept(rules, words):
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [s for s in _split(tinycss2.serialize(rule.prelude)) if possible(s, words)]
            if selectors:
                yield ",".join(selectors) + "{" + _short(tinycss2.serialize(rule.content)) + "}\n"
        elif rule.type == "at-rule" and rule.lower_at_keyword in NESTING and rule.content is not None:
            inner = "".join(_kept(tinycss2.parse_rule_list(rule.content, True, True), words))
            if inner:
                yield f"@{rule.at_keyword} {tinycss2.serialize(rule.prelude).strip()}{{{inner}}}\n"
        elif rule.type == "at-rule":
            yield rule.serialize() + "\n"


def possible(selector, words):
    """Whether an element can match ``selector`` where ``words`` are all classes and ids there are."""
    return all(re.sub(r"\\(.)", r"\1", name) in words for name in CLASS.findall(OPTIONAL.sub("", selector)))


def _split(prelude):
    """The selectors of a list; commas inside brackets separate nothing."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(prelude):
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append(prelude[start:i].strip())
            start = i + 1
    return [*parts, prelude[start:].strip()]


def _short(content):
    return re.sub(r"\s+", " ", content).strip().rstrip(";")


def words_of_page(page):
    """Every class and id of a page's elements."""
    found = re.findall(r"""\b(?:class|id)\s*=\s*(?:"([^"]*)"|'([^']*)')""", page)
    return {word for pair in found for text in pair for word in text.split()}


def words_of_script(script):
    """Everything in a script that may be a class or an id."""
    return set(WORD.findall(script))
