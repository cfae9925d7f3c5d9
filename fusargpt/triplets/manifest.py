"""The manifest of a dataset: one row a scene, in CSV, JSONL or GeoJSON.

Columns, of which only `scene` has to be there:

| column | meaning |
|---|---|
| `scene` | SAR raster: a path relative to the manifest, an absolute one, or a URL |
| `id` | unique name; default: the file's name without its suffix |
| `polarization` | which one of the raster to read, or what its only band is; default: its first |
| `band` | of the raster, from 1, where it does not say which of its bands the polarization is |
| `stored` | what its values are, "grey", "decibels", "amplitude", "power" or "iq" (complex); default: detected |
| `nodata` | the value that marks pixels without data, "none" for no value; default: what the raster says |
| `crs` | of its transform or control points, as EPSG:32611; default: what the raster says |
| `height_m` | of the ground above the ellipsoid, for rasters placed by RPCs; default: the middle of theirs |
| `acquired` | ISO date; default: what the raster says |
| `sensor` | default: what the raster says |
| `year` | of the AlphaEarth field; default: that of `acquired` |
| `caption` | what the whole scene shows, in words |
| `land_cover` | raster of Dynamic World classes 0..8, from which captions are written |
| `boxes` | path of a VOC, COCO, YOLO, DOTA or GeoJSON file, or a list, in CSV as JSON; see `triplets.annotations` |
| `split` | train, validation or test; default: by place |
| `license` | of the scene |

Empty cells and nulls count as left out. In GeoJSON every feature is a scene and its properties are the columns; its
geometry is not read, because the raster knows better where it lies.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path, PurePosixPath
from typing import SupportsFloat, cast, get_args

from fusargpt.errors import InputError, naming
from fusargpt.geo.geometry import check_crs_text
from fusargpt.geo.reading import Reading
from fusargpt.geo.remote import shown
from fusargpt.geo.stored import Stored

SPLITS = ("train", "validation", "test")
_REQUIRED = "scene"
_FIRST_YEAR, _LAST_YEAR = 1978, 2100  # Seasat flew in 1978


@dataclass(frozen=True)
class SceneRow:
    """One row of a manifest, checked. Paths are absolute or URLs; what the row leaves out is None.

    Attributes:
        origin: the manifest and the row, as messages begin: "scenes.csv, row 3".
        number: of the row: CSV rows count from 1 with the header, JSONL rows and GeoJSON features from 1.
        boxes: a path, or the inline entries as they stand.
    """

    origin: str
    number: int
    id: str
    scene: str
    polarization: str | None = None
    band: int | None = None
    stored: Stored | None = None
    nodata: float | None = None
    crs: str | None = None
    height_m: float | None = None
    acquired: date | None = None
    sensor: str | None = None
    year: int | None = None
    caption: str | None = None
    land_cover: str | None = None
    boxes: str | tuple[object, ...] | None = None
    split: str | None = None
    license: str | None = None

    @property
    def reading(self) -> Reading:
        """How the raster is to be read."""
        return Reading(
            stored=self.stored,
            nodata=self.nodata,
            crs=self.crs,
            height_m=self.height_m,
            band=self.band,
            polarization=self.polarization,
        )


COLUMNS = tuple(field.name for field in fields(SceneRow) if field.name not in ("origin", "number"))


def read_manifest(path: str | Path) -> list[SceneRow]:
    """The rows of a manifest, in its order.

    Raises:
        InputError: no such file, another format, no row, unknown columns, or rows that are not as described above; the
            message names the first such row and says how many more there are.
    """
    path = Path(path)
    found, wrong, seen = [], [], {}
    for number, columns in _read(path):
        origin = f"{path}, row {number}"
        try:
            row = _row(columns, origin, number, path.parent)
            if row.id in seen:
                raise InputError(
                    f"id {row.id!r} is that of row {seen[row.id]} already; give each scene an id of its own"
                )
            seen[row.id] = number
            found.append(row)
        except InputError as error:
            wrong.append(f"{origin}: {error}")
    if wrong:
        more = f" ({len(wrong) - 1} more rows are wrong)" if len(wrong) > 1 else ""
        raise InputError(wrong[0] + more)
    if not found:
        raise InputError(f"{path}: no rows; expected one for each scene")
    return found


def _read(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a manifest is a file that ends in {', '.join(_READERS)}")
    # A named pipe would be waited for.
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no regular file'}; expected a manifest")
    try:
        # With or without the mark that spreadsheets put first.
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    return reader(path, text)


def _read_csv(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    # Strict: a quote that is never closed would otherwise swallow the rows after it.
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        if len(set(header)) < len(header):
            raise InputError(f"{path}, row 1: a column name stands there twice: {header}")
        _check_columns(set(header), f"{path}, row 1")
        for number, cells in enumerate(lines, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, row {number}: {len(cells)} cells, but the header has {len(header)} columns; put cells "
                    "with commas into quotes"
                )
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}: not CSV ({error})") from error


def _read_jsonl(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    # Not splitlines, which would also split at separators that JSON allows in strings.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            columns = parse_json(line, f"{path}, row {number}")
            if not isinstance(columns, dict):
                raise InputError(f"{path}, row {number}: found {type(columns).__name__}; expected a JSON object")
            _check_columns(set(columns), f"{path}, row {number}")
            yield number, columns


def _read_geojson(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    collection = parse_json(text, str(path))
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise InputError(f"{path}: not a GeoJSON FeatureCollection; expected one feature for each scene")
    for number, feature in enumerate(features, start=1):
        columns = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(columns, dict):
            raise InputError(f"{path}, row {number}: a feature without properties; they are the columns of the scene")
        _check_columns(set(columns), f"{path}, row {number}")
        yield number, columns


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".geojson": _read_geojson, ".json": _read_geojson}


def parse_json(text: str, origin: str) -> object:
    """Standard JSON.

    Raises:
        InputError: anything else, NaN or infinite numbers, which JSON does not have, or a key that stands there twice.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin}: not JSON ({error})") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def _check_columns(found: set[str], origin: str) -> None:
    if unknown := found - set(COLUMNS):
        names = ", ".join(map(repr, sorted(unknown)))
        raise InputError(f"{origin}: unknown column {names}; a manifest has {', '.join(COLUMNS)}")
    if _REQUIRED not in found:
        raise InputError(f"{origin}: no column {_REQUIRED!r}; it names the SAR raster")


