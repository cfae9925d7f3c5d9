"""How far the confidences of answers can be trusted: scores beside those of a task, and curves for the report.

Right is a count, a set of cells or a class that is exact, and a box that average precision counts at overlap 0.50. The
risk of a detection is what its image lacks to an F1@0.50 of 1, that of a description what it lacks to a ROUGE-L of 1;
of the other tasks it is 1 for a wrong answer. A description is not right or wrong, and has no calibration error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from fusargpt.inference.counts import CountDistribution
from fusargpt.inference.questions import Answer
from fusargpt.metrics.average_precision import mean_precision, right_boxes
from fusargpt.metrics.confidence import calibration_tally, reliability, risk_coverage, risk_tally
from fusargpt.metrics.counting import interval_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.answers import parse_boxes

CONFIDENT = ("ece", "aurc")
"""Scores that only answers with confidences have."""
_VALUES = {
    "count": "accuracy",
    "localize": "exact",
    "classify": "accuracy",
    "describe": "rouge_l",
    "detect": "f1@0.50",
}
"""The score of one image whose distance to 1 is the risk."""


def trust_tallies(
    task: str, answers: Sequence[Answer], references: Sequence[str], tallies: Mapping[str, Tally]
) -> dict[str, Tally]:
    """`ece`, `aurc` and of counts `covered` and `width`, as far as all answers say what they are made of.

    Args:
        task: of all.
        answers: one an image.
        references: the true ones, boxes in the pixels of the answers'.
        tallies: of the same answers.
    """
    found: dict[str, Tally] = {}
    confidences = [answer.confidence for answer in answers if answer.confidence is not None]
    if len(confidences) == len(answers):
        values = _values(tallies[_VALUES[task]])
        if (said := said_and_right(task, answers, references, values)) is not None:
            found["ece"] = calibration_tally(said)
        found["aurc"] = risk_tally(confidences, [1 - value for value in values])
    if task == "count" and any(answer.counts for answer in answers):
        intervals = [CountDistribution(answer.counts).interval if answer.counts else None for answer in answers]
        found |= interval_tallies(intervals, references)
    return found


def said_and_right(
    task: str, answers: Sequence[Answer], references: Sequence[str], values: Sequence[float]
) -> list[list[tuple[float, bool]]] | None:
    """Of each image, every confidence with whether it was right; None where right is nothing that can be told.

    Args:
        task: as of `trust_tallies`.
        answers: as there.
        references: as there.
        values: the score of each image that is 1 where an answer is right.
    """
    if task == "describe" or any(answer.confidence is None for answer in answers):
        return None
    if task != "detect":
        return [[(answer.confidence or 0.0, value == 1)] for answer, value in zip(answers, values, strict=True)]
    said: list[list[tuple[float, bool]]] = []
    for answer, reference in zip(answers, references, strict=True):
        scores = answer.scores or ()
        right = right_boxes(parse_boxes(answer.answer).value, parse_boxes(reference).value, scores)
        said.append(list(zip(scores, right, strict=True)))
    return said


def image_values(task: str, tallies: Mapping[str, Tally]) -> list[float]:
    """The score of each image by which its answer is right, or not."""
    return _values(tallies[_VALUES[task]])


def curves(tallies: Mapping[str, Tally]) -> dict[str, object]:
    """Plain JSON of what the tallies of a task and an entry draw.

    Returns:
        `reliability`: bins of `n`, mean `confidence` and the share that is `right`. `risk_coverage`: pairs, the last
        one of all answers. `precision`: where recall is 0, 0.01, ..., 1, at overlap 0.50, the mean over labels.
    """
    found: dict[str, object] = {}
    if "ece" in tallies:
        found["reliability"] = [asdict(bin_) for bin_ in reliability(tallies["ece"])]
    if "aurc" in tallies:
        found["risk_coverage"] = [list(pair) for pair in risk_coverage(tallies["aurc"])]
    if "ap50" in tallies:
        found["precision"] = mean_precision(tallies["ap50"])
    return found


def _values(tally: Tally) -> list[float]:
    """Of each image; 1 of one without anything to find in which nothing was found."""
    parts, wholes = tally.rows[:, 0], tally.rows[:, 1]
    return np.where(wholes > 0, parts / np.maximum(wholes, 1), 1.0).tolist()
