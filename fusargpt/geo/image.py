"""SAR images from PNG, JPEG and TIFF files, as the RGB image that the model sees."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import RasterioError

from fusargpt.errors import InputError, naming
from fusargpt.geo.bands import check_band, read_band
from fusargpt.geo.radiometry import to_8bit
from fusargpt.geo.remote import open_raster, raster_error

MIN_SIDE = 28
"""Pixels; one visual token of Qwen2.5-VL covers 28 x 28."""

MAX_SIDE = 8192
"""Pixels; the model sees the image whole and scales it down to far less, so that nothing would be left of a ship."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}


def read_image(path: str | Path, band: int = 1) -> Image.Image:
    """Read a SAR image and scale it to 8 bit by the rule of `fusargpt.geo.radiometry`.

    Args:
        path: a PNG, JPEG or TIFF file (GeoTIFF and BigTIFF included), known by its content, not by its name.
        band: the band of a TIFF to read, from 1; a dual-polarisation image often has VV first, then VH.

    Returns:
        RGB image; three equal channels unless a PNG or JPEG is coloured. Transparent pixels and nodata are black.

    Raises:
        InputError: no such file, another format, a damaged file, no such band, a side below 28 or above 8,192 pixels,
            or values that `to_8bit` refuses.
    """
    path = Path(path)
    file_format = _format(path)
    if file_format != "TIFF" and band != 1:
        raise InputError(f"{path}: band {band} of a {file_format} image; bands can be chosen in TIFF files only")
    if file_format == "TIFF":
        return _read_tiff(path, band)
    with naming(str(path)):
        return _read_picture(path, file_format)


def _format(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected a PNG, JPEG or TIFF file")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    raise InputError(
        f"{path}: not a PNG, JPEG or TIFF image (it starts with {head!r}); convert it first, for example with "
        "gdal_translate"
    )


def _read_picture(path: Path, file_format: str) -> Image.Image:
    # The side is checked before a pixel is decoded, to a stricter limit than Pillow's, which warns first.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=[file_format]) as picture:
                _check_size(*picture.size)
                picture.load()
                return _to_rgb(picture)
    except Image.DecompressionBombError as error:
        raise InputError(_too_large("more than 170 million pixels")) from error
    except InputError:
        raise
    # What Pillow raises on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"a damaged {file_format} file ({error})") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return _grey(np.asarray(picture))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    return picture.convert("RGB")


def _read_tiff(path: Path, band: int) -> Image.Image:
    with open_raster(path) as dataset:
        with naming(str(path)):
            _check_size(dataset.width, dataset.height)
            check_band(dataset, band)
        try:
            values, valid = read_band(dataset, band)
        except RasterioError as error:
            raise raster_error(path, error) from error
    with naming(str(path)):
        return _grey(values, valid)


def _grey(values: np.ndarray, valid: NDArray[np.bool_] | None = None) -> Image.Image:
    grey, _ = to_8bit(values, valid)
    return Image.fromarray(grey).convert("RGB")


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{width} x {height} pixels; an image should have at least {MIN_SIDE} on each side")
    if max(width, height) > MAX_SIDE:
        raise InputError(_too_large(f"{width:,} x {height:,} pixels"))


def _too_large(found: str) -> str:
    return (
        f"{found}; at most {MAX_SIDE:,} on each side. Cut out a part first, for example with "
        "gdal_translate -srcwin 0 0 1024 1024"
    )
