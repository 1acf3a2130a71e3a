"""From signed distance fields to images: affine map, stroke, blur, clutter, noise; one vectorized pass per chunk.

Everything that decides a pixel is an addition, multiplication, division, root, floor or comparison, each in a kernel of
its own, on uniform random numbers that are exact multiples of 2**-24. IEEE arithmetic fixes the results of these, so
the images do not depend on the processor or the number of threads; functions that libraries round differently (sin,
exp, normal deviates, matrix products, interpolation kernels) are avoided.
"""

import math
from dataclasses import dataclass

import torch

from dlopt.data.fonts import REACH, SIDE

CLUTTER = 3  # strokes of clutter per image at most
N_UNIFORM = 12 + 6 * CLUTTER  # uniform numbers per image, pixel noise aside


@dataclass(frozen=True)
class Strength:
    """How far each disturbance reaches at difficulty ``d``; lengths in units of half the image side unless stated.

    Attributes:
        turn: largest rotation, in radians.
        zoom: relative spread of the size; shear: largest shear and half the spread of the aspect ratio.
        shift: largest displacement of the character.
        stroke: largest change of the half stroke width, in units of the character's height.
        blur: largest half width of an edge's ramp, in pixels (at least 0.6, which antialiases).
        fade: largest loss of contrast; clutter: probability of each stroke of clutter; noise: standard deviation of the
            pixel noise (triangular), as a share of the gray scale.
    """

    turn: float
    zoom: float
    shear: float
    shift: float
    stroke: float
    blur: float
    fade: float
    clutter: float
    noise: float

    @classmethod
    def of(cls, d):
        """The strengths at difficulty ``d`` in [0, 1], all proportional to d (blur: above its least value)."""
        return cls(
            turn=0.8 * d, zoom=0.4 * d, shear=0.4 * d, shift=0.35 * d, stroke=0.06 * d, blur=0.6 + 1.2 * d,
            fade=0.6 * d, clutter=0.45 * d, noise=0.16 * d,
        )  # fmt: skip


def _inverse_affine(u, s):
    """Image coordinates to character coordinates: rows (a, b, c) and (d, e, f), each [n, 1, 1].

    The rotation comes from t = tan(angle / 2), uniform, as cos = (1 - t^2) / (1 + t^2), sin = 2 t / (1 + t^2).
    """
    spread = 2 * u - 1  # in [-1, 1)
    t = spread[:, 0] * math.tan(s.turn / 2)
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    size = 1.3 * (1 + s.zoom * (u[:, 1] - 0.6))  # character height; the image side is 2
    aspect, shear = 1 + s.shear * spread[:, 2] / 2, s.shear * spread[:, 3]
    x0, y0 = s.shift * spread[:, 4], s.shift * spread[:, 5]
    # character -> image is rotation @ [[1, shear], [0, 1]] @ diag(size * aspect, size), then the displacement
    a, b = (cos - shear * -sin) / (size * aspect), (sin - shear * cos) / (size * aspect)
    d, e = -sin / size, cos / size
    rows = a, b, -(a * x0 + b * y0), d, e, -(d * x0 + e * y0)
    return [row[:, None, None] for row in rows]


def _sample(fields, which, x, y):
    """Bilinear interpolation of ``fields[which]`` at character coordinates x, y [n, h, w], clamped to the border."""
    flat, scale, top = fields.reshape(-1), (SIDE - 1) / (2 * REACH), SIDE - 1.001
    x = ((x + REACH) * scale).clamp_(0, top)
    y = ((y + REACH) * scale).clamp_(0, top)
    left, upper = x.floor(), y.floor()
    x, y = x - left, y - upper
    corner = ((upper * SIDE + left).to(torch.int32) + (which * SIDE * SIDE).to(torch.int32)[:, None, None]).reshape(-1)

    def value(offset):
        return flat.index_select(0, corner + offset).view(x.shape)

    above, below = value(0), value(SIDE)
    above = above + (value(1) - above) * x
    below = below + (value(SIDE + 1) - below) * x
    return above + (below - above) * y


def _stroke_of_clutter(u, s, gray, px, py):
    """Ink of one short straight stroke per image, [n, h, w]: absent with probability 1 - s.clutter."""
    t = (2 * u[:, 0] - 1)[:, None, None]
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)  # directions over half a turn: a stroke has no arrow
    x0, y0 = (2 * u[:, 1] - 1)[:, None, None], (2 * u[:, 2] - 1)[:, None, None]
    length, width = (0.1 + 0.5 * u[:, 3])[:, None, None], (0.04 + 0.08 * u[:, 4])[:, None, None]
    present = (u[:, 5] < s.clutter)[:, None, None] * gray
    across = ((px - x0) * sin + (y0 - py) * cos).abs_()
    beyond = ((px - x0) * cos + (py - y0) * sin).abs_() - length
    distance = torch.maximum(across, beyond)
    ramp = 0.5 * px.shape[-1] / 2
    return ((width - distance) * ramp + 0.5).clamp_(0, 1) * present


def render(fields, which, u, size, strength, generator):
    """Images of one chunk.

    Args:
        fields: float32 [k, SIDE, SIDE], signed distance fields.
        which: int64 [n], the field of each image.
        u: float32 [n, N_UNIFORM], uniform in [0, 1).
        size: image side in pixels.
        strength: ``Strength``.
        generator: for the pixel noise, on the device of ``fields``.

    Returns:
        uint8 [n, size, size]; background dark, character bright.
    """
    s = strength
    axis = (torch.arange(size, device=fields.device, dtype=torch.float32) * 2 + 1 - size) / size
    px, py = axis[None, None, :], axis[None, :, None]
    a, b, c, d, e, f = _inverse_affine(u, s)
    distance = _sample(fields, which, a * px + (b * py + c), d * px + (e * py + f))
    thicker = (s.stroke * (2 * u[:, 6] - 1))[:, None, None]
    pixels = 1.3 * size / 2  # character height in pixels
    ramp = 2 * (0.6 + (s.blur - 0.6) * u[:, 7])
    ink = ((distance + thicker) * (pixels / ramp)[:, None, None] + 0.5).clamp_(0, 1)
    ink = ink * (1 - s.fade * u[:, 8])[:, None, None]
    for k in range(CLUTTER if s.clutter > 0 else 0):
        part = u[:, 12 + 6 * k : 18 + 6 * k]
        gray = (1 - s.fade * u[:, 9 + k])[:, None, None]
        ink = torch.maximum(ink, _stroke_of_clutter(part, s, gray, px, py))
    image = 0.1 + 0.8 * ink
    if s.noise > 0:
        draws = torch.rand(2, *image.shape, generator=generator, device=image.device)
        image = image + (draws[0] - draws[1]) * (s.noise * math.sqrt(6))
    return (image.clamp_(0, 1) * 255).round_().to(torch.uint8)
