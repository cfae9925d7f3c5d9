"""More training pictures of few: parts of annotated pictures, turned and mirrored.

python -m fusargpt.triplets.augment manifest.jsonl --copies 24 --out DIR

Writes DIR/*.png and DIR/manifest.jsonl: each picture of the split (train) and that many copies of it, and the rows of
the other splits as they are. A copy is a part that shows from `--smallest` (0.5) to all of either side, in one of the
eight ways to turn and mirror it; its edge cuts no object, and it holds at least one where the picture does. Where
chance finds no such part in twenty tries, the copy is of the whole picture. The same arguments give the same copies.

A picture that is turned is not one that a sensor would take: shadows and layover point elsewhere. For compact targets
that is a small lie; where geometry tells what a thing is, leave it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fusargpt.errors import InputError, naming
from fusargpt.files import reason, watching_disk, write_text_whole
from fusargpt.geo.headers import check_header
from fusargpt.geo.image import PICTURE_FORMATS, upright
from fusargpt.tasks.stable_random import whole_number
from fusargpt.triplets.annotations import read_boxes
from fusargpt.triplets.boxes import Box, LabelNames, visible_part
from fusargpt.triplets.manifest import COLUMNS, SPLITS, SceneRow, read_manifest

_TRIES = 20
# What these say is true of a raster that has a place or a scale, or of the whole picture; of a part it would be wrong.
_OF_THE_WHOLE = ("caption", "land_cover", "crs", "band", "nodata", "stored", "height_m", "year")
_MODES = ("L", "RGB")
_WAYS = 8


def augment(
    manifest: Path, out: Path, split: str = "train", copies: int = 24, smallest: float = 0.5, seed: int = 0
) -> list[dict[str, Any]]:
    """Write the copies and `out`/manifest.jsonl; returns its rows.

    Args:
        manifest: rows of 8-bit pictures with boxes, as `fusargpt.triplets.set_manifest` writes them.
        out: a folder, made if it is not there.
        split: whose pictures are copied.
        copies: of each picture, beside itself; at least 1.
        smallest: share of either side that a copy shows at least, above 0 and at most 1.
        seed: of the parts and the ways to turn them.

    Raises:
        InputError: a manifest that cannot be read, no picture in the split, one without boxes or with columns that are
            true of the whole only, a picture that cannot be read or is not 8-bit grey or RGB, numbers out of range, or
            a folder that cannot be written.
    """
    if split not in SPLITS:
        raise InputError(f"split: found {split!r}; expected one of {', '.join(SPLITS)}")
    if copies < 1:
        raise InputError(f"copies: found {copies}; expected at least 1")
    if not 0 < smallest <= 1:
        raise InputError(f"smallest: found {smallest}; expected a share above 0 and at most 1")
    found = read_manifest(manifest)
    chosen = [row for row in found if row.split == split]
    if not chosen:
        raise InputError(f"{manifest}: no row with split {split!r}")
    for row in chosen:
        _check(row)
    try:
        with watching_disk(out, str(out), None, "make room, or choose another place"):
            return _write(found, split, out, copies, smallest, seed)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({reason(error)}); choose another place") from error


def _write(
    found: Sequence[SceneRow], split: str, out: Path, copies: int, smallest: float, seed: int
) -> list[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for row in tqdm(found, desc="pictures", unit="picture"):
        columns = {name: value for name, value in asdict(row).items() if name in COLUMNS and value is not None}
        if row.acquired is not None:
            columns["acquired"] = row.acquired.isoformat()
        rows.append(columns)
        if row.split == split:
            rows += _copies(row, columns, out, copies, smallest, seed)
    lines = "".join(json.dumps(columns) + "\n" for columns in rows)
    write_text_whole(out / "manifest.jsonl", lines)
    return rows


def _check(row: SceneRow) -> None:
    if row.boxes is None:
        raise InputError(f"{row.origin}: no boxes; a part of a picture without is asked nothing")
    given = [name for name in _OF_THE_WHOLE if vars(row)[name] is not None]
    if given:
        raise InputError(f"{row.origin}: found {', '.join(given)}; expected pictures that have boxes alone")


def _copies(
    row: SceneRow, columns: dict[str, object], out: Path, copies: int, smallest: float, seed: int
) -> list[dict[str, Any]]:
    with naming(str(row.scene)):
        check_header(row.scene)
    try:
        with Image.open(row.scene, formats=PICTURE_FORMATS) as image:
            if image.mode not in _MODES:
                raise InputError(
                    f"{row.scene}: pixels of kind {image.mode}; expected 8-bit pictures, {', '.join(_MODES)}"
                )
            picture = upright(image).convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{row.scene}: cannot be read ({error}); expected a PNG or JPEG") from error
    names = LabelNames(None, {})
    assert row.boxes is not None
    found = read_boxes(row.boxes, row.scene, picture.width, picture.height, None, names)
    boxes = found.boxes
    rows = []
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy, whole_number(row.id)])
        left, top, right, bottom = _part(rng, picture.width, picture.height, boxes, smallest)
        way = int(rng.integers(_WAYS))
        part = _turned(picture.crop((left, top, right, bottom)), way)
        name = f"{row.id}-{copy:03d}"
        part.save(out / f"{name}.png")
        shown = [(box, visible_part(box.edges, (left, top, right, bottom))) for box in (*boxes, *found.crowds)]
        entries = [
            {
                "bbox_2d": turned_box((x1 - left, y1 - top, x2 - left, y2 - top), right - left, bottom - top, way),
                "label": box.label,
                **({"fine_label": box.fine_label} if box.fine_label else {}),
                **({"crowd": True} if box in found.crowds else {}),
            }
            for box, seen in shown
            if seen is not None
            for x1, y1, x2, y2 in [seen]
        ]
        rows.append({**columns, "id": name, "scene": f"{name}.png", "boxes": entries})
    return rows


def _part(
    rng: np.random.Generator, width: int, height: int, boxes: Sequence[Box], smallest: float
) -> tuple[int, int, int, int]:
    """Edges in whole pixels of a part that cuts no object; the whole picture where none is found."""
    for _ in range(_TRIES):
        share = rng.uniform(smallest, 1)
        across, down = max(1, round(share * width)), max(1, round(share * height))
        left, top = int(rng.integers(width - across + 1)), int(rng.integers(height - down + 1))
        part = (left, top, left + across, top + down)
        seen = [(box, visible_part(box.edges, part)) for box in boxes]
        whole = [box for box, inside in seen if inside is not None and inside == box.edges]
        if len(whole) == sum(inside is not None for _, inside in seen) and (whole or not boxes):
            return part
    return 0, 0, width, height


def _turned(image: Image.Image, way: int) -> Image.Image:
    """The image in one of eight ways: 4 to 7 mirror it left to right first; then quarter turns counter-clockwise."""
    if way >= 4:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turns = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    turn = turns[way % 4]
    return image if turn is None else image.transpose(turn)


def turned_box(edges: Sequence[float], width: int, height: int, way: int) -> list[float]:
    """Where [x1, y1, x2, y2] of an image of `width` x `height` pixels lies after it was turned in `way` (0 to 7)."""
    x1, y1, x2, y2 = edges
    if way >= 4:
        x1, x2 = width - x2, width - x1
    for _ in range(way % 4):
        x1, y1, x2, y2 = y1, width - x2, y2, width - x1
        width, height = height, width
    return [x1, y1, x2, y2]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", metavar="MANIFEST.jsonl", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    parser.add_argument("--copies", metavar="N", type=int, default=24, help="of each picture (default: 24)")
    parser.add_argument("--smallest", metavar="SHARE", type=float, default=0.5, help="of either side (default: 0.5)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default: 0")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    options = vars(parser.parse_args(arguments))
    try:
        rows = augment(**options)
    except InputError as error:
        print(f"augment: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(rows)} rows in {options['out'] / 'manifest.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
