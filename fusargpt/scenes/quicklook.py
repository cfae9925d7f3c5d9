"""A picture of the whole scene with what was found, small enough to look at."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.files import output_file
from fusargpt.geo.box_drawing import COLOURS, FONT, INK, OTHER_COLOUR, draw_box
from fusargpt.geo.radiometry import Stretch, to_8bit
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.layers import Place
from fusargpt.scenes.writing import REMEDY

LONGEST_SIDE = 2048
_ROWS_PIXELS = 2**23  # read at a time


def draw(
    scene: SarScene,
    stretch: Stretch | None,
    places: Sequence[Place],
    target: str,
    colours: Mapping[str, tuple[int, int, int]] = COLOURS,
) -> Image.Image:
    """The scene with boxes, counts, classes or cells on it, RGB, at most 2,048 pixels on a side.

    What cannot be read of the scene is black. `colours` are those of classes.
    """
    picture, scale = scene_picture(scene, stretch)
    pen = ImageDraw.Draw(picture, "RGBA")
    for place in places:
        x1, y1, x2, y2 = (edge * scale for edge in place.box)
        kind = place.properties.get("kind")
        if kind is None:
            draw_box(picture, (x1, y1, x2, y2), place.properties["label"], tab=False)
            continue
        value = place.properties.get("count", place.properties.get("class"))
        found = kind == "cell" or value not in (None, 0, "none")
        colour = colours.get(str(value), colours.get(target, OTHER_COLOUR))
        corners = (x1, y1, max(x2 - 1, x1), max(y2 - 1, y1))
        pen.rectangle(corners, fill=(*colour, 70) if found else None, outline=(255, 255, 255, 60))
        if found and value is not None and pen.textlength(str(value), font=FONT) < x2 - x1:
            pen.text((x1 + 3, y1 + 1), str(value), fill="white", font=FONT, stroke_width=2, stroke_fill=INK)
    return picture


def scene_picture(scene: SarScene, stretch: Stretch | None) -> tuple[Image.Image, float]:
    """Grey levels as RGB, and pixels of the picture for one of the scene."""
    stored = "grey" if stretch is None else stretch.stored
    step = math.ceil(max(scene.width, scene.height) / LONGEST_SIDE)
    small = Image.new("L", (math.ceil(scene.width / step), math.ceil(scene.height / step)))
    rows = max(step, _ROWS_PIXELS // scene.width // step * step)
    for top in range(0, scene.height, rows):
        height = min(rows, scene.height - top)
        try:
            values, valid = scene.read(Window.from_slices((top, top + height), (0, scene.width)))
        except InputError:
            # Its tiles are among the failures of the run, and the rest of the picture is worth having.
            continue
        grey = to_8bit(values, valid, stretch, stored)[0]
        padded = np.pad(grey, ((0, -height % step), (0, -scene.width % step)))
        squares = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
        small.paste(Image.fromarray(squares.mean((1, 3)).astype(np.uint8)), (0, top // step))
    factor = 1
    if step == 1:
        factor = max(1, LONGEST_SIDE // max(small.size))
        small = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
    return small.convert("RGB"), factor / step


def save(path: Path, picture: Image.Image) -> None:
    """Raises InputError where the file cannot be written."""
    with output_file(path, REMEDY) as partial:
        picture.save(partial, format="PNG")
