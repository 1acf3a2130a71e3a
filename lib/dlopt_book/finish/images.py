"""Images that say how large they are, so that the text does not jump, and that load when they come into view."""

import posixpath
import re
import struct
from pathlib import Path

IMAGE = re.compile(r"<img\b[^>]*>")
LENGTH = re.compile(r"\s*([\d.]+)\s*(px|pt|in|)")
STYLE = re.compile(r" style=\"width: \d+px; height: \d+px;\"")  # by a notebook; it could not shrink
PIXELS = {"px": 1, "": 1, "pt": 4 / 3, "in": 96}  # CSS pixels a unit
METRE = 96 / 0.0254  # CSS pixels
WIDE = 700  # CSS pixels; a wider picture holds several panels, and on a phone it scrolls rather than shrinks


def size(path):
    """Width and height of a PNG or SVG in CSS pixels; None if the file does not say."""
    path = Path(path)
    if path.suffix == ".png":
        return _size_of_png(path.read_bytes())
    if path.suffix == ".svg":
        tag = re.search(r"<svg\b[^>]*>", path.read_text(encoding="utf-8"))
        found = [re.search(rf'\s{name}="([^"]*)"', tag[0]) for name in ("width", "height")] if tag else [None]
        lengths = [LENGTH.fullmatch(match[1]) if match else None for match in found]
        return tuple(round(float(m[1]) * PIXELS[m[2]]) for m in lengths) if all(lengths) else None
    return None


def _size_of_png(data):
    if data[12:16] != b"IHDR":
        return None
    pixels, at = struct.unpack(">II", data[16:24]), data.find(b"pHYs", 24, data.find(b"IDAT"))
    across, down, unit = struct.unpack(">IIB", data[at + 4 : at + 13]) if at > 0 else (0, 0, 0)
    scales = (METRE / across, METRE / down) if unit == 1 else (1, 1)  # unit 1: dots a metre are given
    return tuple(round(length * scale) for length, scale in zip(pixels, scales))


def sized(page, folder):
    """The page with ``width``, ``height``, ``loading`` and ``decoding`` on the images of its text.

    A picture wider than ``WIDE`` is put into a box of the class ``dlopt-wide``.

    Args:
        page: HTML.
        folder: where the page is; addresses of images are relative to it.
    """
    def changed(match):
        tag = match[0]
        source = re.search(r'\ssrc="([^":]+)"', tag)
        if not source or "_images/" not in source[1] or " loading=" in tag:
            return tag
        extra = ' loading="lazy" decoding="async"'
        file = Path(posixpath.normpath((Path(folder) / source[1]).as_posix()))
        measured = size(file) if file.exists() and " width=" not in tag else None
        if measured:
            tag = STYLE.sub("", tag)
            extra += f' width="{measured[0]}" height="{measured[1]}"'
        wide = measured and measured[0] > WIDE
        return ('<span class="dlopt-wide">' if wide else "") + f"<img{extra}{tag[4:]}" + ("</span>" if wide else "")

    return IMAGE.sub(changed, page)
