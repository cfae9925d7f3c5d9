"""A benchmark as one HTML file, for light and dark screens and for paper; it loads nothing from anywhere."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fusargpt.evaluation.evaluated import Evaluation, Scores
from fusargpt.evaluation.galleries import descriptions, detections
from fusargpt.evaluation.results import REMEDY, clear, signed
from fusargpt.evaluation.tables import cell_recall, class_confusion, count_confusion, count_errors
from fusargpt.files import output_file
from fusargpt.metrics.tally import Score

REPORT = "report.html"
HEADLINES = {
    "describe": "bleu4",
    "count": "accuracy",
    "localize": "exact",
    "classify": "accuracy",
    "detect": "f1@0.25",
}
"""The one score by which a task stands at the top of the report. Of cells it is the strict one."""
TITLES = {
    "accuracy": "accuracy",
    "mae": "mean absolute error",
    "readable": "readable",
    "acc@100": "Acc@100",
    "acc@50": "Acc@50",
    "top1": "Top1",
    "exact": "exact",
    "precision": "precision",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "f1": "F1",
}
_COLOURS = 8  # of entries in the template


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write `report.html`: scores with intervals, differences, confusions, errors, best and worst images.

    Raises:
        InputError: the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.jinja").render(contents(evaluation))
    path = folder / REPORT
    # A model may write anything, lone surrogates too.
    with output_file(path, REMEDY) as partial:
        partial.write_text(html, encoding="utf-8", errors="replace")
    return path


def contents(evaluation: Evaluation) -> dict[str, object]:
    """What the template shows."""
    first = evaluation.entries[0].label
    colours = {entry.label: index % _COLOURS for index, entry in enumerate(evaluation.entries)}
    best, worst = detections(evaluation, first)
    well, badly = descriptions(evaluation, first)
    return {
        "settings": evaluation.settings,
        "versions": evaluation.versions,
        "device": evaluation.device,
        "entries": evaluation.entries,
        "first": first,
        "colours": colours,
        "cards": [_card(evaluation, task, colours) for task in evaluation.tasks if evaluation.scores[task]],
        "scores": _groups(evaluation.scores, colours, _score_cell),
        "differences": _groups(evaluation.differences, colours, _difference_cell) if len(colours) > 1 else [],
        **_tables(evaluation),
        "detections": [("Best", best), ("Worst", worst)],
        "descriptions": [("Best", well), ("Worst", badly)],
        "failures": evaluation.failures,
    }


def title(metric: str) -> str:
    """A metric's name as people write it: "f1@0.25/ship" is "F1@0.25 ship"."""
    name, _, label = metric.partition("/")
    if name in TITLES:
        return f"{TITLES[name]} {label}".strip()
    stem, _, threshold = name.partition("@")
    clipped = " clipped" if stem.startswith("clipped_") else ""
    return f"{TITLES[stem.removeprefix('clipped_')]}@{threshold}{clipped} {label}".strip()


def _card(evaluation: Evaluation, task: str, colours: Mapping[str, int]) -> dict[str, object]:
    scores = evaluation.scores[task][HEADLINES[task]]
    differences = evaluation.differences[task].get(HEADLINES[task], {})
    lines = []
    for label, score in scores.items():
        difference = differences.get(label)
        lines.append(
            {
                "label": label,
                "colour": colours[label],
                "value": _number(score.value, score.percent),
                "interval": _interval(score),
                "difference": None if difference is None else _number(difference.value, difference.percent, "+"),
                "sure": difference is not None and clear(difference),
                "n": score.n,
            }
        )
    return {"task": task, "metric": title(HEADLINES[task]), "lines": lines}


def _groups(
    found: Scores, colours: Mapping[str, int], cell: Callable[[Score, float], dict[str, object]]
) -> list[object]:
    """The tables of the tasks: rows of metrics, and beside them minor ones, of single classes and the like."""
    groups = []
    for task, metrics in found.items():
        shown = [score for of_entry in metrics.values() for score in of_entry.values() if score.percent]
        bounds = [abs(bound) for score in shown for bound in (score.low, score.high) if not math.isnan(bound)]
        reach = max(bounds, default=1.0) or 1.0
        rows: dict[bool, list[dict[str, object]]] = {True: [], False: []}
        for name, of_entry in metrics.items():
            cells = [
                {"label": label, "colour": colours[label], "n": score.n, **cell(score, reach)}
                for label, score in of_entry.items()
            ]
            minor = "/" in name or name.startswith("clipped_") or name == "readable"
            rows[minor].append({"metric": title(name), "cells": cells})
        if metrics:
            groups.append({"task": task, "rows": rows[False], "minor": rows[True], "reach": f"{100 * reach:.0f}"})
    return groups


def _score_cell(score: Score, _reach: float) -> dict[str, object]:
    bar = _bar(score, lambda value: 100 * value) if score.percent else None
    return {"value": _number(score.value, score.percent), "interval": _interval(score), "bar": bar, "sure": False}


def _difference_cell(score: Score, reach: float) -> dict[str, object]:
    bar = _bar(score, lambda value: 50 + 50 * value / reach) if score.percent else None
    value, _, interval = signed(score).removesuffix(" *").partition(" ")
    return {"value": value, "interval": interval, "bar": bar, "sure": clear(score)}


def _bar(score: Score, place: Callable[[float], float]) -> dict[str, str] | None:
    """Where interval and value lie, in percent of a bar's width."""
    if math.isnan(score.value):
        return None
    low, value, high = (place(number) for number in (score.low, score.value, score.high))
    return {"left": f"{low:.2f}", "width": f"{high - low:.2f}", "at": f"{value:.2f}"}


def _tables(evaluation: Evaluation) -> dict[str, list[object]]:
    """Confusions, errors and cells of every entry that answered; empty for tasks that are not asked."""
    tables: dict[str, list[object]] = {"counts": [], "classes": [], "errors": [], "cells": []}
    for entry in evaluation.entries:
        answers = evaluation.answers[entry.label]
        for task, name, table in (
            ("count", "counts", count_confusion),
            ("classify", "classes", class_confusion),
            ("count", "errors", count_errors),
            ("localize", "cells", cell_recall),
        ):
            items = [item for item in evaluation.of_task(task) if item.id in answers]
            if items:
                tables[name].append((entry.label, table(items, answers)))
    return tables


def _number(value: float, percent: bool, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:{sign}.1f}" if percent else f"{value:{sign}.2f}"


def _interval(score: Score) -> str:
    if math.isnan(score.low):
        return ""
    return f"[{_number(score.low, score.percent)}, {_number(score.high, score.percent)}]"
