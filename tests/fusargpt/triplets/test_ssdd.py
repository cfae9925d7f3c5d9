"""The way from a published detection set to an instruction set: SSDD, whose images lie beside the repository."""

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.triplets.build import build
from fusargpt.triplets.manifest import read_manifest
from fusargpt.triplets.set_manifest import set_manifest
from fusargpt.triplets.settings import BuildSettings
from tests.real_data import REAL_DATA, needs_real_data

SSDD = REAL_DATA / "ssdd"
SPLITS = {"train": "train.txt", "validation": "validation.txt"}
PLACES: dict[str, Any] = {"images": "images", "annotations": "annotations"}


@pytest.mark.slow
@needs_real_data
def test_ssdd_becomes_an_instruction_set(tmp_path: Path) -> None:
    manifest = tmp_path / "ssdd.csv"
    made = set_manifest("voc", SSDD, manifest, **PLACES, splits=SPLITS, columns={"license": "apache-2.0"})
    assert made.rows == 178 and made.objects == {"ship": 418} and not made.failures
    settings = BuildSettings(chip_size=0, missing_prior="empty")
    report = build(manifest, tmp_path / "out", settings, workers=0)
    assert report.failures == () and report.counts["chips"] == 178
    assert report.scenes == {"train": 118, "validation": 60}
    ships = 0
    for path in report.shards:
        for row in pq.read_table(tmp_path / "out" / path).to_pylist():
            assert row["prior_embeddings"] == [] and row["bounds"] is None and row["task"] != "describe"
            name, _, question = row["id"].partition("/")
            root = ElementTree.parse(SSDD / "annotations" / f"{name}.xml").getroot()
            count = len(root.findall("object"))
            assert len(row["objects"]) == count
            if question == "count-ship":
                assert row["completion"][0]["content"] == str(count)
                ships += count
                _check_boxes(row, root)
    assert ships == 418


def _check_boxes(row: dict[str, Any], root: ElementTree.Element) -> None:
    """Boxes are where the annotation says, in pixels of the resized image."""
    width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
        assert image.width % 28 == image.height % 28 == 0
        factors = np.array([image.width / width, image.height / height] * 2)
    edges = ("xmin", "ymin", "xmax", "ymax")
    annotated = [[float(item.findtext(f"bndbox/{edge}") or 0) for edge in edges] for item in root.findall("object")]
    found = np.array([item["bbox_2d"] for item in row["objects"]])
    for box in np.array(annotated) * factors:
        assert np.abs(found - box).max(axis=1).min() <= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        Image.new("L", (60, 60), 90).save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "annotations" / f"{name}.xml").write_text("<annotation></annotation>")
    return tmp_path


def test_a_folder_without_lists(folder: Path) -> None:
    made = set_manifest("voc", folder, folder / "m.jsonl", **PLACES, columns={"sensor": "TerraSAR-X"})
    rows = read_manifest(folder / "m.jsonl")
    assert [(row.id, row.sensor, row.split) for row in rows] == [("a", "TerraSAR-X", None), ("b", "TerraSAR-X", None)]
    assert made.splits == {"": 2} and made.objects == {}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "a\nc\n"}, r"train, line 2: no image 'c'"),
        ({"train": "a.png\n", "test": "\na\n"}, r"test, line 2: 'a' is listed already, in train"),
        ({"val": "a\n"}, "split: found 'val'; expected one of train, validation, test"),
        ({"train": None}, "train: cannot be read"),
    ],
)
def test_lists_that_are_wrong(folder: Path, lists: dict[str, str | None], message: str) -> None:
    for name, text in lists.items():
        if text is not None:
            (folder / name).write_text(text)
    with pytest.raises(InputError, match=message):
        set_manifest("voc", folder, folder / "m.csv", **PLACES, splits={name: name for name in lists})


def test_images_without_annotation_and_folders_without_images(folder: Path) -> None:
    (folder / "annotations" / "b.xml").unlink()
    with pytest.raises(InputError, match=r"b\.xml: no such file; expected the annotation of b\.png"):
        set_manifest("voc", folder, folder / "m.csv", **PLACES)
    with pytest.raises(InputError, match="no picture; expected a folder"):
        set_manifest("voc", folder, folder / "m.csv", images=".", annotations="annotations")
