"""What stages logged as one picture: python -m trl_recipes.curves STAGE_DIR [...] --out curves.png"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

STATE = "trainer_state.json"
PICTURE = "curves.png"
COLOURS = ("#1f5fa8", "#d4700a", "#2a8a4a", "#a83279", "#8a6d3b", "#4a4a4a")
TASK_LOSS = "loss_"
# Of each task the numbers that are read first, by the name under which an evaluation logs them.
SCORES = {
    "eval_classify_accuracy": "classify, exact",
    "eval_count_accuracy": "count, exact",
    "eval_describe_rouge_l": "describe, ROUGE-L",
    "eval_detect_f1@0.25": "detect, F1 at 0.25",
    "eval_detect_f1@0.50": "detect, F1 at 0.50",
    "eval_localize_exact": "localize, exact",
}

Curves = dict[str, tuple[list[int], list[float]]]  # steps and values by the curve's name


@dataclass(frozen=True)
class Panel:
    """One kind of panel.

    Attributes:
        label: of its vertical axis.
        names: of what is drawn, as it was logged, and what each is called.
        scale: of its vertical axis.
    """

    label: str
    names: Mapping[str, str]
    scale: str = "linear"

    def draw(self, axes: Axes, curves: Curves) -> None:
        for (name, (steps, values)), colour in zip(curves.items(), cycle(COLOURS), strict=False):
            # A curve of one point is a point.
            marker = "o" if len(steps) < 12 else None
            axes.plot(steps, values, color=colour, linewidth=1.4, marker=marker, markersize=3, label=name)
        axes.set(xlabel="step", ylabel=self.label, yscale=self.scale)
        axes.grid(alpha=0.3, which="both")
        if len(curves) > 1:
            axes.legend(fontsize="small")
        if self.scale == "linear":
            axes.set_ylim(bottom=0)


def panels_of(logs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """All kinds of panels, for the tasks that `logs` name."""
    names = {name for log in logs for entry in log for name in entry}
    tasks = sorted(name.removeprefix(TASK_LOSS) for name in names if name.startswith(TASK_LOSS))
    return [
        Panel("loss", {"loss": "training", "eval_loss": "test split"}, "log"),
        Panel("training loss by task", {TASK_LOSS + task: task for task in tasks}, "log"),
        Panel("share of answers", SCORES),
        Panel("TLM", {"tlm_gamma": "mean |gamma|", "tlm_beta": "mean |beta|", "tlm_tokens_modulated": "modulated"}),
        Panel("images per second", {"images_per_second": "images"}),
    ]


def read_log(stage: Path) -> list[dict[str, Any]]:
    """What a stage logged.

    Raises FileNotFoundError when the folder holds no trainer_state.json, ValueError when no loss was logged.
    """
    history = json.loads((stage / STATE).read_text())["log_history"]
    if not any("loss" in entry for entry in history):
        raise ValueError(f"{stage / STATE}: no training loss in its log; expected a finished or running stage")
    return history


def select(history: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Curves:
    """The curves of those of `names` that were logged, by what each is called in the picture; NaN is left out."""
    curves: Curves = {}
    for name, called in names.items():
        points = [(entry["step"], entry[name]) for entry in history if name in entry and not math.isnan(entry[name])]
        if points:
            steps, values = zip(*points, strict=True)
            curves[called] = list(steps), list(values)
    return curves


def draw_curves(stages: list[Path], out: Path) -> None:
    """A column a stage: its losses, and below them what any of the stages logged beside.

    Raises as `read_log`.
    """
    logs = [read_log(stage) for stage in stages]
    rows = [panel for panel in panels_of(logs) if any(select(log, panel.names) for log in logs)]
    size = (4 * len(stages), 3 * len(rows))
    figure, grid = pyplot.subplots(len(rows), len(stages), figsize=size, squeeze=False, layout="constrained")
    for number, (row, panel) in enumerate(zip(grid, rows, strict=True)):
        for axes, stage, log in zip(row, stages, logs, strict=True):
            curves = select(log, panel.names)
            if curves:
                panel.draw(axes, curves)
            else:
                axes.set_axis_off()
            if number == 0:
                axes.set_title(stage.name)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def draw_stage(stage: Path) -> None:
    """`curves.png` in the folder of a stage; none where nothing was logged."""
    history = json.loads((stage / STATE).read_text())["log_history"]
    if any("loss" in entry for entry in history):
        draw_curves([stage], stage / PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", type=Path, nargs="+", metavar="STAGE_DIR")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw_curves(options.stages, options.out)


if __name__ == "__main__":
    main()
