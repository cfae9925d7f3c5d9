"""What stands around a picture, so that it can be read alone: a title above, a legend and a scale bar below."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fusargpt.geo.box_drawing import INK

Colour = tuple[int, int, int]

_LEAST_WIDTH = 560
_MARGIN = 14
_PAPER, _FAINT = (255, 255, 255), (95, 95, 105)
_SWATCH_GROUND = (72, 72, 78)
"""Behind the marks of the legend: as grey as a scene, so that they look as they do there."""
_HATCH_STEP = 12


@dataclass(frozen=True)
class Mark:
    """How a rectangle is marked on a picture.

    Attributes:
        colour: RGB.
        fill: 0 to 255, how much of the colour covers the inside.
        line: pixels of the outline; 0 draws none.
        hatched: whether lines run across.
        sign: a letter or two in the corner.
    """

    colour: Colour
    fill: int = 0
    line: int = 1
    hatched: bool = False
    sign: str = ""


@dataclass(frozen=True)
class Around:
    """What is written around a picture.

    Attributes:
        title: one line above.
        notes: lines below the title, smaller; each is cut where there is no more room.
        legend: marks and what they mean.
        beside: numbered colours and texts in a column on the right; empty for none.
        more: the last line of that column.
    """

    title: str
    notes: Sequence[str] = ()
    legend: Sequence[tuple[Mark, str]] = ()
    beside: Sequence[tuple[Mark, str]] = ()
    more: str = ""


def mark_boxes(picture: Image.Image, marks: Sequence[tuple[Sequence[float], Mark]]) -> None:
    """Mark boxes [x1, y1, x2, y2] on a picture, the last on top."""
    pen = ImageDraw.Draw(picture, "RGBA")
    hatching: dict[Colour, Image.Image] = {}
    for (x1, y1, x2, y2), mark in marks:
        corners = (x1, y1, max(x2 - 1, x1), max(y2 - 1, y1))
        if mark.hatched:
            region = hatching.setdefault(mark.colour, Image.new("L", picture.size))
            ImageDraw.Draw(region).rectangle(corners, fill=255)
        outline = (*mark.colour, 255 if mark.line > 1 else 110) if mark.line else None
        pen.rectangle(corners, fill=(*mark.colour, mark.fill) if mark.fill else None, outline=outline, width=mark.line)
    for colour, region in hatching.items():
        rows, columns = np.indices((picture.height, picture.width))
        # Wider on large pictures, which are shown smaller.
        step = max(_HATCH_STEP, picture.width // 80)
        lines = ((rows + columns) % step < max(2, step // 6)) & (np.asarray(region) > 0)
        picture.paste(Image.new("RGB", picture.size, colour), (0, 0), Image.fromarray(lines.astype(np.uint8) * 150))
    for (x1, y1, x2, y2), mark in marks:
        font = font_of(picture.width)
        if mark.sign and pen.textlength(mark.sign, font=font) + 4 < x2 - x1 and font.size + 2 < y2 - y1:
            pen.text((x1 + 3, y1 + 1), mark.sign, fill="white", font=font, stroke_width=2, stroke_fill=INK)


def font_of(width: int) -> ImageFont.FreeTypeFont:
    """Letters that can be read on a picture of that many pixels when it is shown as wide as a page."""
    font = ImageFont.load_default(min(max(round(width / 70), 16), 30))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def framed(picture: Image.Image, around: Around, metres_per_pixel: float | None, pixel: float = 1.0) -> Image.Image:
    """The picture with its title above, the legend and a scale bar below, and what stands beside it.

    Args:
        picture: RGB.
        around: what is written.
        metres_per_pixel: of the picture, for the scale bar; None draws it in pixels of the file.
        pixel: pixels of the picture for one of the file.
    """
    inner = max(picture.width, _LEAST_WIDTH)
    font = font_of(inner)
    small = ImageFont.load_default(round(font.size * 0.85))
    assert isinstance(small, ImageFont.FreeTypeFont)
    head = _head(around, inner, font, small)
    foot = _foot(around.legend, inner, small, *_bar(picture.width, metres_per_pixel, pixel))
    column = _column(around, head.height + picture.height + foot.height, inner, font, small)
    whole = Image.new("RGB", (inner + column.width, head.height + picture.height + foot.height), _PAPER)
    whole.paste(head, (0, 0))
    whole.paste(picture, (0, head.height))
    whole.paste(foot, (0, head.height + picture.height))
    whole.paste(column, (inner, 0))
    return whole


def wrapped(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Lines of a text, none wider than `width` pixels; what cannot be drawn is a question mark."""
    lines: list[str] = []
    for word in _drawable(text).split() or [""]:
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(fitting(word, width, font))
    return lines


def fitting(text: str, width: float, font: ImageFont.FreeTypeFont) -> str:
    """As much of a text as there is room for on a line of `width` pixels."""
    shown = _drawable(text)
    if font.getlength(shown) <= width:
        return shown
    while shown and font.getlength(f"{shown} ...") > width:
        shown = shown[:-1]
    return f"{shown} ..."


