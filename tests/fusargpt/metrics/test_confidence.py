"""Calibration error and risk over coverage, against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusargpt.metrics.average_precision import average_precision_tallies, mean_precision, right_boxes
from fusargpt.metrics.confidence import calibration_tally, reliability, risk_coverage, risk_tally
from fusargpt.metrics.counting import interval_tallies
from fusargpt.tasks.answers import LabelledBox

SAID = st.lists(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=4), min_size=1, max_size=12)


def test_calibration_error_of_two_bins() -> None:
    # 0.2 and 0.28, one of two right: |0.24 - 0.5| of two; 0.9, 1.0 and 1.0, all right: |2.9 / 3 - 1| of three.
    tally = calibration_tally([[(0.2, True), (0.28, False)], [(0.9, True), (1.0, True)], [], [(1.0, True)]])
    assert tally.value == pytest.approx((2 * abs(0.24 - 0.5) + 3 * (1 - 2.9 / 3)) / 5)
    low, high = reliability(tally)
    assert (low.n, high.n) == (2, 3)
    assert vars(low) == pytest.approx({"n": 2, "confidence": 0.24, "right": 0.5})
    assert vars(high) == pytest.approx({"n": 3, "confidence": 2.9 / 3, "right": 1.0})
    score = tally.score()
    assert score.n == 4 and score.low <= score.value <= score.high


def test_what_was_not_said_has_no_calibration_error() -> None:
    assert np.isnan(calibration_tally([[], []]).value) and reliability(calibration_tally([[]])) == []


@given(SAID)
def test_it_is_a_share_and_bins_hold_everything(images: list[list[tuple[float, bool]]]) -> None:
    tally = calibration_tally(images)
    if any(images):
        assert 0 <= tally.value <= 1
    assert sum(bin_.n for bin_ in reliability(tally)) == sum(map(len, images))


def test_risk_grows_as_less_sure_answers_are_given() -> None:
    # By falling confidence: right, wrong, then two together, one of them wrong.
    tally = risk_tally([0.5, 0.9, 0.701, 0.499], [0, 0, 1, 1])
    assert risk_coverage(tally) == [(0.25, 0), (0.5, 0.5), (1, 0.5)]
    assert tally.value == pytest.approx((0 + 0.5 + 0.5 + 0.5) / 4)


def test_a_model_that_knows_what_it_knows_has_the_least_area() -> None:
    risks = [1.0, 0.0, 0.0, 1.0]
    sure_of_right, sure_of_wrong = risk_tally([0.1, 0.9, 0.8, 0.2], risks), risk_tally([0.9, 0.1, 0.2, 0.8], risks)
    assert sure_of_right.value < 0.5 < sure_of_wrong.value
    # Without any difference in confidence it is the risk of all.
    assert risk_tally([0.6] * 4, risks).value == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_the_curve_ends_at_the_risk_of_all(pairs: list[tuple[float, float]]) -> None:
    tally = risk_tally(*zip(*pairs, strict=True))
    curve = risk_coverage(tally)
    assert curve[-1] == (1, pytest.approx(np.mean([risk for _, risk in pairs])))
    coverages = [0.0, *(coverage for coverage, _ in curve)]
    area = sum((b - a) * risk for a, b, (_, risk) in zip(coverages, coverages[1:], curve, strict=False))
    assert tally.value == pytest.approx(area)


def test_a_true_box_makes_one_box_right_the_surest() -> None:
    ship = LabelledBox([0, 0, 10, 10], "ship")
    found = [LabelledBox([0, 0, 10, 9], "ship"), ship, LabelledBox([0, 0, 10, 10], "aircraft")]
    assert right_boxes(found, [ship], [0.9, 0.4, 1.0]) == [True, False, False]
    assert right_boxes(found, [ship], [0.3, 0.4, 1.0]) == [False, True, False]
    assert right_boxes(found, [], [0.3, 0.4, 1.0]) == [False] * 3
    with pytest.raises(ValueError, match="found 1 scores for 3 boxes"):
        right_boxes(found, [ship], [0.9])


def test_the_area_under_precision_is_ap50() -> None:
    boxes = '[{"bbox_2d": [0, 0, 10, 10], "label": "ship"}, {"bbox_2d": [20, 0, 30, 10], "label": "aircraft"}]'
    wrong = '[{"bbox_2d": [0, 0, 10, 10], "label": "ship"}, {"bbox_2d": [50, 0, 60, 10], "label": "ship"}]'
    tally = average_precision_tallies([wrong, boxes], [boxes, boxes], [[0.6, 0.8], [0.7, 0.9]])["ap50"]
    precision = mean_precision(tally)
    assert len(precision) == 101 and np.mean(precision) == pytest.approx(tally.value)
    # Of ships 1 of 2 at 0.7 and 2 of 3 at 0.6; of aircraft one of two is found.
    assert precision[0] == pytest.approx((2 / 3 + 1) / 2) and precision[-1] == pytest.approx((2 / 3 + 0) / 2)


def test_intervals_of_counts_hold_their_ends() -> None:
    found = interval_tallies([(0, 2), (3, 3), (4, 6), (1, 1)], ["2", "3", "7", "0"])
    assert found["covered"].value == 0.5 and found["width"].value == 1.0 and not found["width"].percent
    unread = interval_tallies([(0, 2), None], ["2", "3"])
    assert unread["covered"].value == 0.5 and set(unread) == {"covered"}
