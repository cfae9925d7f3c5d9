"""Scores of several entries as tables on screen."""

import math
from collections.abc import Mapping, Sequence

from fusargpt.metrics.tally import Score

Scores = Mapping[str, Mapping[str, Mapping[str, Score]]]
"""By task, metric and the label of the entry."""
FEWEST_FOR_CLEAR = 30
"""Images from which on an interval of a difference may be called clear of 0. A percentile bootstrap of few images is
too narrow: of a mean of n normal values it holds the truth with the probability P(|t_(n-1)| < 1.96 sqrt((n-1) / n)),
where it should be 95 %: 81 % for 4, 87 % for 6, 90 % for 10, 94 % for 30."""


def main_metrics(metrics: Mapping[str, Mapping[str, Score]], all_readable: float) -> list[str]:
    """Those that a short table shows: not those of single classes, and of boxes those as they are written.

    `readable` is among them unless it is `all_readable` for every entry.
    """
    plain = [name for name in metrics if "/" not in name and not name.startswith("clipped_")]
    alike = all(score.value == all_readable for score in metrics.get("readable", {}).values())
    return [name for name in plain if name != "readable" or not alike]


def score_table(scores: Scores, labels: Sequence[str]) -> str:
    """Markdown: a row for each task and metric, a column for each entry; percent with 95 % intervals."""
    lines = [["task", "metric", "n", *labels]]
    for task, metrics in scores.items():
        for name in main_metrics(metrics, 1.0):
            of_entry = metrics[name]
            counts = dict.fromkeys(str(score.n) for score in of_entry.values())
            cells = [str(of_entry[label]) if label in of_entry else "-" for label in labels]
            lines.append([task, name, " / ".join(counts), *cells])
    return _markdown(lines)


def difference_table(differences: Scores, labels: Sequence[str]) -> str:
    """Markdown: the first entry minus each other one, over the same images; `*` as in `clear`."""
    first, *others = labels
    lines = [["task", "metric", "n", *(f"minus {label}" for label in others)]]
    for task, metrics in differences.items():
        for name in main_metrics(metrics, 0.0):
            of_entry = metrics[name]
            counts = dict.fromkeys(str(score.n) for score in of_entry.values())
            cells = [signed(of_entry[label]) if label in of_entry else "-" for label in others]
            lines.append([task, name, " / ".join(counts), *cells])
    return f"{first}:\n\n{_markdown(lines)}"


def signed(score: Score) -> str:
    """A difference in percentage points or in its own unit, `*` as in `clear`."""
    if math.isnan(score.value):
        return "-"
    unit, digits = (100, 1) if score.percent else (1, 2)
    value, low, high = (f"{unit * number:+.{digits}f}" for number in (score.value, score.low, score.high))
    return f"{value} [{low}, {high}]{' *' if clear(score) else ''}"


def clear(score: Score) -> bool:
    """Whether the interval of a difference leaves out 0, and is of enough images to say so."""
    return score.n >= FEWEST_FOR_CLEAR and (score.low > 0 or score.high < 0)


def by_metric(found: Mapping[str, Mapping[str, Score]]) -> dict[str, dict[str, Score]]:
    """Scores by entry and metric, turned into those by metric and entry."""
    metrics = dict.fromkeys(name for of_entry in found.values() for name in of_entry)
    return {name: {label: of_entry[name] for label, of_entry in found.items() if name in of_entry} for name in metrics}


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rows[0], rule, *rows[1:]])
