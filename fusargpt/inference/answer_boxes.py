"""The boxes in one answer, where they lie in the file and on Earth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusargpt.geo.box_drawing import clip_box
from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.measures import measures
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.tasks.answers import parse_boxes

_DIGITS, _RELATIVE_DIGITS = 2, 6


@dataclass(frozen=True)
class AnswerBox:
    """A box of an answer.

    Attributes:
        label: as the model named it.
        seen: [x1, y1, x2, y2] in pixels of the image as the model sees it, as the answer has them.
        relative: as shares of the image's sides, 0 to 1, within the image.
        pixels: likewise in continuous pixels of the file.
        score: how sure the model was; None where it does not say.
    """

    label: str
    seen: tuple[float, ...]
    relative: tuple[float, ...]
    pixels: tuple[float, float, float, float]
    score: float | None

    def __str__(self) -> str:
        x1, y1, x2, y2 = (f"{edge:.0f}" for edge in self.pixels)
        score = "" if self.score is None else f", score {self.score:.2f}"
        return f"{self.label}: {x1}, {y1} to {x2}, {y2}{score}"


@dataclass(frozen=True)
class AnswerBoxes:
    """What boxes an answer has.

    Attributes:
        boxes: with a part on the image.
        problems: a line for everything that cannot be read.
        beside: a line for each box that has no part on the image, or no area.
    """

    boxes: list[AnswerBox]
    problems: list[str]
    beside: list[str]

    @staticmethod
    def of(answer: str, seen: tuple[int, int], size: tuple[int, int]) -> "AnswerBoxes":
        """Of an answer about an image.

        Args:
            answer: of a detection; a `ScoredAnswer` has scores.
            seen: width and height of the image as the model sees it.
            size: those of the file.
        """
        parsed = parse_boxes(answer)
        scores: Sequence[float | None] = answer.scores if isinstance(answer, ScoredAnswer) else ()
        boxes: list[AnswerBox] = []
        beside: list[str] = []
        for number, (box, label) in enumerate(parsed.value):
            x1, x2 = sorted((box[0] / seen[0], box[2] / seen[0]))
            y1, y2 = sorted((box[1] / seen[1], box[3] / seen[1]))
            inside = clip_box((x1, y1, x2, y2), 1, 1)
            if inside is None:
                beside.append(f"box {number + 1}: {label!r} at {[*box]}: no part of it lies on the image")
                continue
            x1, y1, x2, y2 = inside
            pixels = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
            score = scores[number] if number < len(scores) else None
            boxes.append(AnswerBox(label, tuple(box), inside, pixels, score))
        return AnswerBoxes(boxes, list(parsed.problems), beside)

    def as_json(self, geometry: Geometry | None) -> list[dict[str, Any]]:
        """Plain JSON of each box; with a georeference its centre, outline and measures on the ground, too.

        Raises:
            InputError: a box that lies nowhere on Earth.
        """
        found: list[dict[str, Any]] = []
        for box in self.boxes:
            told: dict[str, Any] = {
                "label": box.label,
                "score": None if box.score is None else round(box.score, 4),
                "seen": list(box.seen),
                "relative": [round(edge, _RELATIVE_DIGITS) for edge in box.relative],
                "pixels": [round(edge, _DIGITS) for edge in box.pixels],
            }
            found.append(told)
        if geometry is not None and found:
            placed = [box.pixels for box in self.boxes]
            for told, box, measured in zip(found, placed, measures(geometry.to_lonlat, placed), strict=True):
                told |= {"centre": _centre(geometry, box), "geometry": box_polygon(geometry.to_lonlat, box, 1)}
                told |= measured.as_json()
        return found


def has_boxes(task: str | None, answer: str) -> bool:
    """Whether an answer is one of boxes: by its task, or by its looks where a question was free."""
    return task == "detect" or (task is None and "bbox_2d" in answer)


def _centre(geometry: Geometry, box: tuple[float, float, float, float]) -> list[float]:
    x1, y1, x2, y2 = box
    longitude, latitude = geometry.to_lonlat(np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))[0]
    return [round(float(longitude), 7), round(float(latitude), 7)]