def _row(columns: Mapping[str, object], origin: str, number: int, folder: Path) -> SceneRow:
    given = dict(columns)
    boxes = given.pop("boxes", None)
    year, band = given.pop("year", None), given.pop("band", None)
    nodata, height_m = given.pop("nodata", None), given.pop("height_m", None)
    texts = {name: _text(name, value) for name, value in given.items()}
    if texts["scene"] is None:
        raise InputError("scene is empty; it names the SAR raster")
    scene = _located(texts["scene"], folder)
    name = texts.get("id") or PurePosixPath(scene.split("?")[0]).stem
    if not name:
        raise InputError(f"scene: found {shown(scene)!r}; expected a file, from whose name the id comes")
    land_cover, split = texts.get("land_cover"), texts.get("split")
    if split is not None and split not in SPLITS:
        raise InputError(f"split: found {split!r}; expected one of {', '.join(SPLITS)}")
    return SceneRow(
        origin=origin,
        number=number,
        id=name,
        scene=scene,
        polarization=texts.get("polarization"),
        acquired=_date(texts.get("acquired")),
        sensor=texts.get("sensor"),
        band=_band(band),
        stored=_stored(texts.get("stored")),
        nodata=math.nan if str(nodata).strip().lower() == "none" and nodata is not None else _number("nodata", nodata),
        crs=_crs(texts.get("crs")),
        height_m=_number("height_m", height_m),
        year=_year(year),
        caption=texts.get("caption"),
        land_cover=None if land_cover is None else _located(land_cover, folder),
        boxes=_boxes(boxes, folder),
        split=split,
        license=texts.get("license"),
    )


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{name}: found {value!r}; expected text")
    text = value.strip()
    # A caption may have several lines; what cannot be encoded cannot be written either.
    readable = text.encode(errors="ignore").decode() == text if name == "caption" else text.isprintable()
    if not readable:
        raise InputError(f"{name}: found {value!r}; expected one line of text")
    return text or None


def _located(path: str, folder: Path) -> str:
    """A path of the manifest as it can be opened from anywhere; URLs stay as they are."""
    if "://" in path:
        return path
    return str((folder / path).absolute())


def _date(text: str | None) -> date | None:
    try:
        found = None if text is None else date.fromisoformat(text)
    except ValueError:
        found = date.min
    if found is not None and not _in_range(found.year):
        raise InputError(f"acquired: found {text!r}; expected an ISO date as 2024-06-30")
    return found


def _year(value: object) -> int | None:
    year = _whole_number(value)
    if year is not None and not _in_range(year):
        raise InputError(f"year: found {value!r}; expected a year as 2024")
    return year


def _band(value: object) -> int | None:
    band = _whole_number(value)
    if band == 0:
        raise InputError(f"band: found {value!r}; expected the number of a band, from 1")
    return band


def _whole_number(value: object) -> int | None:
    """None for an empty cell, 0 for what is no number of one to four digits."""
    text = str(value).strip()
    if value is None or not text:
        return None
    # Not isdigit, which knows digits of other scripts; not int, which knows True and underscores.
    return int(text) if isinstance(value, int | str) and re.fullmatch("[0-9]{1,4}", text) else 0


def _number(name: str, value: object) -> float | None:
    """None for an empty cell."""
    if value is None or not str(value).strip():
        return None
    try:
        # JSON's true is a number to Python.
        readable = None if isinstance(value, bool) or not isinstance(value, str | SupportsFloat) else value
        number = math.nan if readable is None else float(readable)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name}: found {value!r}; expected a number")
    return number


def _stored(text: str | None) -> Stored | None:
    if text is not None and text not in get_args(Stored):
        raise InputError(f"stored: found {text!r}; expected one of {', '.join(get_args(Stored))}")
    return cast(Stored | None, text)


def _crs(text: str | None) -> str | None:
    if text is not None:
        with naming("crs"):
            check_crs_text(text)
    return text


def _in_range(year: int) -> bool:
    return _FIRST_YEAR <= year <= _LAST_YEAR


def _boxes(value: object, folder: Path) -> str | tuple[object, ...] | None:
    if isinstance(value, list):
        return tuple(value)
    if value is not None and not isinstance(value, str):
        raise InputError(f"boxes: found {value!r}; expected the path of a file, or a list of boxes")
    path = _text("boxes", value)
    if path is not None and path.startswith("["):
        return _boxes(parse_json(path, "boxes"), folder)
    return None if path is None else _located(path, folder)
