"""Rewards by their formulas, and what would be learned if they could be had more cheaply than by the true answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.metrics.detection import box_overlap
from fusargpt.metrics.rewards import FORM, OVERLAPS, PARTIAL, REWARDED, boxes_score, reward
from fusargpt.tasks.prompts import format_boxes, format_cells

SIDE = 168
BOXES = [[20, 30, 34, 40], [60, 60, 70, 80], [120, 100, 131, 109]]
LABELS = ["ship", "ship", "aircraft"]
TRUE = {
    "count": "3",
    "localize": "2, 5",
    "classify": "ship",
    "detect": format_boxes(BOXES, LABELS),
}
# Honest, and not quite right: a count beside it, a cell too few, boxes off by three pixels.
NEAR = {
    "count": "4",
    "localize": "2",
    "detect": format_boxes([[x1 + 3, y1, x2 + 3, y2] for x1, y1, x2, y2 in BOXES], LABELS),
}
GRID = [[x, y, x + 12, y + 12] for x in range(0, SIDE, 12) for y in range(0, SIDE, 12)]
HACKS = [
    ("count", "empty", ""),
    ("count", "none", "None"),
    ("count", "every number", ", ".join(map(str, range(20)))),
    ("count", "a range", "2-4"),
    ("count", "hedged", "3 or 4"),
    ("count", "a large number", "999999999"),
    ("count", "an unbounded number", "9" * 5000),
    ("count", "a denial", "not 3"),
    ("localize", "empty", ""),
    ("localize", "none", "None"),
    ("localize", "every cell", "1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ("localize", "cells that are not there", "2, 5, 77"),
    ("localize", "in a sentence", "The cells are 2 and 5, I am sure"),
    ("classify", "empty", ""),
    ("classify", "both", "ship aircraft"),
    ("classify", "both, listed", "ship, aircraft"),
    ("classify", "none", "None"),
    ("classify", "in a sentence", "There is a ship"),
    ("detect", "empty", ""),
    ("detect", "none", "None"),
    ("detect", "an empty list", "[]"),
    ("detect", "the whole image", format_boxes([[0, 0, SIDE, SIDE]], ["ship"])),
    ("detect", "the whole image, as every class", format_boxes([[0, 0, SIDE, SIDE]] * 2, ["ship", "aircraft"])),
    ("detect", "boxes everywhere", format_boxes(GRID, ["ship"] * len(GRID))),
    ("detect", "no JSON", "ships at 20, 30, 34, 40"),
    ("detect", "boxes without area", format_boxes([[20, 30, 20, 30]] * 3, LABELS)),
    ("detect", "boxes of infinite size", TRUE["detect"].replace("131", "1e999")),
    ("detect", "the form alone", '[{"bbox_2d": [x1, y1, x2, y2], "label": "ship"}]'),
]
# These say the true answer and more. They earn less than it; most earn something, for they are understood.
PADDED = [
    ("count", "a text behind", "3 ships, as can be seen in this image"),
    ("count", "a noun behind", "3 ships"),
    ("count", "decoration", "**3**"),
    ("count", "zeros before", "003"),
    ("localize", "a cell twice", "2, 5, 5, 5"),
    ("localize", "another order", "5, 2"),
    ("localize", "brackets", "[2, 5]"),
    ("localize", "a text behind", "2, 5. These are the cells."),
    ("classify", "decoration", '"ship"'),
    ("classify", "capitals", "SHIP"),
    ("classify", "said again", "ship ship"),
    ("detect", "a text behind", TRUE["detect"] + " These are all."),
    ("detect", "padding of spaces inside", TRUE["detect"].replace(", ", ",    ")),
    ("detect", "said twice", TRUE["detect"] + TRUE["detect"]),
    ("detect", "every box twice", format_boxes(BOXES * 2, LABELS * 2)),
    ("detect", "every box as both classes", format_boxes(BOXES * 2, [*LABELS, "aircraft", "aircraft", "ship"])),
    ("detect", "boxes around each box", format_boxes(BOXES + [[a - 1, b, c, d] for a, b, c, d in BOXES], LABELS * 2)),
    ("detect", "a box of the whole image beside", format_boxes([*BOXES, [0, 0, SIDE, SIDE]], [*LABELS, "ship"])),
    ("detect", "objects that are no boxes", TRUE["detect"][:-1] + ', {"bbox_2d": []}, {}]'),
    ("detect", "broken off", TRUE["detect"][:-3]),
    ("detect", "fractions of a pixel", TRUE["detect"].replace("131", "131.0")),
    ("detect", "None beside", f"{TRUE['detect']} None"),
]


@pytest.mark.parametrize("task", REWARDED)
def test_the_true_answer_is_worth_1_and_no_other_is(task: str) -> None:
    assert reward(task, TRUE[task], TRUE[task]) == 1
    assert reward(task, f" {TRUE[task]}\n", TRUE[task]) == 1
    assert reward(task, TRUE[task], TRUE[task], ended=False) == 0


@pytest.mark.parametrize(("task", "answer"), [(task, answer) for task, _, answer in HACKS])
def test_a_hack_is_worth_less_than_an_honest_answer_that_is_not_quite_right(task: str, answer: str) -> None:
    honest = reward(task, NEAR.get(task, TRUE[task]), TRUE[task])
    assert reward(task, answer, TRUE[task]) < honest
    assert task not in NEAR or honest < 1


@pytest.mark.parametrize(("task", "answer"), [(task, answer) for task, _, answer in PADDED])
def test_more_than_the_true_answer_is_worth_less(task: str, answer: str) -> None:
    assert reward(task, answer, TRUE[task]) < 1


@pytest.mark.parametrize("answer", ["", "[]", "nothing", TRUE["detect"], "None. None.", "None [", "{}"])
def test_in_an_image_without_targets_none_is_the_answer(answer: str) -> None:
    assert reward("detect", "None", "None") == 1
    assert reward("detect", answer, "None") <= 1 - FORM


def test_a_count_earns_by_its_distance() -> None:
    earned = [reward("count", str(count), "4") for count in range(10)]
    form = [FORM] * 10
    score = [0, 0.125, 0.25, 0.375, 1, 0.375, 0.25, 0.125, 0, 0]
    assert earned == pytest.approx([(1 - FORM) * of + in_form for of, in_form in zip(score, form, strict=True)])
    # With nothing there, every number is as wrong.
    assert reward("count", "1", "0") == reward("count", "7", "0") == pytest.approx(FORM)


def test_cells_earn_by_intersection_over_union() -> None:
    assert reward("localize", "2", "2, 5") == pytest.approx((1 - FORM) * PARTIAL / 2 + FORM)
    assert reward("localize", "2, 5, 6, 7", "2, 5") == pytest.approx((1 - FORM) * PARTIAL / 2 + FORM)
    assert reward("localize", "None", "None") == 1 and reward("localize", "1", "None") == pytest.approx(FORM)


def test_boxes_earn_by_f1_over_the_overlaps() -> None:
    reference = format_boxes([[0, 0, 10, 10], [50, 50, 60, 60]], ["ship", "ship"])
    overlap = box_overlap([0, 0, 10, 8], [0, 0, 10, 10])
    assert overlap == 0.8
    # One of two found, above every overlap that is asked for: F1 is 2 of 3 at all of them.
    assert boxes_score(format_boxes([[0, 0, 10, 8]], ["ship"]), reference) == pytest.approx(2 / 3)
    # At overlap 0.5, it counts from 0.25 to 0.50: 6 of 11.
    assert boxes_score(format_boxes([[0, 0, 10, 5]], ["ship"]), reference) == pytest.approx(2 / 3 * 6 / 11)
    assert boxes_score(format_boxes([[0, 0, 10, 8]], ["aircraft"]), reference) == 0
    assert len(OVERLAPS) == 11 and OVERLAPS[0] == 0.25 and OVERLAPS[-1] == 0.75


@given(st.integers(1, 40))
def test_a_tighter_box_never_earns_less(shift: int) -> None:
    reference = format_boxes([[50, 50, 90, 90]], ["ship"])
    worse, better = (
        boxes_score(format_boxes([[50 + by, 50, 90 + by, 90]], ["ship"]), reference) for by in (shift, shift - 1)
    )
    assert worse <= better


@given(st.sampled_from(REWARDED), st.text())
def test_no_text_fails_or_leaves_the_range(task: str, answer: str) -> None:
    assert 0 <= reward(task, answer, TRUE[task]) <= 1


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_of_the_sets_of_cells_the_true_one_earns_most(named: set[int], true: set[int]) -> None:
    earned = reward("localize", format_cells(list(named)), format_cells(list(true)))
    assert (earned == 1) == (named == true) and (earned <= 0.55 or named == true)


@pytest.mark.parametrize("task", ["count", "localize", "detect"])
def test_a_reference_that_cannot_be_read_is_refused(task: str) -> None:
    with pytest.raises(InputError, match="the true answer cannot be read"):
        reward(task, TRUE[task], "somewhere [")
    with pytest.raises(KeyError):
        reward("describe", "A harbour.", "A harbour.")
