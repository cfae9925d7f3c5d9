"""Scenes with bright ships on calm water, a field beneath them, and a model that boxes what is bright."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from scipy.ndimage import find_objects, label

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.geo.prior import Prior
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.target_names import TARGETS
from tests.answering import by_batches

TRANSFORM = Affine(10, 0, 400_000, 0, -10, 3_700_000)
CRS = "EPSG:32611"
SHIPS = ((20, 30, 32, 36), (90, 92, 104, 98), (150, 40, 156, 52), (60, 160, 70, 166), (170, 170, 182, 176))
"""The second lies where four tiles of 96 pixels meet."""
SIDE = 200


def write_scene(
    path: Path,
    ships: Sequence[tuple[int, int, int, int]] = SHIPS,
    side: int = SIDE,
    georeferenced: bool = True,
    **profile: Any,
) -> Path:
    """Decibels: water at -20 with a little speckle, ships at 5; no data in the lowest tenth."""
    rng = np.random.default_rng(0)
    decibels = -20 + 10 * np.log10(rng.gamma(8, 1 / 8, (side, side)))
    for x1, y1, x2, y2 in ships:
        decibels[y1:y2, x1:x2] = 5
    decibels[side - side // 10 :] = -99
    place = {"crs": CRS, "transform": TRANSFORM} if georeferenced else {}
    kind = {"driver": "GTiff", "dtype": "float32", "count": 1, "nodata": -99}
    with rasterio.open(path, "w", width=side, height=side, **kind, **place, **profile) as dataset:
        dataset.write(decibels.astype(np.float32), 1)
        dataset.set_band_description(1, "VV")
        dataset.update_tags(ACQUISITION_DATETIME="2023-06-01T05:40:12Z")
    return path


def write_field(root: Path, columns: int = 220) -> Path:
    """A field of 2023 over the scene, `columns` wide from its left edge."""
    code = np.zeros((220, columns, 64), np.int8)
    code[..., 3] = 127
    transform = Affine(10, 0, TRANSFORM.c - 100, 0, 10, TRANSFORM.f - 2100)
    write_tile(root / "2023" / "11N" / "field.tiff", code, crs=CRS, transform=transform)
    write_index(root)
    return root


class BrightBoxes(FusarGpt):
    """Answers every task from the pixels that are white; keeps what it was asked."""

    def __init__(self, coarsest_m: float | None = None) -> None:
        self.coarsest_m = coarsest_m
        self.least = 0.0
        self.asked: list[tuple[np.ndarray, str, Prior | None]] = []
        self.fail_after: int | None = None
        self.sure: tuple[float, CountDistribution] | None = None
        """Of every answer that names something; of others it is sure."""

    @property
    def targets(self) -> tuple[str, ...]:
        return TARGETS

    @property
    def coarsest_pixel_m(self) -> float | None:
        return self.coarsest_m

    @property
    def min_score(self) -> float:
        return self.least

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return 96, 96

    @by_batches
    def in_turn(self, *asked: Any) -> list[str]:
        return self.answers(*asked)

    def answers(self, images: Any, questions: Any, priors: Any = None, *_: Any, **__: Any) -> list[str]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        found = []
        for image, question, prior in zip(images, questions, priors, strict=True):
            self.asked.append((np.asarray(image), question, prior))
            grey = np.asarray(image.resize((96, 96)))[..., 0]
            # The ships are a hundredth of the scene, so the stretch leaves them alone white.
            slices = cast(list[tuple[slice, slice]], find_objects(cast(Any, label(grey > 250, np.ones((3, 3))))[0]))
            boxes = [[columns.start, rows.start, columns.stop, rows.stop] for rows, columns in slices]
            boxes = [box for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) > 8]
            found.append(self._scored(_written(question, boxes), len(boxes)))
        return found

    def _scored(self, text: str, boxes: int) -> str:
        if self.sure is None:
            return text
        confidence, counts = self.sure
        scores = [confidence] * boxes if text.startswith("[") else []
        return ScoredAnswer(text, scores, confidence if boxes else 1.0, calibrated=True, counts=counts)


def _written(question: str, boxes: list[list[int]]) -> str:
    if "How many" in question:
        return str(len(boxes))
    if "cells" in question:
        cells = {int((y1 + y2) / 64) * 3 + int((x1 + x2) / 64) + 1 for x1, y1, x2, y2 in boxes}
        return ", ".join(map(str, sorted(cells))) or "None"
    if "class" in question:
        return "ship" if boxes else "None"
    if "Describe" in question:
        return "Water."
    return json.dumps([{"bbox_2d": box, "label": "ship"} for box in boxes]) if boxes else "None"
