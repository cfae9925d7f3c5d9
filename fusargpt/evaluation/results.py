"""A benchmark's result as tables on screen and as `results.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.scoring import parsed, parts
from fusargpt.files import output_file
from fusargpt.metrics.tally import Score

RESULTS = "results.json"
REMEDY = "the answers are kept; make room, and the same command asks nothing again"
"""How the line about a file that cannot be written ends."""


def main_metrics(metrics: Mapping[str, Mapping[str, Score]], all_readable: float) -> list[str]:
    """Those that a short table shows: not those of single classes, and of boxes those as they are written.

    `readable` is among them unless it is `all_readable` for every entry.
    """
    plain = [name for name in metrics if "/" not in name and not name.startswith("clipped_")]
    alike = all(score.value == all_readable for score in metrics.get("readable", {}).values())
    return [name for name in plain if name != "readable" or not alike]


def score_table(evaluation: Evaluation) -> str:
    """Markdown: a row for each task and metric, a column for each entry; percent with 95 % intervals."""
    labels = [entry.label for entry in evaluation.entries]
    lines = [["task", "metric", "n", *labels]]
    for task, metrics in evaluation.scores.items():
        for name in main_metrics(metrics, 1.0):
            of_entry = metrics[name]
            counts = dict.fromkeys(str(score.n) for score in of_entry.values())
            cells = [str(of_entry[label]) if label in of_entry else "-" for label in labels]
            lines.append([task, name, " / ".join(counts), *cells])
    return _markdown(lines)


def difference_table(evaluation: Evaluation) -> str:
    """Markdown: the first entry minus each other one, over the same images; `*` where the interval leaves out 0."""
    first, *others = [entry.label for entry in evaluation.entries]
    lines = [["task", "metric", "n", *(f"minus {label}" for label in others)]]
    for task, metrics in evaluation.differences.items():
        for name in main_metrics(metrics, 0.0):
            of_entry = metrics[name]
            counts = dict.fromkeys(str(score.n) for score in of_entry.values())
            cells = [signed(of_entry[label]) if label in of_entry else "-" for label in others]
            lines.append([task, name, " / ".join(counts), *cells])
    return f"{first}:\n\n{_markdown(lines)}"


def signed(score: Score) -> str:
    """A difference in percentage points or in its own unit, `*` where its interval leaves out 0."""
    if math.isnan(score.value):
        return "-"
    unit, digits = (100, 1) if score.percent else (1, 2)
    value, low, high = (f"{unit * number:+.{digits}f}" for number in (score.value, score.low, score.high))
    return f"{value} [{low}, {high}]{' *' if clear(score) else ''}"


def clear(score: Score) -> bool:
    """Whether the interval of a difference leaves out 0."""
    return score.low > 0 or score.high < 0


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
        "scores": _plain(evaluation.scores),
        "differences": _plain(evaluation.differences),
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
                    "seconds": answer.seconds,
                }
            )
    return records


def _plain(scores: object) -> object:
    if isinstance(scores, Score):
        values = asdict(scores)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()
        }
    assert isinstance(scores, Mapping)
    return {key: _plain(value) for key, value in scores.items()}


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])
