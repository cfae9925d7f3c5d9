"""A visitor's image: its picture at the size in which the model sees it, and where and when it was taken."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.earth import Points
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84
from fusargpt.geo.reading import Reading
from fusargpt.inference.predict import FusarGpt
from space_app.reader import Reader

READER = Reader()
"""Of all pages of this process."""


@dataclass(frozen=True, eq=False)
class UploadedScene:
    """An image that was read.

    Attributes:
        name: of the file, without folders.
        picture: RGB, whole.
        seen: RGB, at the size in which the model sees it; boxes are in its pixels.
        bands: polarization of each band, "" where unknown.
        sensor: "" where unknown.
        acquired: day; None where unknown.
        geometry: from the file, or from the place that was typed; None where neither is known.
        georeferenced: whether the file says where it lies.
        problem: why the file's own georeference is not used, one line; "" where it is, or where there is none.
        read_as: what the file was read as, and why, in one line.
    """

    name: str
    picture: Image.Image
    seen: Image.Image
    bands: tuple[str, ...]
    sensor: str
    acquired: date | None
    geometry: Geometry | None
    georeferenced: bool
    problem: str
    read_as: str = ""

    def lonlat(self, seen_pixels: Points) -> Points:
        """Degrees [N, 2] of points (x, y) [N, 2] in pixels of `seen`.

        Raises:
            InputError: the image has no place.
        """
        if self.geometry is None:
            raise InputError("no place is known for this image")
        scale = self.picture.width / self.seen.width, self.picture.height / self.seen.height
        return self.geometry.to_lonlat(np.asarray(seen_pixels, np.float64) * scale)


def read_scene(predictor: FusarGpt, path: str | None, reading: Reading | None = None, place: str = "") -> UploadedScene:
    """Read an image within the page's limits.

    Args:
        predictor: knows the size in which the model sees an image.
        path: of a PNG, JPEG or TIFF file, GeoTIFFs included.
        reading: how the file is to be read; None leaves all to it.
        place: "west, south, east, north" in degrees, for an image whose file does not say it; "" when unknown. A file's
            own georeference wins.

    Raises:
        InputError: no image, one that `fusargpt.geo.image.read_image` refuses, one beyond the limits, or a place that
            cannot be read.
    """
    if path is None:
        raise InputError("Upload an image first, or choose an example.")
    found = READER.read(path, reading)
    picture, geometry = found.picture, found.geometry
    georeferenced = geometry is not None
    if not georeferenced and place.strip():
        geometry = typed_geometry(place, picture.width, picture.height)
    seen = picture.resize(predictor.seen_size(picture), Image.Resampling.BICUBIC)
    return UploadedScene(
        Path(path).name,
        picture,
        seen,
        found.bands,
        found.sensor,
        found.acquired,
        geometry,
        georeferenced,
        found.problem,
        found.read_as,
    )


def typed_geometry(place: str, width: int, height: int) -> Geometry:
    """The georeference of a north-up image of `width` x `height` pixels between typed bounds.

    Raises:
        InputError: not four numbers, not in order, or not on Earth.
    """
    words = place.replace(",", " ").replace(";", " ").split()
    expected = "expected west, south, east, north in degrees, as 8.05, 53.56, 8.07, 53.57"
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise InputError(f"Place: found {place.strip()[:60]!r}; {expected}") from None
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise InputError(f"Place: found {len(numbers)} numbers; {expected}")
    west, south, east, north = numbers
    if not (-180 <= west < east <= 360 and east - west < 180 and -90 < south < north < 90):
        raise InputError(f"Place: found {place.strip()[:60]}; {expected}, west below east and south below north")
    transform = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
    try:
        return Geometry.from_affine(transform, WGS84, width, height)
    except InputError as error:
        raise InputError(f"Place: {error}") from None
