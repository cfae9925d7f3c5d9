"""Scores of answers, and differences between entries over the images that both answered."""

import math
from collections.abc import Mapping, Sequence

from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.trust import CONFIDENT, trust_tallies
from fusargpt.inference.questions import Answer
from fusargpt.metrics.average_precision import average_precision_tallies
from fusargpt.metrics.counting import count_tallies
from fusargpt.metrics.detection import detect_tallies
from fusargpt.metrics.scores import TALLIES
from fusargpt.metrics.tally import Score, Tally, difference
from fusargpt.tasks.answers import (
    SCORED_DIGITS,
    LabelledBox,
    Parsed,
    parse_boxes,
    parse_cells,
    parse_class,
    parse_count,
    scale_boxes,
)

Answers = Mapping[str, Answer]
"""By the id of the item."""

_OF_READABLE = "mae"
"""The one score whose images depend on the answers: those that can be read."""
_NOT_OF_ONE = ("cider", "ap", "ap50", *CONFIDENT)
"""What cannot be said of one image: how rare a word is, and how boxes and answers rank, follows from the others."""


def tallies(task: str, items: Sequence[KnownItem], answers: Answers) -> dict[str, Tally]:
    """The tallies of `items`, which are of one task and answered all.

    Boxes are compared in pixels of the image as the model saw it: those of the reference are brought there, which
    changes no overlap. Detection is scored as written and clipped to the image, and by average precision where every
    answer has scores. Where every answer has a confidence, so are these, see `fusargpt.evaluation.trust`.
    """
    given = [answers[item.id] for item in items]
    references = references_of(task, items, answers)
    found = _tallies(task, items, given, references)
    return found | trust_tallies(task, given, references, found)


def references_of(task: str, items: Sequence[KnownItem], answers: Answers) -> list[str]:
    """The true answers, boxes in pixels of the images as the model saw them."""
    if task != "detect":
        return [item.reference for item in items]
    return [seen_reference(item, answers[item.id].seen) for item in items]


def _tallies(
    task: str, items: Sequence[KnownItem], answers: Sequence[Answer], references: Sequence[str]
) -> dict[str, Tally]:
    texts = [answer.answer for answer in answers]
    if task == "detect":
        found = detect_tallies(texts, references, [answer.seen for answer in answers])
        given = [answer.scores for answer in answers if answer.scores is not None]
        return found | (average_precision_tallies(texts, references, given) if len(given) == len(items) else {})
    if task == "count":
        return count_tallies(texts, references, [item.question for item in items])
    return TALLIES[task](texts, references)


def scores(task: str, items: Sequence[KnownItem], answers: Answers) -> dict[str, Score]:
    """The scores of a task over the items that are answered; empty where none is."""
    answered = [item for item in items if item.id in answers]
    return {name: tally.score() for name, tally in tallies(task, answered, answers).items()} if answered else {}


def differences(task: str, items: Sequence[KnownItem], first: Answers, second: Answers) -> dict[str, Score]:
    """Scores of `first` minus those of `second`, drawn together over the items that both answered.

    The mean absolute error is that of the images in which both answers can be read.
    """
    shared = [item for item in items if item.id in first and item.id in second]
    if not shared:
        return {}
    ours, theirs = (tallies(task, shared, answers) for answers in (first, second))
    if _OF_READABLE in ours:
        readable = [item for item in shared if _readable(item, first) and _readable(item, second)]
        for tally, answers in ((ours, first), (theirs, second)):
            tally[_OF_READABLE] = tallies(task, readable, answers)[_OF_READABLE] if readable else Tally.mean([], False)
    return {name: difference(tally, theirs[name]) for name, tally in ours.items() if name in theirs}


def _readable(item: KnownItem, answers: Answers) -> bool:
    return parse_count(answers[item.id].answer, item.question).value is not None


def parts(item: KnownItem, answer: Answer) -> dict[str, float | None]:
    """The scores of one image alone; None where one is not defined for it. Descriptions have no CIDEr of their own."""
    values: dict[str, float | None] = {}
    for name, tally in tallies(item.task, [item], {item.id: answer}).items():
        if "/" not in name and name not in _NOT_OF_ONE:
            value = float(tally.statistic(tally.rows.sum(0)[None])[0])
            values[name] = None if math.isnan(value) else value
    return values


def seen_reference(item: KnownItem, seen: tuple[int, int]) -> str:
    """The reference of a `detect` item in pixels of the image as a model sees it."""
    return scale_boxes(item.reference, (item.width, item.height), seen, SCORED_DIGITS)


def scaled_boxes(boxes: Sequence[LabelledBox], old: tuple[int, int], new: tuple[int, int]) -> list[LabelledBox]:
    """Boxes in pixels of an image of the size `old`, width and height, in those of the same image resized to `new`."""
    factors = [now / before for now, before in zip(new, old, strict=True)] * 2
    return [
        LabelledBox([value * factor for value, factor in zip(box, factors, strict=True)], label) for box, label in boxes
    ]


def parsed(item: KnownItem, answer: Answer) -> tuple[object, list[str]]:
    """What was read of an answer, as plain JSON, and what could not be. Boxes are in pixels of the item's image."""
    if item.task == "detect":
        found = parse_boxes(answer.answer)
        boxes = scaled_boxes(found.value, answer.seen, (item.width, item.height))
        return _boxes(boxes), list(found.problems)
    if item.task == "localize":
        cells = parse_cells(answer.answer)
        return sorted(cells.value), list(cells.problems)
    readers = {
        "count": lambda text: parse_count(text, item.question),
        "classify": parse_class,
        "describe": lambda text: Parsed(text.strip()),
    }
    read = readers[item.task](answer.answer)
    return read.value, list(read.problems)


def _boxes(boxes: Sequence[LabelledBox]) -> list[dict[str, object]]:
    return [{"bbox_2d": [round(value, SCORED_DIGITS) for value in box], "label": label} for box, label in boxes]
