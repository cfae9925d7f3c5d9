"""From a set of annotated pictures, as it is published, to the manifest that a dataset is built from."""

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fusargpt.errors import InputError
from fusargpt.files import check_writable, output_file
from fusargpt.geo.image import upright_size
from fusargpt.triplets.annotations import read_boxes
from fusargpt.triplets.layouts import FORMATS, parts_of
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_files import open_scene
from fusargpt.triplets.set_rows import NO_OBJECTS, Row, rows_of
from fusargpt.triplets.survey import SceneFailure

SUFFIXES = (".csv", ".jsonl")
_RASTERS = (".tif", ".tiff")
_REMEDY = "choose another --out"
_COLUMNS = ("scene", "id", "boxes", "split", "sensor", "license")


@dataclass(frozen=True)
class SetManifest:
    """What a manifest was made of.

    Attributes:
        rows: in it.
        splits: how many of the rows are in each; "" is in none.
        objects: how many of each label, as the annotations call it.
        rotated: how many of the objects have corners of their own.
        failures: pictures that cannot be read, or whose annotations cannot; they are not in it.
    """

    rows: int
    splits: Mapping[str, int]
    objects: Mapping[str, int]
    rotated: int
    failures: tuple[SceneFailure, ...]


def set_manifest(
    kind: str,
    folder: Path,
    out: Path,
    *,
    images: str | None = None,
    annotations: str | None = None,
    splits: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> SetManifest:
    """Write the manifest of a set; every picture is opened and every annotation read, as `triplets build` will do.

    Args:
        kind: "coco", "dota", "hrsid", "sardet", "voc" or "yolo", see `fusargpt.triplets.layouts`.
        folder: of the set.
        out: a new .csv or .jsonl file.
        images: folder of the pictures in `folder`, where it is not that of the format.
        annotations: folder or COCO file in `folder`, likewise.
        splits: from train, validation or test to the list of its pictures in `folder`, or to its COCO file.
        columns: what to say of every picture, as {"license": "apache-2.0"}.

    Raises:
        InputError: a set that does not lie as it should, pictures and annotations that are no pairs, no picture that
            can be read with its annotations, or a file that is there already or cannot be written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"--out: found {out.name}; expected a name that ends in {' or '.join(SUFFIXES)}")
    if out.exists():
        raise InputError(f"{out}: exists already; remove it or {_REMEDY}")
    check_writable(out, _REMEDY)  # before all pictures are read
    parts = parts_of(kind, folder, images, annotations, splits)
    rows = rows_of(FORMATS[kind], parts)
    good: list[Row] = []
    failures: list[SceneFailure] = []
    objects: Counter[str] = Counter()
    rotated = 0
    for number, row in enumerate(tqdm(rows, unit="picture", disable=None), start=1):
        try:
            labels, turned = _look(row)
        # Whatever it is, it must not cost the other pictures.
        except Exception as error:
            failures.append(SceneFailure.of(SceneRow(str(folder), number, row["id"], row["scene"]), error))
            continue
        objects += labels
        rotated += turned
        good.append({**row, **(columns or {})})
    if not good:
        more = f" (and so {len(failures) - 1:,} more)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0].reason}{more}")
    with output_file(out, _REMEDY) as partial:
        _write(partial, good, out.suffix.lower())
    counts = Counter(row.get("split", "") for row in good)
    return SetManifest(len(good), counts, dict(objects.most_common()), rotated, tuple(failures))


def _look(row: Row) -> tuple[Counter[str], int]:
    """How many objects of each label a picture shows, and how many of them are rotated."""
    path = Path(row["scene"])
    if not (row["scene"] + row["boxes"]).isprintable():
        raise InputError("the name of the file is no text that a manifest could hold; rename it")
    if path.suffix.lower() in _RASTERS:
        with open_scene(SceneRow("", 0, row["id"], row["scene"])) as scene:
            width, height = scene.width, scene.height
    else:
        width, height = upright_size(path.read_bytes())
    boxes = [] if row["boxes"] == NO_OBJECTS else row["boxes"]
    found = read_boxes(boxes, row["scene"], width, height, None, None)
    objects = (*found.boxes, *found.crowds)
    return Counter(box.label for box in objects), sum(bool(box.corners) for box in objects)


def _write(path: Path, rows: Sequence[Row], suffix: str) -> None:
    columns = [name for name in _COLUMNS if any(name in row for row in rows)]
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        return
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            inline = {**row, "boxes": []} if row["boxes"] == NO_OBJECTS else row
            file.write(json.dumps(inline) + "\n")
