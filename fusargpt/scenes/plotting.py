"""A scene and its places as vectors over pixels, by matplotlib."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Patch, Rectangle

from fusargpt.geo.picture_frame import Mark
from fusargpt.geo.scene_picture import ScenePicture
from fusargpt.scenes.layers import Place
from fusargpt.scenes.quicklook import Drawn, description_numbers, legend_of, mark_of

_LARGEST_SIGNS = 400
"""Places with a number in them; of more, no number could be read."""


def plot(picture: ScenePicture, places: Sequence[Place], drawn: Drawn, axes: Axes | None) -> Axes:
    """Draw a picture and the places on it, in pixels of the scene."""
    if axes is None:
        axes = plt.subplots(figsize=(9, 9), layout="constrained")[1]
    width, height = (side / picture.scale for side in picture.image.size)
    left, top = picture.left, picture.top
    axes.imshow(picture.image, extent=(left, left + width, top + height, top), interpolation="nearest")
    numbers = description_numbers(places)
    marks = [mark_of(place, drawn, numbers) for place in places]
    for mark in dict.fromkeys(marks):
        alike = [_rectangle(place) for place, of_it in zip(places, marks, strict=True) if of_it == mark]
        axes.add_collection(PatchCollection(alike, match_original=False, **_looks(mark)))
    if len(places) <= _LARGEST_SIGNS:
        for place, mark in zip(places, marks, strict=True):
            x1, y1, x2, y2 = place.box
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            axes.text(x, y, mark.sign, color="white", ha="center", va="center", clip_on=True)
    axes.set_xlim(left, left + width)
    axes.set_ylim(top + height, top)
    axes.set_xlabel("pixels of the scene")
    axes.set_title(drawn.title)
    legend = legend_of(places, drawn)
    if legend:
        handles = [Patch(label=said, **_looks(mark)) for mark, said in legend]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.08), ncols=2, frameon=False)
    return axes


def _rectangle(place: Place) -> Rectangle:
    x1, y1, x2, y2 = place.box
    return Rectangle((x1, y1), x2 - x1, y2 - y1)


def _looks(mark: Mark) -> dict[str, Any]:
    red, green, blue = (part / 255 for part in mark.colour)
    return {
        "facecolor": (red, green, blue, mark.fill / 255),
        "edgecolor": (red, green, blue, 1.0 if mark.line > 1 else 0.6),
        "linewidth": 1.0 + 0.5 * (mark.line > 1),
        "hatch": "///" if mark.hatched else None,
    }
