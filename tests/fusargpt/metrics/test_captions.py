"""Scores of descriptions against the libraries and by hand."""

import math

import pytest
import sacrebleu

from fusargpt.errors import InputError
from fusargpt.metrics.captions import describe_tallies
from fusargpt.metrics.cider import cider
from tests.fusargpt.metrics.values import values

REFERENCES = ["Mostly water. Two ships on the water.", "Crops and trees. No target.", "Built area. Three aircraft."]
ANSWERS = ["Mostly water. One ship on the water.", "Crops and grass.", "Three aircraft."]


def test_bleu_is_that_of_sacrebleu() -> None:
    for answers in (ANSWERS, REFERENCES, ["water"] * 3, ["Crops and trees."] * 3, ["", "", "a"]):
        expected = sacrebleu.corpus_bleu(answers, [REFERENCES]).score / 100
        assert values(describe_tallies(answers, REFERENCES))["bleu4"] == pytest.approx(expected)


def test_bleu_by_hand() -> None:
    # 4, 3, 2 and 1 n-grams of the answer's 5, 4, 3 and 2 are in the reference; lengths are equal.
    found = values(describe_tallies(["a b c d x"], ["a b c d e"]))
    assert found["bleu4"] == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_rouge_l_by_hand() -> None:
    # In common, in order: two, on, the, water; 5 words on one side, 6 on the other.
    found = values(describe_tallies(["Two aircraft on the water"], ["two ships on the calm water"]))
    assert found["rouge_l"] == pytest.approx(2 * 4 / (5 + 6))


def test_cider_by_hand() -> None:
    # Nothing is in both references, so every n-gram weighs ln 2; there are n-grams of one and two words.
    assert cider(["two ships", "One aircraft."], ["two ships", "one aircraft"]) == pytest.approx([5, 5])
    said_too_often = (2 / math.sqrt(5 * 2) + 1 / math.sqrt(2)) / 4 * 10 * math.exp(-1 / 72)
    assert cider(["two two ships", ""], ["two ships", "one aircraft"]) == pytest.approx([said_too_often, 0])
    # A word that every reference has weighs nothing.
    assert cider(["water", "water"], ["water", "water"]) == [0, 0]
    assert cider(["ships"], ["ships"]) == [0]


def test_cider_prefers_the_rare_word() -> None:
    references = ["water and ships", "water and trees", "water and aircraft"]
    assert cider(["ships", "x", "x"], references)[0] > cider(["water", "x", "x"], references)[0] == 0


def test_the_truth_is_the_best_description() -> None:
    best = values(describe_tallies(REFERENCES, REFERENCES))
    assert (best["bleu4"], best["rouge_l"], best["exact"]) == pytest.approx((1, 1, 1))
    assert all(value < best[name] for name, value in values(describe_tallies(ANSWERS, REFERENCES)).items())


def test_every_score_has_an_interval() -> None:
    for tally in describe_tallies(ANSWERS, REFERENCES).values():
        score = tally.score()
        assert score.n == 3
        assert score.low <= score.value <= score.high
    assert str(describe_tallies(REFERENCES, REFERENCES)["cider"].score()) == "10.00 [10.00, 10.00]"


def test_a_reference_is_a_description() -> None:
    with pytest.raises(InputError, match=r"references\[0\]: found ''; expected a description"):
        describe_tallies(["Water."], [""])
