"""The picture that shows nothing, in place of one: what is still told with it comes of the prior."""

from PIL import Image

BLANK = 128
"""Its grey level: the middle, since black is what calm water looks like."""


def blank(picture: Image.Image) -> Image.Image:
    """A picture of the size and mode (L or RGB) of `picture`, all of it of the grey level `BLANK`."""
    return Image.new("L", picture.size, BLANK).convert(picture.mode)
