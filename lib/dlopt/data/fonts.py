"""Characters as signed distance fields, from the fonts that ship with matplotlib.

Only DejaVu and STIX are used: their licence files ship beside them. Outlines are read as the whole numbers of the font
file and the fields are rounded to multiples of 2**-12, so that they do not depend on a rasterizer or a processor.
"""

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

from dlopt.checks import one_of

FONTS = tuple(
    [f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
    + [f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
    + [f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")]
    + [f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")]
)
ALPHABETS = {"digits": "0123456789", "letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
LICENCE = "DejaVu: Bitstream Vera terms; STIX: SIL Open Font License 1.1 (LICENSE_DEJAVU, LICENSE_STIX in matplotlib)"
SIDE = 72  # samples per axis of a field
REACH = 0.75  # a field covers [-REACH, REACH] in units of the character's larger side
PIECES = 6  # straight pieces per curve


def font_path(name):
    """Path of the font file ``name`` inside matplotlib's data.

    Raises:
        ValueError: a font that is not among ``FONTS``.
        FileNotFoundError: this installation of matplotlib does not contain it.
    """
    one_of("font", name, FONTS)
    spec = importlib.util.find_spec("matplotlib")
    root = Path(spec.submodule_search_locations[0]) if spec else Path("matplotlib is not installed")
    path = root / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    if not path.is_file():
        raise FileNotFoundError(f"matplotlib must bring the font {name}.ttf, not found at {path}; reinstall matplotlib")
    return path


@lru_cache
def fingerprint():
    """SHA-256 over all font files, hexadecimal: part of every cache key."""
    digest = hashlib.sha256()
    for name in FONTS:
        digest.update(font_path(name).read_bytes())
    return digest.hexdigest()


class _Pieces(BasePen):
    """Collects an outline as straight pieces (start, end)."""

    def __init__(self, glyph_set):
        super().__init__(glyph_set)
        self.pieces = []

    def _moveTo(self, point):
        self.start = point

    def _lineTo(self, point):
        self.pieces.append((self._getCurrentPoint(), point))

    def _qCurveToOne(self, control, end):
        a, previous = self._getCurrentPoint(), self._getCurrentPoint()
        for t in (k / PIECES for k in range(1, PIECES + 1)):
            point = tuple((1 - t) ** 2 * p + 2 * t * (1 - t) * q + t**2 * r for p, q, r in zip(a, control, end))
            self.pieces.append((previous, point))
            previous = point

    def _closePath(self):
        self.pieces.append((self._getCurrentPoint(), self.start))


def outline(glyph_set, name):
    """Closed outline of one character as straight pieces, float64 [pieces, 2, 2] (start and end; x and y), centered and
    scaled so that the larger side of its bounding box is 1."""
    pen = _Pieces(glyph_set)
    glyph_set[name].draw(pen)
    points = np.array([piece for piece in pen.pieces if piece[0] != piece[1]], dtype=np.float64)
    low, high = points.min((0, 1)), points.max((0, 1))
    return (points - (low + high) / 2) / (high - low).max()


def distance_field(pieces):
    """Signed distance to the outline, positive inside, float32 [SIDE, SIDE]; row 0 is the top.

    Inside is where the winding number is not 0, as TrueType defines it.
    """
    axis = (torch.arange(SIDE, dtype=torch.float64) / (SIDE - 1) * 2 - 1) * REACH
    x, y = axis[None, :, None], -axis[:, None, None]
    (x0, y0), (x1, y1) = torch.tensor(pieces[:, 0].T), torch.tensor(pieces[:, 1].T)
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    ex, ey = x - x0 - along * dx, y - y0 - along * dy
    distance = (ex * ex + ey * ey).amin(-1).sqrt()
    left = dx * (y - y0) - dy * (x - x0) > 0
    up, down = (y0 <= y) & (y1 > y) & left, (y0 > y) & (y1 <= y) & ~left
    inside = up.sum(-1) != down.sum(-1)
    signed = torch.where(inside, distance, -distance)
    return ((signed * 4096).round() / 4096).float()


@lru_cache
def masters(alphabet):
    """Fields of all characters of ``alphabet`` in all fonts, float32 [fonts, characters, SIDE, SIDE]."""
    characters = ALPHABETS[one_of("alphabet", alphabet, ALPHABETS)]
    fields = []
    for name in FONTS:
        with TTFont(font_path(name), lazy=True) as font:
            glyph_set, table = font.getGlyphSet(), font.getBestCmap()
            fields += [distance_field(outline(glyph_set, table[ord(c)])) for c in characters]
    return torch.stack(fields).view(len(FONTS), len(characters), SIDE, SIDE)
