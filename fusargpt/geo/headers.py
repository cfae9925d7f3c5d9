"""What the header of a picture file asks of its decoder, looked at before any decoder sees it.

Some files of a few hundred kilobytes cost minutes: Pillow joins pieces of Exif one by one and copies all of it each
time, GDAL looks through all metadata items for each new one, and every scan of a progressive JPEG is one more walk over
the image. The formats allow it, and no file that was made to be looked at holds so much.
"""

import mmap
import re
import struct
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fusargpt.errors import InputError

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}
"""How the files of each format begin."""

EXIF_MARK = b"Exif\0\0"
MAX_EXIF_SEGMENTS = 16
"""Of 64 KiB. A camera writes one."""
MAX_SCANS = 200
"""Of a JPEG. A progressive one has about ten."""
MAX_METADATA_ITEMS = 4096
"""Of a TIFF's GDAL metadata. A product of sixty bands with ten items for each has 600."""

_EXIF, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
# What is no data: FF that is followed by neither 00 nor a restart marker.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_ORIENTATION, _GDAL_METADATA = 274, 42112
_TIFF = tuple(signature for signature, name in SIGNATURES.items() if name == "TIFF")
_MAX_DIRECTORIES = 4096
_MAX_TAGS = 65_535
_ADVICE = "save it again as a plain GeoTIFF, PNG or JPEG, without metadata"

Content = bytes | mmap.mmap


def file_format_of(path: Path) -> str:
    """ "PNG", "JPEG" or "TIFF" by the first bytes of a file, whatever its name; InputError for any other."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; expected a PNG, JPEG or TIFF file")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    # A named pipe would be waited for.
    if not path.is_file():
        raise InputError(f"{path}: no regular file; expected a PNG, JPEG or TIFF file")
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    raise InputError(
        f"{path}: not a PNG, JPEG or TIFF image (it starts with {head!r}); convert it first, for example with "
        "gdal_translate"
    )


def check_header(path_or_content: str | Path | bytes) -> None:
    """Refuse a JPEG or TIFF file that costs its decoder far more than its size; others, and damaged ones, pass.

    Args:
        path_or_content: a local file, or what one holds.

    Raises:
        InputError: Exif within Exif, more than 16 segments of it or 200 scans in a JPEG, or more than 4,096 items in a
            TIFF.
    """
    with _bytes_of(path_or_content) as content:
        if content[:3] == b"\xff\xd8\xff":
            _check_jpeg(content)
        elif content[:4] in _TIFF:
            _check_tiff(content)


def check_exif(exif: bytes) -> None:
    """Refuse Exif within Exif, whose marks Pillow takes off one by one, copying what is left each time.

    Args:
        exif: from its mark on, as `info["exif"]` of a picture; or the beginning of it.

    Raises:
        InputError: more than two marks, one after the other.
    """
    if exif.startswith(3 * EXIF_MARK):
        raise InputError(f"Exif within Exif; {_ADVICE}")


def check_upright(path: str | Path) -> None:
    """Refuse a TIFF file whose first row is not its top or whose first column is not its left: GDAL does not turn it.

    Raises:
        InputError: another orientation than 1 (TIFF 6.0, section 8).
    """
    with _bytes_of(path) as content:
        if content[:4] not in _TIFF:
            return
        order = "<" if content[:2] == b"II" else ">"
        value = next(_directories(content), {}).get(_ORIENTATION)
        told = 1 if value is None else struct.unpack_from(f"{order}H", value)[0]
        if told != 1:
            raise InputError(
                f"a TIFF whose tag Orientation is {told}: its rows are not those of the image; save it upright, or, "
                "where the tag is wrong, set it to 1 with tiffset -s 274 1"
            )


@contextmanager
def _bytes_of(path_or_content: str | Path | bytes) -> Generator[Content]:
    """A file as bytes, of which only those are read that are looked at; none of a file that cannot be read."""
    if isinstance(path_or_content, bytes):
        yield path_or_content
        return
    with ExitStack() as opened:
        content: Content = b""
        # Whoever opens the file next says what is wrong with it; a pipe would be waited for.
        with suppress(OSError, ValueError):
            if Path(path_or_content).is_file() and Path(path_or_content).stat().st_size:
                file = opened.enter_context(open(path_or_content, "rb"))
                content = opened.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        yield content


def _check_jpeg(content: Content) -> None:
    exif = scans = 0
    joined = b""
    position = 2
    while (found := _NEXT_MARKER.search(content, position)) is not None:
        marker, position = content[found.end() - 1], found.end()
        if marker == _END or position + 2 > len(content):
            return
        length = struct.unpack(">H", content[position : position + 2])[0]
        if marker == _EXIF and content[position + 2 : position + 8] == EXIF_MARK:
            exif += 1
            joined += content[position + 2 + (6 if joined else 0) : position + length][: 3 * len(EXIF_MARK)]
            check_exif(joined)
        scans += marker == _START_OF_SCAN
        if exif > MAX_EXIF_SEGMENTS:
            raise InputError(f"a JPEG with more than {MAX_EXIF_SEGMENTS} segments of Exif; {_ADVICE}")
        if scans > MAX_SCANS:
            raise InputError(f"a JPEG with more than {MAX_SCANS} scans; {_ADVICE}")
        position += length


def _check_tiff(content: Content) -> None:
    for directory in _directories(content):
        metadata = directory.get(_GDAL_METADATA, b"")
        items = sum(1 for _ in re.finditer(rb"<item", metadata, re.IGNORECASE))
        if items > MAX_METADATA_ITEMS:
            raise InputError(f"a TIFF with {items:,} metadata items; at most {MAX_METADATA_ITEMS:,}; {_ADVICE}")


def _directories(content: Content) -> Iterator[dict[int, bytes]]:
    """The looked-at tags of each image of a TIFF or BigTIFF file (TIFF 6.0, section 2): their values, by number."""
    order = "<" if content[:2] == b"II" else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    number, entry, place = ("Q", "HHQ8s", 8) if is_big else ("H", "HHI4s", 4)
    offset = f"{order}Q" if is_big else f"{order}I"
    seen: set[int] = set()
    try:
        position = struct.unpack(offset, content[place : place + struct.calcsize(offset)])[0]
        while position and position not in seen and len(seen) < _MAX_DIRECTORIES:
            seen.add(position)
            count = struct.unpack_from(order + number, content, position)[0]
            start = position + struct.calcsize(order + number)
            size = struct.calcsize(order + entry)
            found: dict[int, bytes] = {}
            for index in range(min(count, _MAX_TAGS)):
                tag, _, length, value = struct.unpack_from(order + entry, content, start + index * size)
                if tag == _GDAL_METADATA and length > len(value):
                    there = struct.unpack(offset, value)[0]
                    value = content[there : there + length]
                if tag in (_GDAL_METADATA, _ORIENTATION):
                    found[tag] = value
            yield found
            position = struct.unpack_from(offset, content, start + count * size)[0]
    except struct.error:
        # Cut off: GDAL and Pillow say so.
        return
