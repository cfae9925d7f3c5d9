"""Temperature and offset: what is fitted on confidences whose truth is known, and what is left alone."""

import numpy as np
import pytest

from fusargpt.evaluation.calibrating import Said, cross_fitted, fit, least_score
from fusargpt.inference.confidences import calibrated
from fusargpt.metrics.confidence import calibration_tally

TRUE = {"temperature": 2.5, "offset": -0.8}


def drawn(n: int, seed: int = 0) -> Said:
    """Three confidences an image that come true as `TRUE` has it."""
    rng = np.random.default_rng(seed)
    confidences = rng.beta(4, 1.5, (n, 3))
    rights = rng.random((n, 3)) < np.vectorize(lambda value: calibrated(value, TRUE))(confidences)
    return [
        list(zip(map(float, row), map(bool, right), strict=True))
        for row, right in zip(confidences, rights, strict=True)
    ]


def test_the_numbers_by_which_confidences_come_true_are_found() -> None:
    numbers = fit(drawn(20_000))
    assert numbers == pytest.approx(TRUE, abs=0.1)


def test_cross_fitted_errors_are_of_images_that_the_numbers_have_not_seen() -> None:
    said = drawn(400)
    names = [str(number // 2) for number in range(400)]
    moved = cross_fitted(said, names)
    assert not isinstance(moved, str)
    before, after = calibration_tally(said).value, calibration_tally(moved).value
    assert before > 0.15 and after < 0.05
    # The two questions about one image are in one fold, and each of the five folds has numbers of its own.
    numbers = [own_numbers(said, moved, place) for place in range(400)]
    assert numbers[::2] == [pytest.approx(second, abs=1e-6) for second in numbers[1::2]]
    assert len({round(slope, 6) for slope, _ in numbers}) == 5


def own_numbers(said: Said, moved: Said, place: int) -> tuple[float, float]:
    """Slope and offset by which the confidences of one question were moved."""
    odds = [[float(np.log(value / (1 - value))) for value, _ in of[place][:2]] for of in (said, moved)]
    slope = (odds[1][1] - odds[1][0]) / (odds[0][1] - odds[0][0])
    return slope, odds[1][0] - slope * odds[0][0]


def test_few_confidences_and_those_that_say_nothing_are_left_as_they_are() -> None:
    assert fit([[(0.9, True)] * 100, [(0.8, False)] * 19]) == "100 right and 19 wrong; 20 of each are needed"
    assert fit([]) == "0 right and 0 wrong; 20 of each are needed"
    backwards = fit([[(0.2, True)] * 50, [(0.8, False)] * 50])
    assert isinstance(backwards, str) and "with more confidence than what is wrong" in backwards
    apart = fit([[(0.52, True)] * 50, [(0.51, False)] * 50])
    assert isinstance(apart, str) and "more data" in apart
    few = cross_fitted([[(0.9, True), (0.4, True), (0.5, False)]] * 22, [str(number) for number in range(22)])
    assert isinstance(few, str) and few.startswith("without a fifth of the images ")


def test_boxes_are_kept_from_half_of_the_best_f1_on() -> None:
    # Of three true boxes two are found: F1 of the first box alone 2/4, of the first three 4/6, of all 4/8.
    said = [[(0.9, True), (0.3, False)], [(0.5, False), (0.4, True), (0.1, False)]]
    assert least_score([said[0][:1], said[1][:2]], 3) == pytest.approx(2 / 6)
    assert least_score(said, 3) == pytest.approx(2 / 6)
    # Equal scores come together.
    assert least_score([[(0.5, True)], [(0.5, False)] * 3], 1) == pytest.approx(1 / 5)
    assert least_score([[(0.5, False)]], 7) == least_score([], 7) == 0


def test_of_calibrated_scores_no_other_least_one_gives_a_clearly_better_f1() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(1.5, 2, 50_000)
    right = rng.random(50_000) < scores
    true_boxes = int(right.sum()) + 9_000

    def f1(least: float) -> float:
        kept = scores >= least
        return float(2 * right[kept].sum() / (kept.sum() + true_boxes))

    least = least_score([[pair] for pair in zip(scores.tolist(), right.tolist(), strict=True)], true_boxes)
    assert f1(least) > max(map(f1, np.linspace(0, 1, 101).tolist())) - 1e-3
    assert f1(least) > max(f1(0), f1(0.5)) + 0.01
