"""A benchmark as one HTML file, for light and dark screens and for paper; it loads nothing from anywhere."""

from pathlib import Path

from fusargpt.evaluation.charts import charts
from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.galleries import descriptions, detections
from fusargpt.evaluation.results import REMEDY
from fusargpt.evaluation.score_panels import COLOURS, card, difference_cell, groups, score_cell, template
from fusargpt.evaluation.score_tables import FEWEST_FOR_CLEAR
from fusargpt.evaluation.tables import cell_recall, class_confusion, count_confusion, count_errors
from fusargpt.files import output_file

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
    "ap50": "AP50",
    "ap": "AP",
    "ece": "calibration error",
    "aurc": "area under risk",
    "covered": "in 90 % interval",
    "width": "width of interval",
}


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write `report.html`: scores with intervals, differences, curves, confusions, best and worst images.

    Raises:
        InputError: the file cannot be written.
    """
    html = template(Path(__file__).with_name("report.html.jinja")).render(contents(evaluation))
    path = folder / REPORT
    # A model may write anything, lone surrogates too.
    with output_file(path, REMEDY) as partial:
        partial.write_text(html, encoding="utf-8", errors="replace")
    return path


def contents(evaluation: Evaluation) -> dict[str, object]:
    """What the template shows."""
    first = evaluation.entries[0].label
    colours = {entry.label: index % COLOURS for index, entry in enumerate(evaluation.entries)}
    best, worst = detections(evaluation, first)
    well, badly = descriptions(evaluation, first)
    return {
        "settings": evaluation.settings,
        "versions": evaluation.versions,
        "device": evaluation.device,
        "entries": evaluation.entries,
        "first": first,
        "fewest": FEWEST_FOR_CLEAR,
        "colours": colours,
        "cards": [
            card(
                task,
                title(HEADLINES[task]),
                evaluation.scores[task][HEADLINES[task]],
                evaluation.differences[task].get(HEADLINES[task], {}),
                colours,
            )
            for task in evaluation.tasks
            if evaluation.scores[task]
        ],
        "scores": groups(evaluation.scores, colours, title, score_cell),
        "differences": groups(evaluation.differences, colours, title, difference_cell) if len(colours) > 1 else [],
        "charts": charts(evaluation.curves, colours),
        "told": _told(evaluation),
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


def _told(evaluation: Evaluation) -> str:
    """Whose confidences are calibrated."""
    lines: list[str] = []
    for entry in evaluation.entries:
        of_tasks = {
            task: of_entry[entry.label]["calibrated"]
            for task, of_entry in evaluation.curves.items()
            if "reliability" in of_entry.get(entry.label, {})
        }
        chosen = [task for task, calibrated in of_tasks.items() if calibrated]
        if of_tasks:
            how = f"calibrated ({', '.join(chosen)})" if chosen else "probabilities of tokens as they are"
            lines.append(f"{entry.label}: {how}.")
    return " ".join(lines)


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
