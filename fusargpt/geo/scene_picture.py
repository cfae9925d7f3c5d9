"""A scene, or a part of it, small enough to look at."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.earth import earth_centred
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.radiometry import Stretch, to_8bit
from fusargpt.geo.sar_scene import SarScene

LONGEST_SIDE = 2048
_ROWS_PIXELS = 2**23  # read at a time

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class ScenePicture:
    """Grey levels of a part of a scene.

    Attributes:
        image: RGB, at most 2,048 pixels on a side; what could not be read is black.
        scale: pixels of the picture for one of the scene.
        left: of the part, in pixels of the scene.
        top: likewise.
    """

    image: Image.Image
    scale: float
    left: int = 0
    top: int = 0

    def at(self, box: Corners) -> Corners:
        """A box in pixels of the scene in pixels of the picture."""
        x1, y1, x2, y2 = box
        across, down, scale = self.left, self.top, self.scale
        return (x1 - across) * scale, (y1 - down) * scale, (x2 - across) * scale, (y2 - down) * scale

    def metres_per_pixel(self, geometry: Geometry) -> float:
        """Along a row of the picture, on the ground in its middle."""
        x = self.left + self.image.width / self.scale / 2
        y = self.top + self.image.height / self.scale / 2
        west, east = earth_centred(geometry.to_lonlat(np.array([[x - 0.5, y], [x + 0.5, y]])))
        return float(np.linalg.norm(east - west)) / self.scale


def scene_picture(scene: SarScene, stretch: Stretch | None, window: Window | None = None) -> ScenePicture:
    """The picture of a window of whole pixels that lies on the scene; None is all of it. Nothing else is read."""
    left, top, width, height = (0, 0, scene.width, scene.height) if window is None else _whole(window)
    stored = "grey" if stretch is None else stretch.stored
    step = math.ceil(max(width, height) / LONGEST_SIDE)
    small = Image.new("L", (math.ceil(width / step), math.ceil(height / step)))
    rows = max(step, _ROWS_PIXELS // width // step * step)
    for first in range(0, height, rows):
        count = min(rows, height - first)
        part = Window.from_slices((top + first, top + first + count), (left, left + width))
        try:
            values, valid = scene.read(part)
        except InputError:
            # Its tiles are among the failures of the run, and the rest of the picture is worth having.
            continue
        grey = to_8bit(values, valid, stretch, stored)[0]
        padded = np.pad(grey, ((0, -count % step), (0, -width % step)))
        squares = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
        small.paste(Image.fromarray(squares.mean((1, 3)).astype(np.uint8)), (0, first // step))
    factor = 1
    if step == 1:
        factor = max(1, LONGEST_SIDE // max(small.size))
        small = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
    return ScenePicture(small.convert("RGB"), factor / step, left, top)


def _whole(window: Window) -> tuple[int, int, int, int]:
    return int(window.col_off), int(window.row_off), int(window.width), int(window.height)
