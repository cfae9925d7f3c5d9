"""Matching of boxes by hand, and what must hold for any boxes."""

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.metrics.detection import box_overlap, detect_tallies, matched_overlaps
from fusargpt.tasks.prompts import format_boxes
from tests.fusargpt.metrics.values import values

Boxes = list[tuple[tuple[int, int, int, int], str]]


def answer(items: Boxes) -> str:
    return format_boxes([box for box, _ in items], [label for _, label in items])


def scores(predicted: Boxes, truth: Boxes) -> dict[str, float]:
    return values(detect_tallies([answer(predicted)], [answer(truth)]))


def test_overlap_by_hand() -> None:
    assert box_overlap((0, 0, 10, 10), (0, 0, 10, 5)) == 0.5
    assert box_overlap((0, 0, 10, 10), (5, 5, 15, 15)) == 25 / 175
    assert box_overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert box_overlap((10, 10, 0, 0), (10, 10, 0, 0)) == 0


def test_f1_by_hand() -> None:
    half, ship, far = (0, 0, 10, 5), (0, 0, 10, 10), (50, 50, 60, 60)
    # Matched 1 at both thresholds, of 1 predicted and 2 true.
    assert scores([(half, "ship")], [(ship, "ship"), (far, "ship")])["f1@0.50"] == 2 / 3
    third = (0, 0, 10, 3)
    found = scores([(third, "ship")], [(ship, "ship")])
    assert (found["f1@0.25"], found["f1@0.50"]) == (1, 0)
    # Another label is no match; labels of the references have scores of their own.
    found = scores([(ship, "aircraft"), (far, "Ship")], [(ship, "ship"), (far, "ship"), (half, "aircraft")])
    assert found["f1@0.50"] == 2 * 2 / 5
    assert found["f1@0.50/ship"] == 2 / 3
    assert found["f1@0.50/aircraft"] == 1
    assert not any(name.endswith("/bridge") for name in scores([(ship, "bridge")], [(ship, "ship")]))


def test_f1_sums_over_images() -> None:
    ship = answer([((0, 0, 10, 10), "ship")])
    tallies = detect_tallies([ship, ship, "None", "[{", "None"], [ship, "None", ship, ship, "None"])
    assert values(tallies) == {
        "f1@0.25": 2 / 5,
        "f1@0.50": 2 / 5,
        "f1@0.25/ship": 2 / 5,
        "f1@0.50/ship": 2 / 5,
        "readable": 4 / 5,
    }
    assert tallies["f1@0.50"].score().n == 5


def test_the_largest_overlap_is_matched_first() -> None:
    # The second prediction fits the true box better; the first, which came first, finds nothing left.
    assert matched_overlaps([(0, 0, 10, 6), (0, 0, 10, 9)], [(0, 0, 10, 10)]) == [0.9]
    # It even takes the box that another needs, though two matches were possible.
    assert matched_overlaps([(0, 0, 10, 10), (4, 0, 14, 10)], [(3, 0, 13, 10), (-4, 0, 6, 10)]) == pytest.approx(
        [90 / 110, 60 / 140]
    )


def test_a_truncated_answer_is_scored_by_its_complete_boxes() -> None:
    truth = answer([((0, 0, 10, 10), "ship"), ((50, 50, 60, 60), "ship")])
    found = values(detect_tallies([truth[: truth.rindex("{") + 9]], [truth]))
    assert found["f1@0.50"] == 2 / 3
    assert found["readable"] == 0


def test_boxes_are_scored_as_written_and_clipped() -> None:
    truth = answer([((90, 0, 130, 10), "ship"), ((200, 0, 220, 10), "ship")])
    predicted = answer([((90, 0, 100, 10), "ship"), ((110, 0, 120, 10), "ship")])
    found = values(detect_tallies([predicted], [truth], sizes=[(100, 100)]))
    # As written: 10 of 40 pixels; the two boxes beyond the edge are a miss and a false alarm.
    assert (found["f1@0.25"], found["f1@0.50"]) == (2 / 4, 0)
    # Clipped: the first ones are the same, the second true one is gone, the second predicted one is not.
    assert found["clipped_f1@0.50"] == found["clipped_f1@0.50/ship"] == 2 / 3


