"""What users write into manifests, right and wrong."""

import csv
import io
import json
import string
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.triplets.manifest import COLUMNS, SPLITS, read_manifest

FULL = {
    "scene": "scenes/a.tif",
    "id": "harbour",
    "polarization": "VV",
    "band": "2",
    "stored": "decibels",
    "nodata": "-9999",
    "crs": "EPSG:32611",
    "height_m": "12.5",
    "acquired": "2021-01-05",
    "sensor": "Sentinel-1A",
    "year": "2020",
    "caption": "A harbour, with ships.",
    "land_cover": "/data/cover.tif",
    "boxes": "boxes.xml",
    "split": "test",
    "license": "cc-by-4.0",
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        header = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, header)
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(text.getvalue(), newline="")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        features = [{"type": "Feature", "geometry": None, "properties": row} for row in rows]
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.geojson", "m.json"])
def test_every_column_is_read_from_every_format(name: str, tmp_path: Path) -> None:
    rows = read_manifest(write(tmp_path / name, [FULL, {"scene": "https://host/b.tif?key=1"}]))
    full, url = rows
    assert full.scene == str(tmp_path / "scenes/a.tif") and full.boxes == str(tmp_path / "boxes.xml")
    assert full.land_cover == "/data/cover.tif"
    assert (full.acquired, full.year, full.band, full.stored) == (date(2021, 1, 5), 2020, 2, "decibels")
    assert (full.nodata, full.crs, full.height_m) == (-9999, "EPSG:32611", 12.5)
    assert (full.id, full.split, full.caption) == ("harbour", "test", "A harbour, with ships.")
    assert (url.scene, url.id, url.boxes, url.year) == ("https://host/b.tif?key=1", "b", None, None)
    assert full.origin == f"{tmp_path / name}, row {2 if name == 'm.csv' else 1}"


def test_inline_boxes_stand_in_json(tmp_path: Path) -> None:
    boxes = [{"bbox_2d": [1, 2, 3, 4], "label": "ship"}]
    rows = read_manifest(
        write(tmp_path / "m.jsonl", [{"scene": "a.tif", "boxes": boxes}, {"scene": "b.tif", "boxes": []}])
    )
    assert [row.boxes for row in rows] == [tuple(boxes), ()]


def test_a_spreadsheets_mark_and_blank_rows_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("\ufeffscene,split\r\n\r\na.tif,\r\n,\r\nb.tif,train\r\n".encode())
    rows = read_manifest(path)
    assert [(row.number, row.id, row.split) for row in rows] == [(3, "a", None), (5, "b", "train")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a"}, r"row 1: no column 'scene'"),
        ({"scene": " "}, "scene is empty"),
        ({"scene": "a.tif", "colour": "red"}, "unknown column 'colour'; a manifest has id, scene"),
        ({"scene": "a.tif", "acquired": "5 May 2021"}, "acquired: found '5 May 2021'; expected an ISO date"),
        ({"scene": "a.tif", "acquired": "0021-05-05"}, "acquired: found '0021-05-05'"),
        ({"scene": "a.tif", "year": "twenty"}, "year: found 'twenty'; expected a year"),
        ({"scene": "a.tif", "year": True}, "year: found True"),
        ({"scene": "a.tif", "year": 2024.5}, "year: found 2024.5"),
        ({"scene": "a.tif", "band": 0}, "band: found 0"),
        ({"scene": "a.tif", "nodata": "nan"}, "nodata: found 'nan'; expected a number"),
        ({"scene": "a.tif", "height_m": True}, "height_m: found True; expected a number"),
        ({"scene": "a.tif", "stored": "dB"}, "stored: found 'dB'; expected one of grey, decibels"),
        ({"scene": "a.tif", "crs": "/vsicurl/http://127.0.0.1:1/x"}, "crs: CRS '/vsicurl/.*not a code or WKT"),
        ({"scene": "a.tif", "split": "dev"}, "split: found 'dev'; expected one of train, validation, test"),
        ({"scene": "a.tif", "sensor": 1}, "sensor: found 1; expected text"),
        ({"scene": "a.tif", "id": "two\nlines"}, "expected one line of text"),
        ({"scene": "a.tif", "caption": "\ud800"}, "caption: found"),
        ({"scene": "a.tif", "boxes": {"label": "ship"}}, "boxes: found"),
        ({"scene": "/"}, "expected a file, from whose name the id comes"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [row])
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}, row 1: ") and "\n" not in str(caught.value)


