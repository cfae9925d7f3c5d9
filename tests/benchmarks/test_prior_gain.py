"""A gain told apart by what is said with a blank image, and wrong counts by their sign."""

from typing import Any

import numpy as np
import pytest

from benchmarks.count_errors import count_errors
from benchmarks.count_errors import table as errors_table
from benchmarks.prior_gain import DESCRIBED, statements, table, told_apart

REFERENCE = (
    "Mostly flooded vegetation, with water in the upper left and bare ground in the centre. Two ships on the water."
)


def predictions(task: str, answers: list[str], rights: list[int]) -> list[dict[str, Any]]:
    parts = {"accuracy": rights, "exact": rights}
    return [
        {"id": f"{task}-{index}", "task": task, "reference": REFERENCE, "answer": answer}
        | {"parts": {name: float(values[index]) for name, values in parts.items()}}
        for index, answer in enumerate(answers)
    ]


def test_a_description_falls_into_its_statements() -> None:
    assert {name: of(REFERENCE) for name, of in DESCRIBED.items()} == {
        "ground of most": {"flooded vegetation"},
        "further ground": {"water", "bare ground"},
        "further ground, with its place": {"water, upper left", "bare ground, centre"},
        "targets": {"Two ships on the water"},
    }
    assert DESCRIBED["targets"]("Mostly water. No targets.") == {"No targets"}


def test_the_parts_of_a_gain_add_up() -> None:
    right = [np.array([[1, 0, 1], [1, 0, 0]], bool), np.array([[0, 1, 0]], bool), np.array([[1, 0, 0]], bool)]
    scores = {name: score.value for name, score in told_apart(right).items()}
    assert scores["true minus none"] == pytest.approx(2 / 4)
    assert scores["of it the prior says"] == pytest.approx(1 / 4)
    assert scores["of it needs both"] == pytest.approx(1 / 4)
    assert scores["prior blind"] == pytest.approx(1 / 4)


def test_statements_are_compared_question_by_question() -> None:
    said = {"true": REFERENCE, "none": "Mostly water. No targets.", "blind": "Mostly flooded vegetation. No targets."}
    found = statements({arm: predictions("describe", [answer], [0]) for arm, answer in said.items()})
    assert found["ground of most"][0].tolist() == [[True, False, True]]
    assert found["further ground"][0].tolist() == [[True, False, False]] * 2
    counts = statements({arm: predictions("count", ["1", "2"], [1, arm == "true"]) for arm in said})
    assert [one.tolist() for one in counts["count"]] == [[[True, True, True]], [[True, False, False]]]
    assert "| count | 2 | 100.0 [100.0, 100.0] | 50.0 [" in table(counts)
    with pytest.raises(ValueError, match="predictions of one question"):
        statements({arm: predictions("count" if arm == "true" else "classify", ["1"], [1]) for arm in said})


def test_wrong_counts_are_told_apart() -> None:
    pairs = [(3, "3"), (1, "4"), (9, "2"), (0, "5"), (None, "7")]
    found = [{"task": "count", "parsed": said, "reference": true} for said, true in pairs]
    found.append({"task": "classify", "parsed": "ship", "reference": "ship"})
    assert list(count_errors(found).values()) == [5, 1, 2, 1, 1, 13, 14]
    assert "| nano | 5 | 1 | 2 | 1 | 1 | 13 | 14 |" in errors_table({"nano": found})
