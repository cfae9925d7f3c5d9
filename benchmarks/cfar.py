"""Ships by two-parameter CFAR, a detector without learning, and its threshold: python -m benchmarks.cfar SSDD

A pixel is bright where its amplitude is above the mean of the ring around it by `THRESHOLD` standard deviations of that
ring, and bright pixels that touch are one ship: the two-parameter test of Novak, Owirka and Netishen, Lincoln
Laboratory Journal 6(1), 1993. It has no notion of the ground, so it finds what stands out on land as well.

The threshold is chosen on other data than it is tested on: the 928 training chips of SSDD (`train_full.txt`, ships in
`annotations/*.xml`), reduced by `REDUCTION` so that their ships are as small as ships in pixels of 30 m. The command
prints precision, recall and F1 of each threshold there, as `benchmarks.ship_scores` counts them; the best F1 is chosen.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from benchmarks.ship_scores import Box, Ship, found, on_ship

THRESHOLD = 7.0
"""Standard deviations; as `main` chooses it."""
GUARD, RING = 21, 41
"""Sides in pixels of the square that is left out around a pixel, longer than a ship, and of the one around that."""
REDUCTION = 4
SMALLEST = 2
"""Pixels of a ship; one alone is speckle."""
THRESHOLDS = tuple(np.arange(3.0, 12.5, 0.5).tolist())
_FEWEST = 40
"""Pixels of a ring that must be known."""
_FLAT = 1e-4
"""Of the mean: a ring of a smaller deviation is one of equal values, and what is left is rounding."""
_TOUCHING = np.ones((3, 3))


def stands_out(amplitude: NDArray[np.floating]) -> NDArray[np.float64]:
    """By how many standard deviations of its ring each pixel is above the ring's mean; NaN where that is not known.

    Args:
        amplitude: [H, W], linear and not in decibels, of any scale; NaN where there is no data.
    """
    known = np.isfinite(amplitude)
    values = np.where(known, amplitude, 0).astype(np.float64)
    count, total, squares = (_ring(part) for part in (known.astype(np.float64), values, values**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        above = (amplitude - mean) / deviation
    return np.where(known & (count >= _FEWEST) & (deviation > _FLAT * np.abs(mean)), above, np.nan)


def _ring(values: NDArray[np.float64]) -> NDArray[np.float64]:
    outer, inner = (ndimage.uniform_filter(values, side, mode="constant") * side**2 for side in (RING, GUARD))
    return outer - inner


def parts(bright: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The number of the object that each bright pixel belongs to, from 1 on, 0 elsewhere; corners that touch join."""
    return cast(tuple[NDArray[np.int32], int], ndimage.label(bright, _TOUCHING))[0]


def boxes_of(above: NDArray[np.floating], threshold: float) -> list[list[float]]:
    """The boxes of the bright objects in what `stands_out` gives, pixel edges [x1, y1, x2, y2]."""
    labels = parts(np.nan_to_num(above, nan=-np.inf) > threshold)
    sizes = np.bincount(labels.ravel())
    return [
        [float(edge) for edge in (columns.start, rows.start, columns.stop, rows.stop)]
        for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
        if sizes[index] >= SMALLEST
    ]


def chips(folder: Path) -> Iterator[tuple[NDArray[np.float64], list[Ship]]]:
    """The training chips of SSDD, reduced, each with the brightest pixels of its ships."""
    for name in tqdm((folder / "train_full.txt").read_text().split(), unit="chip", disable=None):
        with Image.open(folder / "images" / f"{name}.jpg") as picture:
            grey = np.asarray(picture.convert("L"), np.float64)
        rows, columns = (side // REDUCTION for side in grey.shape)
        cells = grey[: rows * REDUCTION, : columns * REDUCTION].reshape(rows, REDUCTION, columns, REDUCTION)
        small = cells.mean(axis=(1, 3))
        annotation = ElementTree.parse(folder / "annotations" / f"{name}.xml")
        yield small, [_brightest(small, box) for box in annotation.iter("bndbox")]


def _brightest(image: NDArray[np.float64], box: ElementTree.Element) -> Ship:
    """The centre of the brightest pixel of a box that is given in pixels before the reduction."""
    x1, y1, x2, y2 = (float(box.findtext(name, "")) / REDUCTION for name in ("xmin", "ymin", "xmax", "ymax"))
    top, left = (min(int(low), size - 1) for low, size in zip((y1, x1), image.shape, strict=True))
    part = image[top : max(int(np.ceil(y2)), top + 1), left : max(int(np.ceil(x2)), left + 1)]
    row, column = np.unravel_index(part.argmax(), part.shape)
    return float(left + column + 0.5), float(top + row + 0.5)


def f1_scores(folder: Path, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, tuple[float, float, float]]:
    """Precision, recall and F1 over all chips, by threshold."""
    sums = np.zeros((len(thresholds), 4))
    for image, ships in chips(folder):
        above = stands_out(image)
        for index, threshold in enumerate(thresholds):
            boxes: list[Box] = [*boxes_of(above, threshold)]
            for column, tally in ((0, on_ship(boxes, ships)), (2, found(boxes, ships))):
                sums[index, column : column + 2] += tally.rows.sum(0)
    with np.errstate(invalid="ignore"):
        precision, recall = sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]
        f1 = 2 * precision * recall / (precision + recall)
    return dict(zip(thresholds, zip(precision.tolist(), recall.tolist(), f1.tolist(), strict=True), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ssdd", type=Path, help="folder with train_full.txt, images and annotations")
    scores = f1_scores(parser.parse_args().ssdd)
    print("| threshold | precision | recall | F1 |\n|---|---|---|---|")
    for threshold, values in scores.items():
        print(f"| {threshold:.1f} | {' | '.join(f'{100 * value:.1f}' for value in values)} |")
    print(f"best F1: {max(scores, key=lambda threshold: scores[threshold][2]):.1f}")


if __name__ == "__main__":
    main()
