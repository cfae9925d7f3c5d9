"""The picture of a stage can be read."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from trl_recipes.running import curves
from trl_recipes.running.curves import draw_curves


@pytest.mark.parametrize("stages", [1, 2])
def test_a_title_stands_above_the_legend_of_its_panel(stages: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """That of stage 3 begins with four rewards, whose legend has two rows."""
    rewards = {f"rewards/{task}/mean": 0.5 for task in ("classify", "count", "detect", "localize")}
    log = [{"step": step, "loss": 0.0, "reward": 0.5, "entropy": 1.0, **rewards} for step in (1, 2)]
    folders = [tmp_path / f"stage{number}" for number in range(stages)]
    for folder in folders:
        folder.mkdir()
        (folder / curves.STATE).write_text(json.dumps({"log_history": log}))
    figures: list[Figure] = []
    monkeypatch.setattr(curves.pyplot, "close", figures.append)
    draw_curves(folders, tmp_path / "curves.png")
    (figure,) = figures
    figure.canvas.draw()  # the picture had other dots an inch
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in titled] == [folder.name for folder in folders]
    for axes in titled:
        legend = axes.get_legend()
        assert legend is not None and len(legend.get_texts()) == 4
        assert axes.title.get_window_extent().y0 >= legend.get_window_extent().y1
