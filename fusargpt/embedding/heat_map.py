"""Scores as colours over a picture of the scene, with a scale; what has no score is hatched."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fusargpt.geo.box_drawing import FONT, INK

_LONGEST_SIDE = 2048
_SHARE_OF_COLOUR = 0.6
_HATCH_STEP = 12  # pixels
_HATCH = (150, 150, 155)
_BLANK = (60, 60, 66)
_FOOT = 64  # pixels, below the picture
_MARKED = (255, 255, 255)
_SMALLEST_MAP = 480
# From the lowest score to the highest: dark violet, red, orange, pale yellow. Lightness grows all the way, so that the
# order is seen by who does not see the hues.
_STOPS = np.array([(32, 12, 74), (106, 23, 110), (188, 55, 84), (243, 120, 25), (252, 200, 80), (252, 255, 190)])


def colours(shares: NDArray[np.floating]) -> NDArray[np.uint8]:
    """RGB uint8 [..., 3] of shares 0 to 1 of the scale."""
    at = np.clip(shares, 0, 1) * (len(_STOPS) - 1)
    steps = np.arange(len(_STOPS))
    return np.stack([np.interp(at, steps, _STOPS[:, channel]) for channel in range(3)], -1).round().astype(np.uint8)


def heat_map(
    picture: Image.Image | None,
    size: tuple[int, int],
    boxes: NDArray[np.int32],
    scores: NDArray[np.float32],
    marked: Sequence[int],
    title: str,
) -> Image.Image:
    """The scene in the colours of its tiles' scores, the scale below it.

    Args:
        picture: of the whole scene, RGB; None where it cannot be read any more.
        size: width and height of the scene in pixels.
        boxes: of the tiles in them, [N, 4]. Where tiles overlap, the highest score is seen.
        scores: of the tiles, [N].
        marked: rows of the tiles that get a frame with their rank, the best first.
        title: what was searched for.
    """
    width, height = size
    if picture is None:
        scale = min(1.0, _LONGEST_SIDE / max(size))
        picture = Image.new("RGB", (max(1, round(width * scale)), max(1, round(height * scale))), _BLANK)
    across, down = picture.width / width, picture.height / height
    places = np.round(boxes * np.array([across, down, across, down])).astype(int)
    low, high = float(scores.min()), float(scores.max())
    shades = colours((scores - low) / (high - low or 1.0))
    layer = np.zeros((picture.height, picture.width, 3), np.uint8)
    scored: NDArray[np.bool_] = np.zeros((picture.height, picture.width), np.bool_)
    for row in np.argsort(scores, kind="stable"):
        x1, y1, x2, y2 = places[row]
        layer[y1:y2, x1:x2] = shades[row]
        scored[y1:y2, x1:x2] = True
    grey = np.asarray(picture, np.float32)
    mixed = np.where(scored[..., None], grey + _SHARE_OF_COLOUR * (layer - grey), _hatched(grey))
    drawn = Image.fromarray(mixed.round().astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    for rank, row in reversed([*enumerate(marked, 1)]):
        x1, y1, x2, y2 = (int(edge) for edge in places[row])
        pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=_MARKED, width=2)
        if pen.textlength(str(rank), font=FONT) + 6 < x2 - x1:
            pen.text((x1 + 4, y1 + 1), str(rank), fill="white", font=FONT, stroke_width=2, stroke_fill=INK)
    return _with_scale(drawn, low, high, title, hatched=not scored.all())


def _hatched(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture under diagonal lines."""
    rows, columns = np.indices(grey.shape[:2])
    lines = np.less((rows + columns) % _HATCH_STEP, 2)
    return np.where(lines[..., None], np.array(_HATCH, np.float32), grey)


def _with_scale(drawn: Image.Image, low: float, high: float, title: str, *, hatched: bool) -> Image.Image:
    """The picture with its colour bar, what was searched for, and what the hatching means."""
    width = max(drawn.width, _SMALLEST_MAP)
    whole = Image.new("RGB", (width, drawn.height + _FOOT), "white")
    whole.paste(drawn, (0, 0))
    pen = ImageDraw.Draw(whole)
    top = drawn.height
    pen.text((8, top + 4), _fitting(pen, title, width - 16), fill=INK, font=FONT)
    lowest, highest = f"{low:.3f}", f"{high:.3f}"
    pen.text((8, top + 34), lowest, fill=INK, font=FONT)
    left = 16 + math.ceil(pen.textlength(lowest, font=FONT))
    bar = colours(np.linspace(0, 1, 160))[None].repeat(18, 0)
    whole.paste(Image.fromarray(bar), (left, top + 37))
    pen.text((left + 168, top + 34), highest, fill=INK, font=FONT)
    if hatched:
        after = left + 184 + math.ceil(pen.textlength(highest, font=FONT))
        swatch = _hatched(np.full((18, 36, 3), _BLANK, np.float32)).astype(np.uint8)
        whole.paste(Image.fromarray(swatch), (after, top + 37))
        pen.text((after + 44, top + 34), "no score", fill=INK, font=FONT)
    return whole


def _fitting(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """As much of a text as there is room for; what cannot be drawn as a question mark."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    if pen.textlength(shown, font=FONT) <= width:
        return shown
    while shown and pen.textlength(f"{shown} ...", font=FONT) > width:
        shown = shown[:-1]
    return f"{shown} ..."
