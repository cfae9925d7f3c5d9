"""Write the outlines that the map of a place is drawn from: python -m scripts.make_outlines COUNTRIES.shp CITIES.shp

Both are of Natural Earth (public domain, naturalearthdata.com) at 1:110 million: `ne_110m_admin_0_countries.shp`, and
`ne_110m_populated_places.shp` with its .dbf and .cpg beside it. Outlines are simplified to a tenth of a degree, which a
map of a few hundred pixels does not show.
"""

import argparse
import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OUTLINES = Path(__file__).with_name("outlines.json")
TOLERANCE_DEGREES = 0.1
_POINT, _POLYGON = 1, 5


def make_outlines(countries: Path, cities: Path, out: Path) -> None:
    """Write rings of (longitude, latitude) in tenths of a degree, and cities with name, longitude and latitude."""
    rings = []
    for shape in _shapes(countries):
        for ring in _rings(shape):
            tenths = np.round(ring[_kept(ring)] * 10).astype(int)
            if len(np.unique(tenths, axis=0)) > 2:
                rings.append(tenths.ravel().tolist())
    named = sorted(
        [name, round(float(x), 2), round(float(y), 2)]
        for name, (x, y) in zip(_names(cities.with_suffix(".dbf")), map(_point, _shapes(cities)), strict=True)
        if "?" not in name  # a letter that the file's encoding lacks
    )
    lines = ",\n".join(json.dumps(ring, separators=(",", ":")) for ring in rings)
    places = ",\n".join(json.dumps(city, ensure_ascii=False, separators=(",", ":")) for city in named)
    out.write_text(f'{{"land":[\n{lines}\n],"cities":[\n{places}\n]}}\n', encoding="utf-8")


def _shapes(path: Path) -> Iterator[bytes]:
    """The records of a shapefile, after their headers."""
    content = path.read_bytes()
    start = 100
    while start < len(content):
        (words,) = struct.unpack_from(">i", content, start + 4)
        yield content[start + 8 : start + 8 + 2 * words]
        start += 8 + 2 * words


def _rings(shape: bytes) -> Iterator[NDArray[np.float64]]:
    kind, *_, parts, points = struct.unpack_from("<i4d2i", shape)
    if kind != _POLYGON:
        raise SystemExit(f"error: a shape of kind {kind}; expected polygons ({_POLYGON})")
    starts = [*struct.unpack_from(f"<{parts}i", shape, 44), points]
    coordinates = np.frombuffer(shape, "<f8", 2 * points, 44 + 4 * parts).reshape(-1, 2)
    for start, end in pairwise(starts):
        yield coordinates[start:end]


def _point(shape: bytes) -> tuple[float, float]:
    kind, x, y = struct.unpack_from("<i2d", shape)
    if kind != _POINT:
        raise SystemExit(f"error: a shape of kind {kind}; expected points ({_POINT})")
    return x, y


def _names(path: Path) -> Iterator[str]:
    """The field `name` of a dBase file, in the encoding that the .cpg file beside it names."""
    content, encoding = path.read_bytes(), path.with_suffix(".cpg").read_text().strip()
    records, header, length = struct.unpack_from("<IHH", content, 4)
    start = 1  # after the mark of a deleted record
    for descriptor in range(32, header - 1, 32):
        name, width = content[descriptor : descriptor + 11].rstrip(b"\0").decode(), content[descriptor + 16]
        if name.lower() == "name":
            for number in range(records):
                record = header + number * length
                yield content[record + start : record + start + width].decode(encoding).strip()
            return
        start += width
    raise SystemExit(f"error: {path}: no field called name")


def _kept(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points of a line remain when none may be further than the tolerance from the rest (Douglas-Peucker)."""
    kept = np.zeros(len(points), bool)
    kept[[0, -1]] = True
    open_spans = [(0, len(points) - 1)]
    while open_spans:
        first, last = open_spans.pop()
        if last - first < 2:
            continue
        along = points[last] - points[first]
        inner = points[first + 1 : last] - points[first]
        length = np.hypot(*along)
        away = np.abs(inner @ (-along[1], along[0])) / length if length else np.hypot(*inner.T)
        farthest = int(away.argmax())
        if away[farthest] > TOLERANCE_DEGREES:
            middle = first + 1 + farthest
            kept[middle] = True
            open_spans += [(first, middle), (middle, last)]
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("countries", type=Path)
    parser.add_argument("cities", type=Path)
    options = parser.parse_args()
    make_outlines(options.countries, options.cities, OUTLINES)
