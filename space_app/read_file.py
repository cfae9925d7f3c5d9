"""What an uploaded image file holds, read within the page's limits of size."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from PIL import Image

from fusargpt.geo.geometry import Geometry
from fusargpt.geo.image import read_image_as
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from space_app.limits import check_image_size, raster_environment

_TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, eq=False)
class ReadFile:
    """What an image file holds; attributes as of `space_app.scenes.UploadedScene`."""

    picture: Image.Image
    bands: tuple[str, ...]
    sensor: str
    acquired: date | None
    geometry: Geometry | None
    problem: str
    read_as: str


def read_file(path: str, reading: Reading | None) -> ReadFile:
    """Read an image within the page's limits of size, in this process.

    Raises:
        InputError: one that `fusargpt.geo.image.read_image` refuses, or one beyond the limits.
    """
    check_image_size(path)
    bands: tuple[str, ...] = ("",)
    sensor, acquired, geometry, problem = "", None, None, ""
    with raster_environment():
        picture, read_as = read_image_as(path, reading)
        if _is_tiff(path):
            with SarScene.open(path, reading) as scene:
                bands, sensor, acquired = scene.polarizations, scene.sensor, scene.acquired
                # Where the georeference is not as it should be, a place can be typed instead.
                geometry, problem = scene.geometry, scene.problem.replace(path, Path(path).name)
    return ReadFile(picture, bands, sensor, acquired, geometry, problem, str(read_as))


def _is_tiff(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in _TIFF_SIGNATURES
