"""The part of a scene that a visitor asks about: four numbers in pixels of the image, or in degrees."""

import re

import numpy as np

from fusargpt.errors import InputError
from space_app.scenes import UploadedScene

Box = tuple[float, float, float, float]
"""[x1, y1, x2, y2] in continuous pixels of the image."""

_DEGREES = re.compile(r"(?i)\s*(degrees?|deg|°)\s*$")
_EXPECTED = (
    "expected left, top, right, bottom in pixels of the image, as 120, 80, 480, 400, or west, south, east, north with "
    "the word behind them, as 8.05, 53.56, 8.06, 53.57 degrees"
)
_POINTS_PER_EDGE = 16


def read_area(text: str, scene: UploadedScene) -> Box | None:
    """The typed or drawn part of an image, within its edges; None for "", which is all of it.

    Of degrees it is the box that holds them, as lines of longitude may lie aslant in the image.

    Raises:
        InputError: not four numbers, not in order, degrees without a place, or nothing of it on the image.
    """
    if not text.strip():
        return None
    in_degrees = _DEGREES.search(text) is not None
    words = re.split(r"[\s,;]+", _DEGREES.sub("", text).strip())
    try:
        first, second, third, fourth = numbers = [float(word) for word in words]
    except ValueError:
        raise InputError(f"Area: found {text.strip()[:60]!r}; {_EXPECTED}") from None
    if not np.isfinite(numbers).all() or not (first < third and second < fourth):
        raise InputError(f"Area: found {text.strip()[:60]}; {_EXPECTED}, each first below its second")
    box = _in_pixels((first, second, third, fourth), scene) if in_degrees else (first, second, third, fourth)
    width, height = scene.picture.size
    inside = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        raise InputError(f"Area: {text.strip()[:60]} holds nothing of the image of {width} x {height} pixels")
    return inside


def _in_pixels(degrees: Box, scene: UploadedScene) -> Box:
    west, south, east, north = degrees
    if scene.geometry is None:
        raise InputError("Area: no place is known of this image; type its bounds, or the area in pixels")
    along = np.linspace(0, 1, _POINTS_PER_EDGE)
    x = np.concatenate([west + (east - west) * along] * 2 + [np.repeat([west, east], len(along))])
    y = np.concatenate([np.repeat([south, north], len(along)), *[south + (north - south) * along] * 2])
    pixels = scene.geometry.to_pixel(np.column_stack([x, y]))
    if not np.isfinite(pixels).all():
        raise InputError("Area: a part of these degrees is nowhere near the image")
    (left, top), (right, bottom) = pixels.min(0), pixels.max(0)
    return float(left), float(top), float(right), float(bottom)
