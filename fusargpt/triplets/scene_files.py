"""The scene of a manifest's row, opened: a raster read in windows, or a picture that comes whole."""

from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.image import read_image
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.sar_scene import SarScene
from fusargpt.triplets.manifest import SceneRow

_PICTURES = (".png", ".jpg", ".jpeg")


class Picture:
    """A PNG or JPEG as a scene without georeference, read as `fusargpt.geo.image.read_image` reads it for a question.

    Its values are taken as they are when they have 8 bit, else scaled by the percentiles of the whole picture. At most
    8,192 pixels a side, because these formats are decoded whole.
    """

    geometry = None

    polarizations = ("",)

    def __init__(self, path: str, acquired: date | None, sensor: str | None) -> None:
        picture = np.asarray(read_image(path))
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

    def read(self, window: Window, band: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Values and validity [h, w] of a window inside the picture; of a coloured one its red."""
        values = self.chip(window, band)
        values = values if values.ndim == 2 else values[:, :, 0]
        return values, np.ones(values.shape, bool)

    def stretch(self, band: int = 1) -> None:
        """None: what a picture holds is scaled already."""

    def chip(self, window: Window, band: int = 1, stretch: Stretch | None = None) -> NDArray[np.uint8]:
        """Grey levels [h, w] of a window inside the picture, or [h, w, 3] where it is coloured; there is no stretch."""
        top, left = window.row_off, window.col_off
        return self._values[top : top + window.height, left : left + window.width]


def open_scene(row: SceneRow) -> SarScene | Picture:
    """The scene of a row, with what the row says about it; a context manager.

    Raises:
        InputError: a file that is not there, is damaged or is of another kind.
    """
    if Path(row.scene.split("?")[0]).suffix.lower() in _PICTURES:
        stored = None if row.stored == "grey" else row.stored
        told = {"stored": stored, "nodata": row.nodata, "crs": row.crs, "height_m": row.height_m}
        for column, value in told.items():
            if value is not None:
                raise InputError(f"{column}: found {value!r} for a picture; leave it out")
        return Picture(row.scene, row.acquired, row.sensor)
    return SarScene.open(
        row.scene,
        acquired=row.acquired,
        sensor=row.sensor,
        stored=row.stored,
        nodata=row.nodata,
        crs=row.crs,
        height_m=row.height_m,
    )


def chosen_band(scene: SarScene | Picture, row: SceneRow) -> tuple[int, str]:
    """The band of a scene, from 1, that a row asks for, and its polarization, "" where nobody says.

    Raises:
        InputError: no such band or polarization, one that contradicts the file, or several bands of which none is
            known to be the polarization.
    """
    known, wanted, band = scene.polarizations, row.polarization, row.band
    if band is None and wanted is not None and wanted not in known:
        if len(known) > 1 or any(known):
            found = ", ".join(name or "unknown" for name in known)
            raise InputError(f"polarization: found {wanted!r}; the raster has {found}. Name its band with band")
    elif band is None and wanted is not None:
        band = known.index(wanted) + 1
    band = band or 1
    if band > len(known):
        raise InputError(f"band: found {band}; the raster has {len(known)}")
    if wanted is not None and known[band - 1] not in ("", wanted):
        raise InputError(f"polarization: found {wanted!r}; band {band} of the raster is {known[band - 1]}")
    return band, known[band - 1] or wanted or ""
