"""Rewards of single answers for reinforcement: the tasks' metrics made dense, and a share for the form.

    reward = (1 - FORM) * score + FORM * form,    0 for an answer that did not end

`score` and `form` lie in [0, 1]. The score is 1 for the true answer alone (of boxes, for all that overlap by 0.75), and
is what is named below:

- count: 1 if a = n, else PARTIAL * max(0, 1 - |a - n| / max(n, 1));
- localize: 1 if A = T, else PARTIAL * |A & T| / |A | T|, of the sets of named and true cells;
- classify: 1 if the name is the true one, else 0;
- detect: the mean over the overlaps t = 0.25, 0.30, ..., 0.75 of F1 = 2 M(t) / (P + U + T), with M(t) pairs of boxes of
  one label that overlap by t or more (matched one to one), P boxes named, U things that cannot be read, T true boxes;
  in an image without any, 1 for "None" and 0 for everything else.

`form` is 1 for an answer that is written as answers are, character for character, and 0 otherwise.

What does not pay (each tried in the tests, and below the true answer): naming every cell or a grid of boxes, for false
names enlarge the union, and P; saying "None", or nothing, for what is there is not matched; a box twice, for its copy
matches nothing and counts in P; one box of the whole image, whose overlap with a small target is below 0.25; both
classes for one target, for labels are matched; text behind the answer or around it, decoration and fractions of a
pixel, for `form` is 0; numbers in a sentence, JSON that breaks off and objects that are no boxes, which are not
understood or count in U; an answer without an end, which is worth 0 whatever it says.

Descriptions have no reward: overlap of words would pay for words.
"""

from collections.abc import Callable
from typing import TypeVar

from fusargpt.errors import InputError
from fusargpt.metrics.detection import matched_overlaps
from fusargpt.tasks.answers import Parsed, class_name, parse_boxes, parse_cells, parse_class, parse_count
from fusargpt.tasks.prompts import NONE_ANSWER, format_boxes, format_cells

Value = TypeVar("Value")

FORM = 0.1
"""Share of the reward for the form."""
PARTIAL = 0.5
"""The most that a count or a set of cells is worth which is not the true one."""
OVERLAPS = tuple(percent / 100 for percent in range(25, 80, 5))
"""At which detection's F1 is averaged: 0.25, 0.30, ..., 0.75."""


def reward(task: str, answer: str, reference: str, ended: bool = True) -> float:
    """The reward of an answer, from 0 to 1.

    Args:
        task: of `REWARDED`.
        answer: what the model said.
        reference: the true answer, of detection in pixels of the image as the model sees it.
        ended: whether the model ended the answer itself.

    Raises:
        KeyError: another task.
        InputError: a reference that cannot be read.
    """
    if not ended:
        return 0.0
    return (1 - FORM) * SCORES[task](answer, reference) + FORM * in_form(task, answer)


def in_form(task: str, answer: str) -> bool:
    """Whether an answer is written as those of its task are, but for white space around it."""
    return answer.strip() == _WRITTEN[task](answer)


def count_score(answer: str, reference: str) -> float:
    """1 for the true count; otherwise `PARTIAL`, less in proportion to the error, 0 from twice the true count on."""
    found, truth = parse_count(answer).value, _true(parse_count(reference), reference)
    if found is None or truth is None:
        return 0.0
    return 1.0 if found == truth else PARTIAL * max(0.0, 1 - abs(found - truth) / max(truth, 1))


def cells_score(answer: str, reference: str) -> float:
    """1 for the true set of cells; otherwise `PARTIAL` times intersection over union, 0 if anything is unreadable."""
    found, truth = parse_cells(answer), _true(parse_cells(reference), reference)
    if found.problems:
        return 0.0
    return 1.0 if found.value == truth else PARTIAL * len(found.value & truth) / len(found.value | truth)


def class_score(answer: str, reference: str) -> float:
    """1 for the true class, else 0."""
    return float(parse_class(answer).value == _true(parse_class(reference), reference))


def boxes_score(answer: str, reference: str) -> float:
    """F1 of the boxes of one image, the mean over `OVERLAPS`; of an image without targets, whether none is named."""
    found, truth = parse_boxes(answer), _true(parse_boxes(reference), reference)
    named = len(found.value) + len(found.problems)
    if not truth:
        return float(named == 0)
    overlaps: list[float] = []
    for label in {class_name(item.label) for item in truth}:
        overlaps += matched_overlaps(
            *([item.box for item in boxes if class_name(item.label) == label] for boxes in (found.value, truth))
        )
    matched = sum(overlap >= threshold for overlap in overlaps for threshold in OVERLAPS)
    return 2 * matched / len(OVERLAPS) / (named + len(truth))


SCORES: dict[str, Callable[[str, str], float]] = {
    "count": count_score,
    "localize": cells_score,
    "classify": class_score,
    "detect": boxes_score,
}
REWARDED = tuple(SCORES)
"""The tasks whose answers have a reward."""


def _written_boxes(answer: str) -> str | None:
    boxes = parse_boxes(answer).value
    if not all(float(value).is_integer() for box, _ in boxes for value in box):
        return None
    if not all(x1 < x2 and y1 < y2 for (x1, y1, x2, y2), _ in boxes):
        return None
    return format_boxes([[int(value) for value in box] for box, _ in boxes], [label for _, label in boxes])


def _written_count(answer: str) -> str | None:
    count = parse_count(answer).value
    return None if count is None else str(count)


def _written_class(answer: str) -> str | None:
    name = class_name(answer)
    return NONE_ANSWER if name == class_name(NONE_ANSWER) else name or None


# How the answer that was understood is written.
_WRITTEN: dict[str, Callable[[str], str | None]] = {
    "count": _written_count,
    "localize": lambda answer: format_cells(list(parse_cells(answer).value)),
    "classify": _written_class,
    "detect": _written_boxes,
}


def _true(parsed: Parsed[Value], reference: str) -> Value:
    if parsed.problems:
        raise InputError(f"the true answer cannot be read: {parsed.problems[0]}: {reference[:60]!r}")
    return parsed.value
