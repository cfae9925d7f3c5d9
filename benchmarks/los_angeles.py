"""Ships of a real scene, found and missed: python -m benchmarks.los_angeles sentinel1_vv_port_of_la_2021-01-05.tif

The scene (Sentinel-1, VV in decibels, 550 x 756 pixels of 30 m) is not part of this repository. `los_angeles_ships.csv`
holds the brightest pixel of each of 40 ships in open water, marked by eye on the picture, without other records: a
small one may be missing, and a buoy among them. Ships moored at the quays are not in it, so a box on one of those
counts as false.

For each detector: how many boxes are on a ship, how many ships have a box (`benchmarks.ship_scores`), and how many of
the false boxes touch land, which knowing the place could mend. Land is read of the scene itself (`land`). Detectors are
fusargpt-mini, fusargpt-nano and its adapter for SSDD, or those that `--model` names, and CFAR (`benchmarks.cfar`), as
it is and with what touches land thrown away. A model's tiles are those that `fusargpt detect` cuts for it, or of
`--tile` pixels, and its boxes those that `detect` keeps: from the least score on that its calibration says. How both
shares change with that score, and with CFAR's threshold, is a curve, drawn beside the results; its best precision that
leaves 80 % of the ships a box stands in the table. Nothing that is shipped was chosen by it. `--out` names a folder for
the models' boxes and the pictures that they are drawn on, `--results` the file of the table.
"""

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.cfar import THRESHOLD, boxes_of, parts, stands_out
from benchmarks.ship_scores import Box, Ship, found, on_ship
from fusargpt.checkpoints import MINI, NANO, NANO_SSDD
from fusargpt.metrics.tally import Score, difference
from fusargpt.scenes import detect
from fusargpt.scenes.layers import Place

Boxes = Sequence[Box]

SHIPS = Path(__file__).with_name("los_angeles_ships.csv")
RESULTS = Path(__file__).with_name("results") / "los_angeles.json"
CFAR = "CFAR"
CFAR_THRESHOLDS = tuple(np.geomspace(3, 300, 93).tolist())
"""Of its curve; beyond the last one few ships stand out."""
MOST_FOUND = 0.8
"""Recall, or more, at which the precisions of curves are compared."""
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


def row(
    name: str,
    boxes: Boxes,
    truth: Sequence[Ship],
    mask: NDArray[np.bool_],
    points: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """What a detector's boxes, and those of its curve, are worth, as plain JSON."""
    precision, recall = on_ship(boxes, truth), found(boxes, truth)
    false = [box for box, right in zip(boxes, precision.rows[:, 0], strict=True) if not right]
    return {
        "detector": name,
        "boxes": len(boxes),
        "false": len(false),
        "false_touching_land": sum(touches(box, mask) for box in false),
        "precision": asdict(precision.score()),
        "recall": asdict(recall.score()),
        "precision_where_found": precision_where_found(points),
    }


def curve(kept: Callable[[float], Boxes], least: Sequence[float], truth: Sequence[Ship]) -> list[list[float]]:
    """[least score, boxes, precision, recall] by falling score, of those with any box.

    Args:
        kept: the boxes that reach a score.
        least: the scores.
        truth: the ships.
    """
    points: list[list[float]] = []
    for score in sorted(set(least), reverse=True):
        if boxes := kept(score):
            points.append([score, len(boxes), on_ship(boxes, truth).value, found(boxes, truth).value])
    return points


def precision_where_found(points: Sequence[Sequence[float]]) -> float | None:
    """The best precision of the scores from which on `MOST_FOUND` of the ships have a box; None where none has it."""
    return max((precision for _, _, precision, recall in points if recall >= MOST_FOUND), default=None)


def draw(curves: dict[str, list[list[float]]], rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Precision over recall, of each detector a line and, as it is used, a point."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")
    used = {row["detector"]: [100 * row[name]["value"] for name in ("recall", "precision")] for row in rows}
    for name, points in curves.items():
        precisions, recalls = ([100 * point[place] for point in points] for place in (2, 3))
        (line,) = axes.plot(recalls, precisions, label=name)
        axes.plot(*used[name], "o", color=line.get_color())
    axes.plot(80, 80, "k+", markersize=12, label="80 % of the ships at 80 %")
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="recall, % of 40 ships", ylabel="precision, % of boxes")
    axes.set_title("Ships off Los Angeles, by least score; points: as used", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, percent with 95 % intervals over boxes and over ships."""
    lines = [
        "| detector | boxes | precision | recall | false boxes | of them touch land "
        f"| best precision at {MOST_FOUND:.0%} |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        precision, recall = (Score(**one[name]) for name in ("precision", "recall"))
        counts = f"{one['false']} | {one['false_touching_land']}"
        where_found = one["precision_where_found"]
        share = "-" if where_found is None else f"{100 * where_found:.1f}"
        lines.append(f"| {one['detector']} | {one['boxes']} | {precision} | {recall} | {counts} | {share} |")
    return "\n".join(lines)


def _reaching(places: Sequence[Place], score: float) -> Boxes:
    return [place.box for place in places if place.properties["score"] >= score]


def _reaching_off_land(kept: Callable[[float], Boxes], mask: NDArray[np.bool_], score: float) -> Boxes:
    return _off_land(kept(score), mask)


def _off_land(boxes: Boxes, mask: NDArray[np.bool_]) -> Boxes:
    return [box for box in boxes if not touches(box, mask)]


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
    detections: dict[str, Boxes] = {}
    by_score: dict[str, tuple[Callable[[float], Boxes], list[float]]] = {}
    for model in options.model or (MINI, NANO, NANO_SSDD):
        name = model.name if options.tile is None else f"{model.name}, tiles of {options.tile}"
        out, picture = options.out / f"{name}.geojson", options.out / f"{name}.png"
        for earlier in (out, picture):
            earlier.unlink(missing_ok=True)
        ask = partial(detect, options.scene, target="ship", no_prior=True, model=str(model), tile=options.tile)
        detections[name] = [place.box for place in ask(out=out, quicklook=picture).places]
        every = ask(min_score=0.0).places
        by_score[name] = partial(_reaching, every), [place.properties["score"] for place in every]
    # The test does not ask for calibration: a factor on all amplitudes changes nothing.
    above = stands_out(10 ** (decibels / 20))
    detections[CFAR] = boxes_of(above, THRESHOLD)
    by_score[CFAR] = partial(boxes_of, above), list(CFAR_THRESHOLDS)
    names = list(detections)
    for name in names:
        kept, scores = by_score[name]
        detections[f"{name}, none on land"] = _off_land(detections[name], mask)
        by_score[f"{name}, none on land"] = partial(_reaching_off_land, kept, mask), scores
    curves = {name: curve(*own, truth) for name, own in by_score.items()}
    rows = [row(name, boxes, truth, mask, curves[name]) for name, boxes in detections.items()]
    recalls = {name: found(boxes, truth) for name, boxes in detections.items()}
    gains = {name: asdict(difference(tally, recalls[CFAR])) for name, tally in recalls.items() if name != CFAR}
    rounded = {name: [[round(value, 4) for value in point] for point in points] for name, points in curves.items()}
    contents = {
        "ships": len(truth),
        "threshold": THRESHOLD,
        "rows": rows,
        "recall_minus_cfar": gains,
        "curves": rounded,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    draw({name: points for name, points in curves.items() if name in names}, rows, options.results.with_suffix(".png"))
    options.results.write_text(json.dumps(contents) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
