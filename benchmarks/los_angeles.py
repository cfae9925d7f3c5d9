"""Ships of a real scene, found and missed: python -m benchmarks.los_angeles sentinel1_vv_port_of_la_2021-01-05.tif

The scene (Sentinel-1, VV in decibels, 550 x 756 pixels of 30 m) is not part of this repository. `los_angeles_ships.csv`
holds the brightest pixel of each of 40 ships in open water, marked by eye on the picture, without other records: a
small one may be missing, and a buoy among them. Ships moored at the quays are not in it, so a box on one of those
counts as false.

For each detector: how many boxes are on a ship, how many ships have a box (`benchmarks.ship_scores`), and how many of
the false boxes touch land, which knowing the place could mend. Land is read of the scene itself (`land`). Detectors are
fusargpt-mini, fusargpt-nano and its adapter for SSDD, or those that `--model` names, and CFAR (`benchmarks.cfar`), as
it is and with what touches land thrown away. A model's tiles are those that `fusargpt detect` cuts for it, or of
`--tile` pixels. `--out` names a folder for the models' boxes and the pictures that they are drawn on, `--results` the
file of the table.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.cfar import THRESHOLD, boxes_of, parts, stands_out
from benchmarks.ship_scores import Box, Ship, found, on_ship
from fusargpt.checkpoints import MINI, NANO, NANO_SSDD
from fusargpt.metrics.tally import Score, difference
from fusargpt.scenes import detect

SHIPS = Path(__file__).with_name("los_angeles_ships.csv")
RESULTS = Path(__file__).with_name("results") / "los_angeles.json"
CFAR = "CFAR"
SMALLEST_LAND = 1000
"""Pixels, 0.9 km2: larger than a ship with all its side lobes, and than the oil islands and breakwaters here."""
_MEDIAN = 5
_BINS = 256


def ships() -> list[Ship]:
    """Centres (x, y) of the ships' brightest pixels."""
    with SHIPS.open(newline="") as file:
        return [(int(row["column"]) + 0.5, int(row["row"]) + 0.5) for row in csv.DictReader(file)]


def land(decibels: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where a scene of land and sea shows land: bright in the median of 5 x 5 pixels, and large; holes are filled.

    Bright is what is above Otsu's threshold of the median. Islands, piers and breakwaters smaller than `SMALLEST_LAND`
    that do not touch the land are not in it.

    Args:
        decibels: [H, W], NaN where there is no data.
    """
    known = np.isfinite(decibels)
    smooth = ndimage.median_filter(np.where(known, decibels, np.nanmedian(decibels)), _MEDIAN)
    labels = parts(known & (smooth > _otsu(smooth[known])))
    large = np.flatnonzero(np.bincount(labels.ravel()) >= SMALLEST_LAND)
    return np.asarray(ndimage.binary_fill_holes(np.isin(labels, large[large > 0])), bool)


def _otsu(values: NDArray[np.floating]) -> float:
    """The threshold that parts values into the two groups of most variance between them."""
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    share, sums = np.cumsum(counts) / counts.sum(), np.cumsum(counts * centres) / counts.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (sums[-1] * share - sums) ** 2 / (share * (1 - share))
    return float(centres[np.nanargmax(between[:-1])])


def touches(box: Box, mask: NDArray[np.bool_]) -> bool:
    """Whether any pixel that a box covers, in part or whole, is in the mask."""
    x1, y1, x2, y2 = box
    rows = slice(max(int(np.floor(y1)), 0), int(np.ceil(y2)))
    columns = slice(max(int(np.floor(x1)), 0), int(np.ceil(x2)))
    return bool(mask[rows, columns].any())


def row(name: str, boxes: Sequence[Box], truth: Sequence[Ship], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """What a detector's boxes are worth, as plain JSON."""
    precision, recall = on_ship(boxes, truth), found(boxes, truth)
    false = [box for box, right in zip(boxes, precision.rows[:, 0], strict=True) if not right]
    return {
        "detector": name,
        "boxes": len(boxes),
        "false": len(false),
        "false_touching_land": sum(touches(box, mask) for box in false),
        "precision": asdict(precision.score()),
        "recall": asdict(recall.score()),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, percent with 95 % intervals over boxes and over ships."""
    lines = [
        "| detector | boxes | precision | recall | false boxes | of them touch land |",
        "|---|---|---|---|---|---|",
    ]
    for one in rows:
        precision, recall = (Score(**one[name]) for name in ("precision", "recall"))
        counts = f"{one['false']} | {one['false_touching_land']}"
        lines.append(f"| {one['detector']} | {one['boxes']} | {precision} | {recall} | {counts} |")
    return "\n".join(lines)


def read_decibels(path: Path) -> NDArray[np.float64]:
    """The first band, NaN where there is no data."""
    with rasterio.open(path) as scene:
        return scene.read(1, masked=True).astype(np.float64).filled(np.nan)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--model", type=Path, action="append", help="folder of a model, in place of the shipped ones")
    parser.add_argument("--tile", type=int, help="side of the models' tiles, in place of their own")
    parser.add_argument("--out", type=Path, default=Path("build/los_angeles"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = ships()
    decibels = read_decibels(options.scene)
    mask = land(decibels)
    detections: dict[str, list[Box]] = {}
    for model in options.model or (MINI, NANO, NANO_SSDD):
        name = model.name if options.tile is None else f"{model.name}, tiles of {options.tile}"
        out, picture = options.out / f"{name}.geojson", options.out / f"{name}.png"
        for earlier in (out, picture):
            earlier.unlink(missing_ok=True)
        result = detect(
            options.scene,
            target="ship",
            no_prior=True,
            model=str(model),
            tile=options.tile,
            out=out,
            quicklook=picture,
        )
        detections[name] = [place.box for place in result.places]
    # The test does not ask for calibration: a factor on all amplitudes changes nothing.
    detections[CFAR] = [*boxes_of(stands_out(10 ** (decibels / 20)), THRESHOLD)]
    for name, boxes in list(detections.items()):
        detections[f"{name}, none on land"] = [box for box in boxes if not touches(box, mask)]
    rows = [row(name, boxes, truth, mask) for name, boxes in detections.items()]
    recalls = {name: found(boxes, truth) for name, boxes in detections.items()}
    gains = {name: asdict(difference(tally, recalls[CFAR])) for name, tally in recalls.items() if name != CFAR}
    contents = {"ships": len(truth), "threshold": THRESHOLD, "rows": rows, "recall_minus_cfar": gains}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
