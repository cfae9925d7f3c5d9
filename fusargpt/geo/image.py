"""SAR images from PNG, JPEG and TIFF files, as the RGB image that the model sees."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from fusargpt.errors import InputError, naming
from fusargpt.geo.headers import EXIF_MARK, SIGNATURES, check_exif, check_header, file_format_of
from fusargpt.geo.radiometry import to_8bit
from fusargpt.geo.reading import ReadAs, Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.stored import Kind, fill_of, kind_of

MIN_SIDE = 28
"""Pixels; one visual token of Qwen2.5-VL covers 28 x 28."""

MAX_SIDE = 8192
"""Pixels; the model sees the image whole and scales it down to far less, so that nothing would be left of a ship."""

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF")
"""Those that Pillow may open, of files and of rows of datasets; its other decoders are reached by nobody."""

_ORIENTATION = ExifTags.Base.Orientation
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)
_PNG_TURNS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")


def read_image(path: str | Path, reading: Reading | None = None) -> Image.Image:
    """Read a SAR image and scale it to 8 bit by the rule of `fusargpt.geo.radiometry`.

    Args:
        path: a PNG, JPEG or TIFF file (GeoTIFF and BigTIFF included), known by its content, not by its name.
        reading: how it is to be read, as the band of a TIFF; None leaves all to the file.

    Returns:
        RGB image; three equal channels unless a PNG or JPEG is coloured. Transparent pixels and nodata are black. A
        PNG or JPEG that its EXIF turns is turned.

    Raises:
        InputError: no such file, another format, a damaged file, no such band, a side below 28 or above 8,192 pixels,
            values that fit two kinds or that `to_8bit` refuses, or a reading that does not fit the file.
    """
    return read_image_as(path, reading)[0]


def read_image_as(path: str | Path, reading: Reading | None = None) -> tuple[Image.Image, ReadAs]:
    """As `read_image`, and what the file was read as, which `str` says in one line."""
    path, reading = Path(path), reading or Reading()
    file_format = file_format_of(path)
    if file_format == "TIFF":
        return _read_tiff(path, reading)
    with naming(str(path)):
        reading.check_picture(f"a {file_format} image")
        check_header(path)
        return _read_picture(path, file_format, reading)


def _read_picture(path: Path, file_format: str, reading: Reading) -> tuple[Image.Image, ReadAs]:
    # The side is checked before a pixel is decoded, to a stricter limit than Pillow's, which warns first.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=[file_format]) as picture:
                _check_size(*picture.size)
                if not _is_deep(picture):
                    check_8bit(picture)
                return _to_rgb(upright(picture), reading)
    except Image.DecompressionBombError as error:
        raise InputError(_too_large("more than 170 million pixels")) from error
    except InputError:
        raise
    # What Pillow raises on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"a damaged {file_format} file ({error})") from error


def check_8bit(picture: Image.Image) -> None:
    """Refuse a picture whose channels hold more than 8 bit, which PIL clips or cuts when it is shown in other colours.

    The rule for whatever is a picture already: rows of datasets, in training as in evaluation and batches, and what
    Python code hands to a model. (Files are scaled, by `read_image`.) The processor in `modeling_fusargpt`, which
    cannot import it, has its own copy.

    Args:
        picture: as opened. Once it is loaded, colours of 16 bit are cut already and can no longer be told.

    Raises:
        InputError: modes I;16, I and F, and colours of 16 bit.
    """
    # Pillow has no mode for colours of 16 bit; the decoder to come is told of them.
    tiles = picture.tile if isinstance(picture, ImageFile.ImageFile) else []
    is_cut = any(";16" in str(tile[3]) for tile in tiles)
    if _is_deep(picture) or is_cut:
        found = picture.mode if _is_deep(picture) else f"{picture.mode} with 16 bit a channel"
        raise InputError(
            f"image: found a picture of mode {found}, expected 8 bit; fusargpt.read_image scales a SAR file to 8 bit"
        )


def open_picture(content: bytes) -> Image.Image:
    """A stored picture, as rows of datasets hold them, looked at but not decoded yet.

    Raises:
        InputError: not a PNG, JPEG or TIFF file, one that `fusargpt.geo.headers.check_header` refuses, or one that
            holds more than 8 bit.
        OSError: and whatever Pillow raises on a damaged file.
    """
    if not any(content.startswith(signature) for signature in SIGNATURES):
        raise InputError(f"image: not a PNG, JPEG or TIFF image (it starts with {content[:8]!r}); convert it first")
    with naming("image"):
        check_header(content)
    picture = Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
    check_8bit(picture)
    return picture


def upright(picture: Image.Image) -> Image.Image:
    """A picture, decoded, as its EXIF or TIFF orientation wants it seen; as `datasets` and viewers of pictures do."""
    # Pillow turns a TIFF when it decodes it.
    picture.load()
    _check_exif(picture)
    return ImageOps.exif_transpose(picture) if picture.getexif().get(_ORIENTATION, 1) != 1 else picture


def upright_size(content: bytes) -> tuple[int, int]:
    """Width and height that `upright` gives of a stored picture, decoded only where a PNG may be turned.

    Raises:
        InputError: and others, as `open_picture`.
    """
    with open_picture(content) as picture:
        width, height = picture.size
        # Of a TIFF Pillow tells this size already; of a PNG it looks for more behind the pixels.
        if picture.format == "TIFF" or (picture.format == "PNG" and not any(mark in content for mark in _PNG_TURNS)):
            return width, height
        _check_exif(picture)
        is_turned = picture.getexif().get(_ORIENTATION, 1) in _TURNED_BY_A_QUARTER
        return (height, width) if is_turned else (width, height)


def _check_exif(picture: Image.Image) -> None:
    with naming("image"):
        check_exif(picture.info.get("exif") or b"")
        # As ImageMagick writes it: three lines, then hexadecimal digits.
        digits = "".join(str(picture.info.get("Raw profile type exif", "")).split("\n")[3:])[: 6 * len(EXIF_MARK)]
        if digits == 3 * EXIF_MARK.hex():
            check_exif(3 * EXIF_MARK)


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture of 8 bit in RGB and `upright`, transparent pixels black. InputError as `check_8bit`."""
    check_8bit(picture)
    picture = upright(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    return picture.convert("RGB")


def _is_deep(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") or picture.mode == "F"


def _to_rgb(picture: Image.Image, reading: Reading) -> tuple[Image.Image, ReadAs]:
    if _is_deep(picture):
        return _scaled(np.asarray(picture), reading)
    for name, value in (("stored", reading.stored), ("nodata", reading.nodata)):
        if value not in (None, "grey"):
            raise InputError(f"{name}: found {value!r} for a picture of 8-bit grey levels; leave it out")
    return to_rgb(picture), ReadAs.of_picture("grey", "8-bit values", None, reading, ())


def _scaled(values: np.ndarray, reading: Reading) -> tuple[Image.Image, ReadAs]:
    """A picture of more than 8 bits."""
    valid = np.isfinite(values)
    kind = Kind(reading.stored, "told") if reading.stored is not None else kind_of(values[valid])
    fill = fill_of(values[valid], kind.stored) if reading.nodata is None else (reading.nodata,)
    valid &= ~np.isin(values, fill)
    grey, stretch = to_8bit(values, valid, stored=kind.stored)
    return Image.fromarray(grey).convert("RGB"), ReadAs.of_picture(kind.stored, kind.why, stretch, reading, fill)


def _read_tiff(path: Path, reading: Reading) -> tuple[Image.Image, ReadAs]:
    with SarScene.open(path, reading) as scene:
        with naming(str(path)):
            _check_size(scene.width, scene.height)
        values, valid = scene.read()
        stretch = scene.stretch()
        with naming(str(path)):
            grey = to_8bit(values, valid, stretch, scene.stored)[0]
        return Image.fromarray(grey).convert("RGB"), scene.read_as(stretch=stretch)


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
