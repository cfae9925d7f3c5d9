"""Small files that keep decoders busy: what each costs grows faster than the file."""

import io
import struct
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_EXIF_MARK = b"Exif\0\0"
_GDAL_METADATA = 42112


def _encoded(side: int = 64, **options: bool) -> bytes:
    encoded = io.BytesIO()
    Image.new("L", (side, side)).save(encoded, "JPEG", **options)
    return encoded.getvalue()


def jpeg_of_scans(path: Path, scans: int = 20_000) -> Path:
    """A progressive JPEG whose last scan stands there again and again: each leads the decoder over the whole image."""
    content = _encoded(4096, progressive=True)
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * scans + b"\xff\xd9")
    return path


def jpeg_of_exif(path: Path, segments: int = 200) -> Path:
    """A JPEG whose Exif is split: Pillow joins it piece by piece, and copies it each time."""
    content = _encoded()
    piece = b"\xff\xe1" + struct.pack(">H", 65533) + b"Exif\0\0" + bytes(65533 - 8)
    path.write_bytes(content[:2] + piece * segments + content[2:])
    return path


def jpeg_of_nested_exif(path: Path, marks: int = 170_000) -> Path:
    """A JPEG with Exif within Exif: Pillow takes the marks off one by one, and copies what is left each time."""
    content, nested = _encoded(), marks * _EXIF_MARK
    pieces = [nested[start : start + 65_520] for start in range(0, len(nested), 65_520)]
    exif = b"".join(b"\xff\xe1" + struct.pack(">H", len(piece) + 8) + _EXIF_MARK + piece for piece in pieces)
    path.write_bytes(content[:2] + exif + content[2:])
    return path


def png_of_nested_exif(path: Path, marks: int = 170_000) -> Path:
    """The same in a chunk of a PNG."""
    Image.new("L", (64, 64)).save(path, "PNG", exif=marks * _EXIF_MARK)
    return path


def png_of_raw_exif(path: Path, marks: int = 80_000) -> Path:
    """The same as text."""
    info = PngInfo()
    nested = marks * _EXIF_MARK
    info.add_text("Raw profile type exif", f"\nexif\n{len(nested):8}\n{nested.hex()}", zip=True)
    Image.new("L", (64, 64)).save(path, "PNG", pnginfo=info)
    return path


def tiff_of_items(path: Path, items: int = 40_000) -> Path:
    """A TIFF of many metadata items: GDAL looks through all that it has for each."""
    tags = ImageFileDirectory_v2()
    tags[_GDAL_METADATA] = (
        "<GDALMetadata>" + "".join(f'<Item name="k{number}">v</Item>' for number in range(items)) + "</GDALMetadata>"
    )
    tags.tagtype[_GDAL_METADATA] = 2
    Image.new("L", (64, 64)).save(path, "TIFF", tiffinfo=tags)
    return path
