"""The scene of a manifest's row, opened: a raster read in windows, or a picture that comes whole."""

from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image_as
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.reading import ReadAs, Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.triplets.manifest import SceneRow

_PICTURES = (".png", ".jpg", ".jpeg")


class Picture:
    """A PNG or JPEG as a scene without georeference, read as `fusargpt.geo.image.read_image` reads it for a question.

    Its values are taken as they are when they have 8 bit, else scaled by the percentiles of the whole picture. At most
    8,192 pixels a side, because these formats are decoded whole.
    """

    geometry = None
    band = 1

    def __init__(self, path: str, reading: Reading, acquired: date | None, sensor: str | None) -> None:
        image, self._read_as = read_image_as(path, reading)
        picture = np.asarray(image)
        self.polarization = self._read_as.polarization
        grey = picture[:, :, 0]
        # Some published SAR pictures have a tint; a question about one shows it to the model, and so do we.
        self._values: NDArray[np.uint8] = picture if (picture != grey[:, :, None]).any() else grey
        self.path = path
        self.height, self.width = grey.shape
        self.acquired = acquired
        self.sensor = sensor or ""

    def __enter__(self) -> "Picture":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Values and validity [h, w] of a window inside the picture; of a coloured one its red."""
        values = self.chip(window)
        values = values if values.ndim == 2 else values[:, :, 0]
        return values, np.ones(values.shape, bool)

    def stretch(self) -> None:
        """None: what a picture holds is scaled already."""

    def read_as(self, *, stretch: Stretch | None = None) -> ReadAs:
        """What the picture was read as."""
        return self._read_as

    def chip(self, window: Window, *, stretch: Stretch | None = None) -> NDArray[np.uint8]:
        """Grey levels [h, w] of a window inside the picture, or [h, w, 3] where it is coloured; there is no stretch."""
        top, left = window.row_off, window.col_off
        return self._values[top : top + window.height, left : left + window.width]


def open_scene(row: SceneRow) -> SarScene | Picture:
    """The scene of a row, with what the row says about it; a context manager.

    Raises:
        InputError: a file that is not there, is damaged or is of another kind.
    """
    if Path(row.scene.split("?")[0]).suffix.lower() in _PICTURES:
        return Picture(row.scene, row.reading, row.acquired, row.sensor)
    scene = SarScene.open(row.scene, row.reading, acquired=row.acquired, sensor=row.sensor)
    if scene.problem:
        scene.close()
        raise InputError(scene.problem)
    return scene
