"""What stages logged as one picture: python -m trl_recipes.running.curves STAGE_DIR [...] --out curves.png"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fusargpt.tasks.prompts import TASKS

STATE = "trainer_state.json"
PICTURE = "curves.png"
COLOURS = ("#1f5fa8", "#d4700a", "#2a8a4a", "#a83279", "#8a6d3b", "#4a4a4a")
# A task has one colour in every panel.
TASK_COLOURS: dict[str, str] = dict(zip(sorted(TASKS), COLOURS, strict=False))
TASK_LOSS = "loss_"
_WIDTH = 7.6
"""Inches, 836 pixels: about what a page shows of a picture."""
_MOST_COLUMNS = 3
_LEGEND_COLUMNS = 3


LogEntry = dict[str, float]
"""What a trainer logs at a step, with the step among it."""


class Curve(NamedTuple):
    """How something that was logged is drawn."""

    label: str
    colour: str
    line: str = "-"


class Points(NamedTuple):
    """A curve with the steps at which it was logged."""

    curve: Curve
    steps: list[float]
    values: list[float]


@dataclass(frozen=True)
class Panel:
    """One kind of panel.

    Attributes:
        label: of its vertical axis.
        curves: by the names under which they are logged.
        scale: of its vertical axis.
        top: where its vertical axis ends, or None.
    """

    label: str
    curves: Mapping[str, Curve]
    scale: str = "linear"
    top: float | None = None

    def select(self, history: Sequence[LogEntry]) -> list[Points]:
        """Those of its curves that were logged; NaN is left out."""
        found = []
        for name, curve in self.curves.items():
            # TRL logs null where a reward fell on no answer.
            logged = [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None]
            points = [(step, value) for step, value in logged if not math.isnan(value)]
            if points:
                steps, values = zip(*points, strict=True)
                found.append(Points(curve, list(steps), list(values)))
        return found

    def draw(self, axes: Axes, found: Sequence[Points], last_step: float) -> None:
        for (label, colour, line), steps, values in found:
            # Few points are shown as such; one alone has no line.
            marker = "o" if len(steps) < 12 else None
            axes.plot(
                steps, values, color=colour, linestyle=line, linewidth=1.4, marker=marker, markersize=3, label=label
            )
        axes.set(xlabel="step", ylabel=self.label, yscale=self.scale, xlim=(0, last_step * 1.02))
        axes.grid(alpha=0.3, which="both")
        if self.scale == "linear":
            axes.set_ylim(0, self.top)
        else:
            _label_log(axes, [value for _, _, values in found for value in values])
        if legend_rows(found):  # above, where it hides nothing
            axes.legend(
                fontsize="x-small",
                ncols=_LEGEND_COLUMNS,
                columnspacing=1,
                handlelength=1.2,
                loc="lower center",
                bbox_to_anchor=(0.5, 1),
                frameon=False,
            )
        elif len(found) > 1:
            axes.legend(fontsize="small")


def legend_rows(found: Sequence[Points]) -> int:
    """Rows of the legend above a panel; of two curves it stands inside."""
    return -(-len(found) // _LEGEND_COLUMNS) if len(found) > 2 else 0


def _label_log(axes: Axes, values: Sequence[float]) -> None:
    """Numbers as people write them along a logarithmic axis, whether it spans a hundredth or many tenfolds."""
    low, high = min(values), max(values)
    wide = low <= 0 or high / low > 8
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


# Of FUSAR-KLIP.
LOSS_PARTS = {
    "itc": "contrast",
    "itm": "matching",
    "mlm": "masked words",
    "lm": "captions",
    "mim": "masked patches",
}

# Of reinforcement.
REWARDS = {f"rewards/{task}/mean": Curve(task, TASK_COLOURS[task]) for task in sorted(TASKS) if task != "describe"}
FORMS = {f"form/{task}": Curve(task, TASK_COLOURS[task]) for task in sorted(TASKS) if task != "describe"}

# Of each task the numbers that are read first.
SCORES = {
    "eval_classify_accuracy": Curve("classify, exact", TASK_COLOURS["classify"]),
    "eval_count_accuracy": Curve("count, exact", TASK_COLOURS["count"]),
    "eval_describe_rouge_l": Curve("describe, ROUGE-L", TASK_COLOURS["describe"]),
    "eval_detect_f1@0.25": Curve("detect, F1@0.25", TASK_COLOURS["detect"]),
    "eval_detect_f1@0.50": Curve("detect, F1@0.50", TASK_COLOURS["detect"], "--"),
    "eval_localize_exact": Curve("localize, exact", TASK_COLOURS["localize"]),
}


def panels_of(logs: Sequence[Sequence[LogEntry]]) -> list[Panel]:
    """All kinds of panels, for the tasks that `logs` name."""
    names = {name for log in logs for entry in log for name in entry}
    tasks = sorted(name.removeprefix(TASK_LOSS) for name in names if name.startswith(TASK_LOSS))
    by_task = {TASK_LOSS + task: Curve(task, TASK_COLOURS.get(task, COLOURS[-1])) for task in tasks}
    losses = {"loss": Curve("training", COLOURS[0]), "eval_loss": Curve("test split", COLOURS[1])}
    if "reward" in names:  # the loss of reinforcement says nothing: it is of advantages, whose mean is 0
        losses = {}
    health = {
        "tlm_gamma": Curve("mean |gamma|", COLOURS[0]),
        "tlm_beta": Curve("mean |beta|", COLOURS[1]),
        "tlm_tokens_modulated": Curve("tokens modulated", COLOURS[2]),
    }
    parts = {name: Curve(label, colour) for (name, label), colour in zip(LOSS_PARTS.items(), COLOURS, strict=False)}
    parts["itm_base_rate"] = Curve("matching, base rate", parts["itm"].colour, ":")
    parts |= {f"eval_{name}": Curve(f"{curve.label}, test", curve.colour, "--") for name, curve in parts.items()}
    matching = {"itm_accuracy": Curve("training", COLOURS[0]), "eval_itm_accuracy": Curve("test split", COLOURS[1])}
    classes = {"eval_accuracy": Curve("accuracy", COLOURS[0]), "eval_macro_f1": Curve("macro F1", COLOURS[1])}
    return [
        Panel("loss", losses, "log"),
        Panel("parts of the loss", parts),
        Panel("matching, share right", matching, top=1),
        Panel("training loss by task", by_task, "log"),
        Panel("reward of drawn answers", REWARDS, top=1),
        Panel("drawn answers in form", FORMS, top=1),
        Panel("entropy of a token", {"entropy": Curve("entropy", COLOURS[0])}),
        Panel("loss on true answers", {"replay_loss": Curve("replay", COLOURS[0])}),
        Panel("score of answers", SCORES, top=1),
        Panel("score of classes", classes, top=1),
        Panel("TLM", health),
        Panel("temperature", {"temperature": Curve("temperature", COLOURS[0])}),
        Panel("images per second", {"images_per_second": Curve("images", COLOURS[0])}),
        Panel("answers per second", {"answers_per_second": Curve("answers", COLOURS[0])}),
    ]


def read_log(stage: Path) -> list[LogEntry]:
    """What a stage logged.

    Raises FileNotFoundError when the folder holds no trainer_state.json, ValueError when no loss was logged.
    """
    history = json.loads((stage / STATE).read_text())["log_history"]
    if not any("loss" in entry for entry in history):
        raise ValueError(f"{stage / STATE}: no training loss in its log; expected a finished or running stage")
    return history


def draw_curves(stages: list[Path], out: Path) -> None:
    """The losses of each stage, and what any of the stages logged beside; as wide as a page shows without shrinking it.

    One stage has its panels in two columns. Several have a column each, three beside one another.

    Raises as `read_log`.
    """
    logs = [read_log(stage) for stage in stages]
    panels = [panel for panel in panels_of(logs) if any(panel.select(log) for log in logs)]
    alone = len(stages) == 1
    columns = min(2, len(panels)) if alone else min(len(stages), _MOST_COLUMNS)
    rows = -(-len(panels) // columns) if alone else len(panels) * -(-len(stages) // columns)
    with pyplot.rc_context({"font.size": 8, "axes.titlesize": 9}):
        size = (max(columns / _MOST_COLUMNS, 0.6) * _WIDTH, 2.3 * rows)
        figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
        for axes in grid.flat:
            axes.set_axis_off()
        for number, (stage, log) in enumerate(zip(stages, logs, strict=True)):
            for index, panel in enumerate(panels):
                row, column = divmod(index if alone else number, columns)
                axes = grid[row if alone else row * len(panels) + index, column]
                found = panel.select(log)
                if index == 0:
                    axes.set_title(stage.name, pad=6 + 10 * legend_rows(found))
                if found:
                    axes.set_axis_on()
                    panel.draw(axes, found, max(entry["step"] for entry in log))
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
    try:
        draw_curves(options.stages, options.out)
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
