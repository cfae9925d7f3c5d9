"""Which images a report shows, and as what: the best and worst detections and descriptions of one entry."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.scoring import parts, scaled_boxes
from fusargpt.inference.questions import Answer
from fusargpt.inference.rows import read_picture
from fusargpt.metrics.detection import THRESHOLDS, matched_overlaps
from fusargpt.tasks.answers import LabelledBox, class_name, parse_boxes

SHOWN = 6
_LONGEST_SIDE = 512  # of an embedded image in pixels

Box = tuple[float, float, float, float, str]
"""Left, top, width and height in pixels of the image, and the label."""


@dataclass(frozen=True)
class Picture:
    """An image of the report. `source`: the file as a data URI; `boxes` are in pixels of `width` x `height`."""

    id: str
    source: str
    width: int
    height: int
    caption: str
    true: Sequence[Box] = ()
    predicted: Sequence[Box] = ()
    answer: str = ""
    reference: str = ""


def detections(evaluation: Evaluation, label: str) -> tuple[list[Picture], list[Picture]]:
    """The images that `label` detects best and worst; of few images, half are best at most.

    Best are those with the highest F1 at overlap 0.25, then the largest mean overlap, then the most true boxes; worst
    those with the lowest F1, then the most missed and false boxes. An image is in one of the lists at most; one without
    any box, true or predicted, is in none.
    """
    answers = evaluation.answers[label]
    found = [(_detection(item, answers[item.id]), item) for item in evaluation.of_task("detect") if item.id in answers]
    ranked = sorted(
        (pair for pair in found if pair[0].true or pair[0].said),
        key=lambda pair: (pair[0].f1, pair[0].overlap, pair[0].true, -pair[0].wrong, pair[1].id),
        reverse=True,
    )
    # As many of each, so that what is best among few is not worst as well.
    count = min(SHOWN, len(ranked) // 2)
    best = [pair for pair in ranked if pair[0].f1 > 0][:count]
    worst = sorted((pair for pair in ranked if pair[0].f1 < 1), key=lambda pair: (pair[0].f1, -pair[0].wrong))
    worst = [pair for pair in worst if pair not in best][:count]

    def show(found: "_Detection", item: KnownItem) -> Picture:
        boxes = parse_boxes(answers[item.id].answer).value
        predicted = scaled_boxes(boxes, answers[item.id].seen, (item.width, item.height))
        true = parse_boxes(item.reference).value
        caption = f"{found.matched} of {found.true} found, {found.said - found.matched} false"
        return _picture(evaluation, item, caption, true=_corners(true), predicted=_corners(predicted))

    return [show(*pair) for pair in best], [show(*pair) for pair in worst]


def descriptions(evaluation: Evaluation, label: str) -> tuple[list[Picture], list[Picture]]:
    """The images that `label` describes best and worst by ROUGE-L; half as many as detections. None of 0 is best."""
    answers = evaluation.answers[label]
    items = [item for item in evaluation.of_task("describe") if item.id in answers]
    values = ((parts(item, answers[item.id])["rouge_l"] or 0.0, item) for item in items)
    ranked = sorted(values, key=lambda pair: (-pair[0], pair[1].id))
    count = min(SHOWN // 2, len(ranked) // 2)

    def show(score: float, item: KnownItem) -> Picture:
        caption = f"ROUGE-L {100 * score:.0f}"
        return _picture(evaluation, item, caption, answer=answers[item.id].answer, reference=item.reference)

    return [show(*pair) for pair in ranked[:count] if pair[0] > 0], [
        show(*pair) for pair in ranked[len(ranked) - count :][::-1]
    ]


@dataclass(frozen=True)
class _Detection:
    f1: float
    overlap: float
    true: int
    said: int
    matched: int

    @property
    def wrong(self) -> int:
        return self.true + self.said - 2 * self.matched


def _detection(item: KnownItem, answer: Answer) -> _Detection:
    predicted = scaled_boxes(parse_boxes(answer.answer).value, answer.seen, (item.width, item.height))
    true = parse_boxes(item.reference).value
    labels = {class_name(label) for _, label in true}
    overlaps = [
        overlap
        for label in labels
        for overlap in matched_overlaps(_of_label(predicted, label), _of_label(true, label))
        if overlap >= THRESHOLDS[0]
    ]
    f1 = 2 * len(overlaps) / max(len(predicted) + len(true), 1)
    mean = sum(overlaps) / len(overlaps) if overlaps else 0.0
    return _Detection(f1, mean, len(true), len(predicted), len(overlaps))


def _of_label(boxes: Sequence[LabelledBox], label: str) -> list[Sequence[float]]:
    return [box for box, name in boxes if class_name(name) == label]


def _corners(boxes: Sequence[LabelledBox]) -> list[Box]:
    drawn = []
    for box, label in boxes:
        x1, y1, x2, y2 = box
        # A model may write corners in any order; those are drawn where they are meant.
        drawn.append((min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1), label))
    return drawn


def _picture(
    evaluation: Evaluation,
    item: KnownItem,
    caption: str,
    true: Sequence[Box] = (),
    predicted: Sequence[Box] = (),
    answer: str = "",
    reference: str = "",
) -> Picture:
    image = read_picture(evaluation.rows[item.row])
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    # SAR images are grey, and one channel takes a third of the bytes.
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        image = red
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(item.id, source, item.width, item.height, caption, true, predicted, answer, reference)
