"""Loss curves of finished stages as one picture: python -m trl_recipes.curves STAGE_DIR [...] --out curves.png"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

STATE = "trainer_state.json"


def read_losses(stage: Path) -> tuple[list[int], list[float]]:
    """Steps and training losses that a stage logged.

    Raises FileNotFoundError when the folder holds no trainer_state.json, ValueError when no loss was logged.
    """
    history = json.loads((stage / STATE).read_text())["log_history"]
    points = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    if not points:
        raise ValueError(f"{stage / STATE}: no training loss in its log; expected a finished or running stage")
    steps, losses = zip(*points, strict=True)
    return list(steps), list(losses)


def draw_curves(stages: list[Path], out: Path) -> None:
    """One panel a stage, side by side."""
    figure, panels = pyplot.subplots(1, len(stages), figsize=(4 * len(stages), 3), squeeze=False, layout="constrained")
    for panel, stage in zip(panels[0], stages, strict=True):
        panel.plot(*read_losses(stage), color="#1f5fa8", linewidth=1.4)
        panel.set(title=stage.name, xlabel="step", ylabel="training loss", yscale="log")
        panel.grid(alpha=0.3, which="both")
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", type=Path, nargs="+", metavar="STAGE_DIR")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    draw_curves(options.stages, options.out)


if __name__ == "__main__":
    main()
