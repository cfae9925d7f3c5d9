"""The table and the picture, from the cells that are done."""

import json
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from scipy.stats import t as student

from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.metrics.tally import Tally, difference

KINDS = {"readout": "frozen tokens, a small head", "whole_model": "the whole model"}
COLOURS = {"true": "#1f5fa8", "none": "#9aa7b5", "shuffled": "#d0743c", "blind": "#5a8f5a"}

Runs = dict[str, dict[int, Tally]]
"""Exact counts by arm asked and seed, image by image."""


def read_results(results: Path, kind: str) -> dict[float, Runs]:
    """By pixel size."""
    found: dict[float, Runs] = {}
    for path in sorted((results / kind).glob("*/*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        cell, answers = result["cell"], result["answers"]
        for arm in answers.keys() - {"reference"}:
            right = [float(said == true) for said, true in zip(answers[arm], answers["reference"], strict=True)]
            found.setdefault(cell["pixel_size"], {}).setdefault(arm, {})[cell["seed"]] = Tally.mean(right)
    return dict(sorted(found.items()))


def pooled(runs: Mapping[int, Tally]) -> Tally:
    """All seeds of each image together, so that intervals are over places."""
    return Tally(np.sum([tally.rows for tally in runs.values()], 0))


def over_seeds(values: list[float]) -> str:
    """95 % interval of the mean (Student's t); "-" for fewer than two."""
    if len(values) < 2:
        return "-"
    half = float(student.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"[{100 * (np.mean(values) - half):.1f}, {100 * (np.mean(values) + half):.1f}]"


def _gain(runs: Runs, arm: str) -> str:
    """`true` minus another arm: points, interval over places, interval over seeds."""
    if not (shared := sorted(runs.get("true", {}).keys() & runs.get(arm, {}).keys())):
        return ""
    pairs = [(runs["true"][seed], runs[arm][seed]) for seed in shared]
    first, second = (Tally(np.sum([pair[index].rows for pair in pairs], 0)) for index in (0, 1))
    found = difference(first, second)
    seeds = over_seeds([one.value - other.value for one, other in pairs])
    return f"{100 * found.value:+.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] {seeds}"


def report(results: Path) -> str:
    """Markdown: exact counts and what the prior is worth, by pixel size.

    Raises:
        InputError: no cell that is done.
    """
    parts: list[str] = []
    for kind, title in KINDS.items():
        if not (by_size := read_results(results, kind)):
            continue
        header = ["pixel, m", "seeds", *COLOURS, "true minus none", "true minus blind"]
        lines = [header, ["---"] * len(header)]
        for pixel_size, runs in by_size.items():
            scores = [str(pooled(runs[arm]).score()) if arm in runs else "" for arm in COLOURS]
            seeds = str(max(len(of_arm) for of_arm in runs.values()))
            lines.append([f"{pixel_size:g}", seeds, *scores, _gain(runs, "none"), _gain(runs, "blind")])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        n = len(next(iter(next(iter(next(iter(by_size.values())).values())).values())).rows)
        parts.append(
            f"Exact counts of ships, {title}, percent of {n} held-out scenes, 95 % interval over places, seeds pooled; "
            f"differences in points with a second interval over seeds:\n\n{table}"
        )
    if not parts:
        raise InputError(f"{results}: no cell is done; run python -m benchmarks.pixel_size")
    return "\n\n".join(parts)


def draw(results: Path, out: Path) -> None:
    """Exact counts against the pixel size, a panel for each kind of reading that has results."""
    found = {kind: by_size for kind in KINDS if (by_size := read_results(results, kind))}
    figure, panels = pyplot.subplots(1, len(found), figsize=(5.5 * len(found), 4), layout="constrained", squeeze=False)
    for panel, (kind, by_size) in zip(panels[0], found.items(), strict=True):
        for index, (arm, colour) in enumerate(COLOURS.items()):
            scores = {size: pooled(runs[arm]).score() for size, runs in by_size.items() if arm in runs}
            if not scores:
                continue
            at = [size * 1.02 ** (index - 1.5) for size in scores]
            values = [score.value for score in scores.values()]
            ends = [[s.value - s.low for s in scores.values()], [s.high - s.value for s in scores.values()]]
            panel.errorbar(at, values, yerr=ends, color=colour, label=arm, marker="o", capsize=3)
        panel.set(xscale="log", xlabel="pixel size, m", ylabel="exact counts", title=KINDS[kind], ylim=(0, None))
        panel.set_xticks(list(by_size), [f"{size:g}" for size in by_size])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def write_report(results: Path) -> str:
    """`tables.md` and `counts.png` in the folder of results; returns the former."""
    text = report(results)
    with written_whole(results / "tables.md") as part:
        part.write_text(text + "\n", encoding="utf-8")
    draw(results, results / "counts.png")
    return text
