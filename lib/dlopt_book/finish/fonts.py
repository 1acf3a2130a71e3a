"""Fonts with the characters that the site uses, and no others."""

import re
import shutil
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

ICONS = {"fa-solid-900": ("Font Awesome 6 Free", 900), "fa-regular-400": ("Font Awesome 6 Free", 400),
         "fa-brands-400": ("Font Awesome 6 Brands", 400)}  # file -> family and weight
FACE = re.compile(r"@font-face[^{]*\{[^}]*\}")


def _private(c):
    return "\ue000" <= c <= "\uf8ff"


def write_subset(source, target, text):
    """Write the font ``source`` with the characters of ``text`` as a WOFF; a font that has none of them is left out.

    Returns:
        Whether the font was written.
    """
    options = subset.Options(flavor="woff", hinting=False, layout_features=[], notdef_outline=True)
    options.drop_tables += ["FFTM"]
    with TTFont(source) as font:
        wanted = {ord(c) for c in text} & set(font.getBestCmap() or {})
        if not wanted:
            return False
        worker = subset.Subsetter(options)
        worker.populate(unicodes=wanted)
        worker.subset(font)
        subset.save_font(font, target, options)
    return True


def write_icons(source, target, icons, css):
    """Write Font Awesome with the icons that the site shows; returns the style rules that show them.

    Args:
        source: the folder of Font Awesome's fonts, as the theme brings them along.
        target: the folder of the site's fonts.
        icons: classes such as ``fa-bars``; a class that is no icon (``fa-solid``) does no harm.
        css: the site's other style rules; icons that stand in them as characters are kept, too.
    """
    if not Path(source).is_dir():
        return ""
    used = {int(code, 16) for code in re.findall(r"\\([ef][0-9a-f]{3})\b", css)} | {ord(c) for c in css if _private(c)}
    rules, found = [], {}
    for name in ICONS:
        with TTFont(Path(source) / f"{name}.ttf") as font:
            codes = {glyph: code for code, glyph in font.getBestCmap().items()}
        found |= {icon: codes[icon.removeprefix("fa-")] for icon in icons if icon.removeprefix("fa-") in codes}
    text = "".join(map(chr, used | set(found.values())))
    Path(target).mkdir(parents=True, exist_ok=True)
    for name, (family, weight) in ICONS.items():
        if write_subset(Path(source) / f"{name}.ttf", Path(target) / f"{name}.woff", text):
            rules.append(f'@font-face{{font-family:"{family}";font-weight:{weight};font-display:block;'
                         f'src:url("../fonts/{name}.woff") format("woff")}}')
    rules += [f'.{icon}::before{{content:"\\{code:x}"}}' for icon, code in sorted(found.items())]
    return "\n".join(rules) + "\n"


def write_math(source, target, css):
    """Write MathJax's fonts with the characters that the rules in ``css`` show; returns the rules without the rest."""
    text = "".join(_characters(css))
    Path(target).mkdir(parents=True, exist_ok=True)
    for face in FACE.findall(css):
        name = re.search(r"fonts/([\w-]+)\.woff", face)[1]
        if name == "MathJax_Zero":  # holds no characters: it sets the height of the line
            shutil.copy2(Path(source) / f"{name}.woff", Path(target))
        elif not write_subset(Path(source) / f"{name}.woff", Path(target) / f"{name}.woff", text):
            css = css.replace(face, "")
    return css


def _characters(css):
    for content in re.findall(r'content:\s*"((?:\\.|[^"\\])*)"', css):
        escaped = re.findall(r"\\([0-9A-Fa-f]+) ?", content)
        yield from (chr(int(code, 16)) for code in escaped)
        yield re.sub(r"\\[0-9A-Fa-f]+ ?|\\", "", content)