def _drawable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)


def _head(around: Around, width: int, font: ImageFont.FreeTypeFont, small: ImageFont.FreeTypeFont) -> Image.Image:
    room = width - 2 * _MARGIN
    height = round(_MARGIN + font.size * 1.35 + len(around.notes) * small.size * 1.35 + _MARGIN / 2)
    head = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(head)
    pen.text((_MARGIN, _MARGIN / 2), fitting(around.title, room, font), fill=INK, font=font, stroke_width=0.4)
    for number, note in enumerate(around.notes):
        y = _MARGIN / 2 + font.size * 1.4 + number * small.size * 1.35
        pen.text((_MARGIN, y), fitting(note, room, small), fill=_FAINT, font=small)
    return head


def _foot(
    legend: Sequence[tuple[Mark, str]], width: int, font: ImageFont.FreeTypeFont, length: int, said: str
) -> Image.Image:
    """Legend entries in rows, and the scale bar of `length` pixels in the last line."""
    line = round(font.size * 1.7)
    swatch = (round(font.size * 1.9), round(font.size * 1.15))
    placed: list[tuple[int, int, Mark, str]] = []
    x, row = _MARGIN, 0
    for mark, text in legend:
        shown = fitting(text, width - 2 * _MARGIN - swatch[0] - 8, font)
        needed = swatch[0] + 8 + math.ceil(font.getlength(shown)) + 24
        if x > _MARGIN and x + needed > width:
            x, row = _MARGIN, row + 1
        placed.append((x, row, mark, shown))
        x += needed
    rows = (row + 1) if legend else 0
    foot = Image.new("RGB", (width, _MARGIN + (rows + 1) * line + _MARGIN // 2), _PAPER)
    pen = ImageDraw.Draw(foot)
    for x, row, mark, text in placed:
        y = _MARGIN + row * line
        foot.paste(_swatch(swatch, mark), (x, y))
        pen.text((x + swatch[0] + 8, y - 1), text, fill=INK, font=font)
    y = _MARGIN + rows * line + line // 2
    pen.rectangle((_MARGIN, y - 2, _MARGIN + length, y + 2), fill=INK)
    for x in (_MARGIN, _MARGIN + length):
        pen.line((x, y - 7, x, y + 7), fill=INK, width=2)
    pen.text((_MARGIN + length + 12, y - font.size * 0.65), said, fill=INK, font=font)
    return foot


def _swatch(size: tuple[int, int], mark: Mark) -> Image.Image:
    ground = Image.new("RGB", size, _SWATCH_GROUND)
    mark_boxes(ground, [((0, 0, *size), Mark(mark.colour, mark.fill, max(mark.line, 2), mark.hatched))])
    return ground


def _bar(width: int, metres_per_pixel: float | None, pixel: float) -> tuple[int, str]:
    """Pixels of the scale bar, at most a quarter of the width, and what it says: 1, 2 or 5 times a power of ten."""
    unit = 1 / pixel if metres_per_pixel is None else metres_per_pixel
    longest = max(width / 4, 60) * unit
    power = 10.0 ** math.floor(math.log10(longest))
    length = max(times * power for times in (1, 2, 5) if times * power <= longest)
    if metres_per_pixel is None:
        said = f"{length:g} pixels of the file"
    else:
        said = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    return round(length / unit), said


def _column(
    around: Around, height: int, inner: int, font: ImageFont.FreeTypeFont, small: ImageFont.FreeTypeFont
) -> Image.Image:
    """Numbered texts under each other, as many as there is room for; then how many there are more."""
    if not around.beside:
        return Image.new("RGB", (0, height), _PAPER)
    width = max(round(inner * 0.45), 380)
    column = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(column)
    side, line = round(font.size * 1.6), round(small.size * 1.3)
    y, left_out = _MARGIN, 0
    for mark, text in around.beside:
        lines = wrapped(text, width - side - 3 * _MARGIN, small)
        needed = max(side, len(lines) * line) + line // 2
        if left_out or y + needed > height - 2 * line:
            left_out += 1
            continue
        box = Image.new("RGB", (side, side), _SWATCH_GROUND)
        mark_boxes(box, [((0, 0, side, side), Mark(mark.colour, mark.fill))])
        column.paste(box, (_MARGIN, y))
        number = ImageDraw.Draw(column)
        number.text(
            (_MARGIN + side / 2, y + side / 2),
            mark.sign,
            fill="white",
            font=small,
            anchor="mm",
            stroke_width=2,
            stroke_fill=INK,
        )
        for row, words in enumerate(lines):
            pen.text((2 * _MARGIN + side, y + row * line), words, fill=INK, font=small)
        y += needed
    rest = f"and {left_out:,} more, in the file" if left_out else around.more
    pen.text((_MARGIN, height - _MARGIN - line), fitting(rest, width - 2 * _MARGIN, small), fill=_FAINT, font=small)
    return column
