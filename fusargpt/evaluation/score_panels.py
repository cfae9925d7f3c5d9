"""What the reports of benchmarks show of scores, and the templates that show it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from fusargpt.evaluation.score_tables import Scores, clear, signed
from fusargpt.metrics.tally import Score

COLOURS = 8
"""Of entries in the style; further ones take them in turn again."""


def template(path: Path) -> Template:
    """A template, which may take in those of this folder."""
    environment = Environment(
        loader=FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)


def card(
    task: str,
    metric: str,
    scores: Mapping[str, Score],
    differences: Mapping[str, Score],
    colours: Mapping[str, int],
) -> dict[str, object]:
    """One metric of a task: the entries' scores, and the differences of the first to the others."""
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
    return {"task": task, "metric": metric, "lines": lines}


def groups(
    found: Scores,
    colours: Mapping[str, int],
    title: Callable[[str], str],
    cell: Callable[[Score, float], dict[str, object]],
) -> list[object]:
    """The tables of the tasks: rows of metrics, and beside them minor ones, of single classes and the like."""
    tables = []
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
            tables.append({"task": task, "rows": rows[False], "minor": rows[True], "reach": f"{100 * reach:.0f}"})
    return tables


def score_cell(score: Score, _reach: float) -> dict[str, object]:
    """A score as a table shows it."""
    bar = _bar(score, lambda value: 100 * value) if score.percent else None
    return {"value": _number(score.value, score.percent), "interval": _interval(score), "bar": bar, "sure": False}


def difference_cell(score: Score, reach: float) -> dict[str, object]:
    """A difference as a table shows it; `reach` is the largest."""
    bar = _bar(score, lambda value: 50 + 50 * value / reach) if score.percent else None
    value, _, interval = signed(score).removesuffix(" *").partition(" ")
    return {"value": value, "interval": interval, "bar": bar, "sure": clear(score)}


def _bar(score: Score, place: Callable[[float], float]) -> dict[str, str] | None:
    """Where interval and value lie, in percent of a bar's width."""
    if math.isnan(score.value):
        return None
    low, value, high = (place(number) for number in (score.low, score.value, score.high))
    return {"left": f"{low:.2f}", "width": f"{high - low:.2f}", "at": f"{value:.2f}"}


def _number(value: float, percent: bool, sign: str = "") -> str:
    if math.isnan(value):
        return "-"
    return f"{100 * value:{sign}.1f}" if percent else f"{value:{sign}.2f}"


def _interval(score: Score) -> str:
    if math.isnan(score.low):
        return ""
    return f"[{_number(score.low, score.percent)}, {_number(score.high, score.percent)}]"
