"""Intervals and what they are made of."""

import math
from typing import Any

import numpy as np
import pytest

from fusargpt.errors import InputError
from fusargpt.metrics.tally import Tally, difference, pairs, results


def test_the_interval_is_that_of_a_share() -> None:
    score = Tally.mean([1, 0] * 200).score()
    assert (score.value, score.n) == (0.5, 400)
    # 1.96 standard errors of a share of one half: 0.049.
    assert score.low == pytest.approx(0.451, abs=0.006)
    assert score.high == pytest.approx(0.549, abs=0.006)
    assert score == Tally.mean([1, 0] * 200).score()


def test_many_images_are_drawn_like_few(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally(np.random.default_rng(0).integers(0, 9, (50, 2)).astype(float))
    kept = tally.score()
    monkeypatch.setattr("fusargpt.metrics.tally._KEPT_DRAWS", 0)
    assert tally.score() == kept


def test_images_that_agree_have_no_width() -> None:
    score = Tally.mean([1] * 7).score()
    assert (score.low, score.value, score.high) == (1, 1, 1)
    assert str(score) == "100.0 [100.0, 100.0]"


def test_a_mean_that_is_no_share_is_written_in_its_own_unit() -> None:
    assert str(Tally.mean([1.5, 1.5], percent=False).score()) == "1.50 [1.50, 1.50]"


def test_what_is_not_defined_is_not_a_number() -> None:
    for tally in (Tally.mean([]), Tally(np.zeros((3, 2)))):
        score = tally.score()
        assert math.isnan(score.value) and math.isnan(score.low) and math.isnan(score.high)
        assert score.n == len(tally.rows)
        assert str(score) == "-"


def test_draws_without_anything_to_score_are_left_out() -> None:
    # One image in three has boxes; of the draws, (2/3)^3 have none.
    score = Tally(np.array([[1.0, 2.0], [0, 0], [0, 0]])).score()
    assert (score.low, score.value, score.high) == (0.5, 0.5, 0.5)


def test_models_are_compared_image_by_image() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    better, worse = Tally.mean(list(hard < 0.6)), Tally.mean(list(hard < 0.5))
    found = difference(better, worse)
    assert found.value == pytest.approx(better.score().value - worse.score().value)
    # The same images are hard for both, so that the difference is surer than two separate intervals say.
    assert 0 < found.low < found.value < found.high
    assert better.score().low < worse.score().high
    with pytest.raises(ValueError, match="same images"):
        difference(better, Tally.mean([1, 0]))


def test_results_are_flat() -> None:
    assert results({"accuracy": Tally.mean([1, 1])}) == {
        "accuracy": 1.0,
        "accuracy_low": 1.0,
        "accuracy_high": 1.0,
        "accuracy_n": 2,
    }


@pytest.mark.parametrize(
    ("answers", "references", "message"),
    [
        ([], [], "no images"),
        (["1"], ["1", "2"], "1 answers and 2 references"),
        (["1", None], ["1", "2"], r"answers\[1\]: found None"),
    ],
)
def test_answers_and_references_belong_together(answers: Any, references: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pairs(answers, references)