@pytest.mark.parametrize(
    ("references", "sizes", "message"),
    [
        (["a ship"], None, r"references\[0\]: found 'a ship'"),
        (["None"], [], "sizes: found 0"),
        (["None"], [(0, 5)], r"sizes\[0\]: found \(0, 5\)"),
    ],
)
def test_bad_arguments_are_refused(references: list[str], sizes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detect_tallies(["None"], references, sizes)


corner, side = st.integers(0, 12), st.integers(1, 8)
box = st.tuples(corner, corner, side, side).map(lambda part: (part[0], part[1], part[0] + part[2], part[1] + part[3]))
boxes = st.lists(st.tuples(box, st.sampled_from(["ship", "aircraft"])), max_size=5)
BOTH_HALVES: Boxes = [((0, 0, 4, 8), "ship"), ((4, 0, 8, 8), "ship")]
WHOLE: Boxes = [((0, 0, 8, 8), "ship")]


@settings(deadline=None)
@given(boxes, boxes, st.randoms(use_true_random=False))
# Three pairs overlap alike, and one of the boxes is in two of them: by the lists' order there were one match or two.
@example([((2, 0, 6, 4), "ship"), ((0, 0, 4, 4), "ship")], [((1, 0, 5, 4), "ship"), ((3, 0, 7, 4), "ship")], None)
def test_neither_order_nor_exchange_changes_f1(predicted: Boxes, truth: Boxes, random: random.Random | None) -> None:
    found = scores(predicted, truth)
    exchanged = scores(truth, predicted)
    assert found["f1@0.25"] == pytest.approx(exchanged["f1@0.25"], nan_ok=True)
    assert found["f1@0.50"] == pytest.approx(exchanged["f1@0.50"], nan_ok=True)
    assert scores(predicted[::-1], truth[::-1]) == pytest.approx(found, nan_ok=True)
    if random is not None:
        random.shuffle(predicted)
        assert scores(predicted, truth) == pytest.approx(found, nan_ok=True)


@settings(deadline=None)
@given(boxes.filter(len), boxes.map(lambda items: list(dict.fromkeys(items))), st.data())
def test_a_duplicate_prediction_never_helps(predicted: Boxes, truth: Boxes, data: st.DataObject) -> None:
    twice = [*predicted, data.draw(st.sampled_from(predicted))]
    found, repeated = scores(predicted, truth), scores(twice, truth)
    assert all(repeated[name] <= found[name] for name in ("f1@0.25", "f1@0.50"))


def test_a_duplicate_of_a_box_over_two_true_ones_does_not_take_the_second() -> None:
    assert scores(WHOLE, BOTH_HALVES)["f1@0.50"] == 2 / 3
    assert scores(WHOLE * 2, BOTH_HALVES)["f1@0.50"] == 2 / 4
    # What is true twice may be said twice.
    assert scores(WHOLE * 2, WHOLE * 2)["f1@0.50"] == 1


@settings(deadline=None)
@given(boxes, boxes)
def test_f1_is_bounded_and_falls_with_the_threshold(predicted: Boxes, truth: Boxes) -> None:
    found = scores(predicted, truth)
    if predicted or truth:
        assert 0 <= found["f1@0.50"] <= found["f1@0.25"] <= 1
    if truth:
        assert scores(truth, truth)["f1@0.50"] == 1
        # Something that is nowhere true costs.
        assert scores([*predicted, ((90, 90, 95, 95), "ship")], truth)["f1@0.25"] <= found["f1@0.25"]


@settings(deadline=None)
@given(box, box)
def test_overlap_is_symmetric_and_bounded(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    assert 0 <= box_overlap(first, second) == box_overlap(second, first) <= 1
    assert box_overlap(first, first) == 1


def test_boxes_beyond_the_range_of_numbers_match_nothing() -> None:
    huge = '[{"bbox_2d": [-1e308, -1e308, 1e308, 1e308], "label": "ship"}]'
    assert values(detect_tallies([huge], [huge]))["f1@0.25"] == 0
