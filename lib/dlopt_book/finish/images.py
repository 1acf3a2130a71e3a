"""Images that say how large they are, so that the text does not jump, and that load when they come into view."""

import posixpath
import re
import struct
from pathlib import Path

IMAGE = re.compile(r"<img\b[^>]*>")
LENGTH = re.compile(r"\s*([\d.]+)\s*(px|pt|in|)")
PIXELS = {"px": 1, "": 1, "pt": 4 / 3, "in": 96}  # CSS pixels a unit


def size(path):
    """Width and height of a PNG or SVG in CSS pixels; None if the file does not say."""
    path = Path(path)
    if path.suffix == ".png":
        head = path.read_bytes()[:24]
        return struct.unpack(">II", head[16:24]) if head[12:16] == b"IHDR" else None
    if path.suffix == ".svg":
        tag = re.search(r"<svg\b[^>]*>", path.read_text(encoding="utf-8"))
        found = [re.search(rf'\s{name}="([^"]*)"', tag[0]) for name in ("width", "height")] if tag else [None]
        lengths = [LENGTH.fullmatch(match[1]) if match else None for match in found]
        return tuple(round(float(m[1]) * PIXELS[m[2]]) for m in lengths) if all(lengths) else None
    return None


def sized(page, folder):
    """The page with ``width``, ``height``, ``loading`` and ``decoding`` on the images of its text.

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
            extra += f' width="{measured[0]}" height="{measured[1]}"'
        return f"<img{extra}{tag[4:]}"

    return IMAGE.sub(changed, page)
