"""Boxes drawn on a picture of an image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

COLOURS = {"ship": (255, 140, 60), "aircraft": (70, 200, 255)}
OTHER_COLOUR = (190, 240, 90)
INK = (15, 15, 20)
_LINE = 3
_LONGEST_LABEL = 40
_FONT_SIZE = 18
FONT = ImageFont.load_default(_FONT_SIZE)


def clip_box(box: Sequence[float], width: int, height: int) -> tuple[float, float, float, float] | None:
    """The part of [x1, y1, x2, y2] inside the image; None where there is none."""
    x1, y1, x2, y2 = box
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def draw_box(picture: Image.Image, box: Sequence[float], label: str, tab: bool = True, text: str | None = None) -> None:
    """Draw a box [x1, y1, x2, y2], in pixels of `picture`, in its label's colour and with the label on a tab.

    `text` stands on the tab instead of the label.
    """
    pen = ImageDraw.Draw(picture)
    colour = COLOURS.get(label, OTHER_COLOUR)
    # The line runs outside the box, so that it does not cover a small target; at the image's edge it stays visible.
    left, top = max(box[0] - _LINE, 0), max(box[1] - _LINE, 0)
    right, bottom = min(box[2] + _LINE, picture.width) - 1, min(box[3] + _LINE, picture.height) - 1
    pen.rectangle((left, top, right, bottom), outline=colour, width=_LINE)
    if not tab:
        return
    # A model may write anything; line breaks and lone surrogates cannot be drawn.
    shown = (label if text is None else text)[:_LONGEST_LABEL]
    text = "".join(letter if letter.isprintable() else "?" for letter in shown)
    text_width = pen.textlength(text, font=FONT)
    tab_height = _FONT_SIZE + 4
    x = max(0, min(left, picture.width - text_width - 8 - 1))
    y = top - tab_height if top >= tab_height else min(bottom, picture.height - tab_height - 1)
    pen.rectangle((x, y, x + text_width + 8, y + tab_height), fill=colour)
    pen.text((x + 4, y + 1), text, fill=INK, font=FONT)
