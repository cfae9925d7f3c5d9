"""The headlines of all tasks in one plot, an axis a task, with intervals."""

import io
import math

import numpy as np
from matplotlib.figure import Figure

from fusargpt.foundation.suite import Findings
from fusargpt.foundation.titles import title

_FEWEST_AXES = 3


def radar(findings: Findings) -> bytes | None:
    """A PNG; None for fewer than three tasks. Axes go from 0 to 100 %, and an entry is drawn over the tasks it can do.

    The band is the 95 % interval, drawn of the entry that was examined alone.
    """
    tasks = findings.tasks
    if len(tasks) < _FEWEST_AXES:
        return None
    figure = Figure(figsize=(9.5, 7), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    angles = np.linspace(0, 2 * np.pi, len(tasks), endpoint=False)
    for number, entry in enumerate(findings.entries):
        scores = [findings.scores[task.name].get(task.headline, {}).get(entry.label) for task in tasks]
        values = np.array([math.nan if score is None else 100 * score.value for score in scores])
        line = axes.plot(_closed(angles), _closed(values), marker="o", markersize=3, linewidth=1.4, label=entry.label)
        if number == 0:
            low, high = (
                np.array([math.nan if score is None else 100 * getattr(score, end) for score in scores])
                for end in ("low", "high")
            )
            axes.fill_between(_closed(angles), _closed(low), _closed(high), alpha=0.25, color=line[0].get_color())
    axes.set_xticks(angles, [f"{task.name}\n{title(task.headline)}" for task in tasks], fontsize=7)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):
        across = math.cos(angle)  # a label ends where the circle begins, on whichever side it stands
        label.set_horizontalalignment("left" if across > 0.1 else "right" if across < -0.1 else "center")
    axes.set_ylim(0, 100)
    axes.set_yticks([20, 40, 60, 80], ["20", "40", "60", "80"], fontsize=7, color="0.4")
    axes.legend(loc="upper left", bbox_to_anchor=(1.12, 1.05), fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def _closed(values: np.ndarray) -> np.ndarray:
    return np.append(values, values[:1])