def test_of_many_wrong_rows_the_first_is_named_and_the_others_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", [{"scene": "a.tif", "year": year} for year in ("2020", "x", "y", "z")])
    with pytest.raises(InputError, match=r"row 3: year: found 'x'; expected a year as 2024 \(2 more rows are wrong\)"):
        read_manifest(path)


def test_ids_differ(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", [{"scene": "a/x.tif"}, {"scene": "b/x.tif"}])
    with pytest.raises(InputError, match=r"row 3: id 'x' is that of row 2 already"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "", "no column 'scene'"),
        ("m.csv", "scene\n", "no rows"),
        ("m.csv", "scene,scene\na.tif,b.tif\n", "stands there twice"),
        ("m.csv", "scene,caption\na.tif,Water, and land\n", r"row 2: 3 cells, but the header has 2 columns"),
        ("m.csv", 'scene,caption\na.tif,"open\nb.tif,x\n', "line 3: not CSV"),
        ("m.jsonl", '{"scene": "a.tif"}\n{"scene": \n', r"row 2: not JSON"),
        ("m.jsonl", '["a.tif"]\n', r"row 1: found list; expected a JSON object"),
        ("m.jsonl", '{"scene": "a.tif", "year": NaN}\n', "NaN is no number in JSON"),
        ("m.jsonl", '{"scene": "a.tif", "scene": "b.tif"}\n', "the key 'scene' stands there twice"),
        ("m.geojson", '{"type": "Feature"}', "not a GeoJSON FeatureCollection"),
        ("m.geojson", '{"features": [{"geometry": null}]}', r"row 1: a feature without properties"),
        ("m.xlsx", "", r"a manifest is a file that ends in \.csv, \.jsonl, \.geojson"),
    ],
)
def test_files_that_are_no_manifests(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / name)


def test_a_file_that_is_absent_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"scene\n\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        read_manifest(tmp_path / "m.csv")


names = st.text(string.ascii_letters + string.digits + " _-.äß漢", min_size=1).filter(lambda text: text.strip(" ./"))
captions = st.text(st.characters(exclude_categories=["Cs", "Cc"])).filter(lambda text: text == text.strip())
manifest_rows = st.fixed_dictionaries(
    {"scene": names.map(lambda name: f"scenes/{name}.tif"), "caption": captions},
    optional={
        "split": st.sampled_from(SPLITS),
        "year": st.integers(1978, 2100).map(str),
        "acquired": st.dates(date(1978, 1, 1), date(2100, 12, 31)).map(date.isoformat),
        "sensor": names.map(str.strip).filter(bool),
    },
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(manifest_rows, min_size=1, max_size=2, unique_by=lambda row: row["scene"].strip()))
def test_what_was_written_is_read_from_every_format(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    rows = [{"id": f"scene {number}", **row} for number, row in enumerate(rows)]
    for name in ("m.csv", "m.jsonl", "m.geojson"):
        for row, found in zip(rows, read_manifest(write(tmp_path / name, rows)), strict=True):
            assert found.scene == str(tmp_path / row["scene"])
            assert (found.caption or "", found.split, found.sensor) == (
                row["caption"],
                row.get("split"),
                row.get("sensor"),
            )
            assert (str(found.year) if found.year else None) == row.get("year")
            assert (found.acquired.isoformat() if found.acquired else None) == row.get("acquired")


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
anything = st.text(max_size=30) | st.lists(
    st.dictionaries(st.sampled_from(COLUMNS) | st.text(max_size=4), values, max_size=4), max_size=3
).map(lambda rows: "\n".join(json.dumps(row) for row in rows))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([".csv", ".jsonl", ".geojson"]), anything)
def test_garbage_is_refused_in_one_line_or_read(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    try:
        rows = read_manifest(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
    else:
        assert rows and all(row.scene and row.id.isprintable() for row in rows)
