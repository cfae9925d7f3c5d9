"""A benchmark's result as `results.json`."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.scoring import parsed, parts
from fusargpt.files import output_file
from fusargpt.metrics.tally import Score

RESULTS = "results.json"
REMEDY = "the answers are kept; make room, and the same command asks nothing again"
"""How the line about a file that cannot be written ends."""


def write_results(evaluation: Evaluation, folder: Path) -> Path:
    """Write `results.json`: settings, versions, scores, differences, every prediction and every failure.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / RESULTS
    with output_file(path, REMEDY) as partial:
        partial.write_text(json.dumps(as_json(evaluation), indent=1, allow_nan=False), encoding="utf-8")
    return path


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """All of the evaluation but images, as plain JSON; what is not defined is null."""
    return {
        "settings": {**evaluation.settings, "device": evaluation.device},
        "versions": evaluation.versions,
        "entries": [asdict(entry) for entry in evaluation.entries],
        "scores": plain_scores(evaluation.scores),
        "differences": plain_scores(evaluation.differences),
        "curves": evaluation.curves,
        "predictions": {entry.label: _predictions(evaluation, entry.label) for entry in evaluation.entries},
        "failures": [asdict(failure) for failure in evaluation.failures],
    }


def _predictions(evaluation: Evaluation, label: str) -> list[dict[str, object]]:
    records = []
    for item in evaluation.items:
        answer = evaluation.answers[label].get(item.id)
        if answer is not None:
            value, problems = parsed(item, answer)
            records.append(
                {
                    "id": item.id,
                    "task": item.task,
                    "prompt": answer.question,
                    "answer": answer.answer,
                    "parsed": value,
                    "problems": problems,
                    "reference": item.reference,
                    "seen": answer.seen,
                    "parts": parts(item, answer),
                    "scores": answer.scores,
                    "confidence": answer.confidence,
                    "calibrated": answer.calibrated,
                    "counts": answer.counts,
                    "seconds": answer.seconds,
                }
            )
    return records


def plain_scores(scores: object) -> object:
    """Scores in mappings of any depth as plain JSON; what is not defined is null."""
    if isinstance(scores, Score):
        values = asdict(scores)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()
        }
    assert isinstance(scores, Mapping)
    return {key: plain_scores(value) for key, value in scores.items()}
