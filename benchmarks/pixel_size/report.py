"""The table and the picture, from the cells that are done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.over_seeds import over_seeds
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.metrics.tally import Score, Tally, difference

KINDS = {"readout": "frozen tokens, a small head", "whole_model": "the whole model"}
COLOURS = {"true": "#1f5fa8", "none": "#9aa7b5", "shuffled": "#d0743c", "blind": "#5a8f5a"}
GAINS = ("none", "blind")
"""Arms that `true` is compared with."""

Runs = dict[str, dict[int, Tally]]
"""By arm asked and seed, image by image: exact counts, or how far counts are off."""


def read_results(results: Path, kind: str, exact: bool = True) -> dict[float, Runs]:
    """By pixel size, exact counts or how many ships a count is off."""
    found: dict[float, Runs] = {}
    for path in sorted((results / kind).glob("*/*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        cell, answers = result["cell"], result["answers"]
        for arm in answers.keys() - {"reference"}:
            pairs = zip(answers[arm], answers["reference"], strict=True)
            values = [float(said == true if exact else abs(said - true)) for said, true in pairs]
            found.setdefault(cell["pixel_size"], {}).setdefault(arm, {})[cell["seed"]] = Tally.mean(values, exact)
    return dict(sorted(found.items()))


def pooled(runs: Mapping[int, Tally]) -> Tally:
    """All seeds of each image together, so that intervals are over places."""
    tallies = list(runs.values())
    return replace(tallies[0], rows=np.sum([tally.rows for tally in tallies], 0))


def gain(runs: Runs, arm: str) -> tuple[Score, list[float]] | None:
    """`true` minus another arm over the seeds that both have: all of them together, and each; None without any."""
    if not (shared := sorted(runs.get("true", {}).keys() & runs.get(arm, {}).keys())):
        return None
    both = [{seed: runs[name][seed] for seed in shared} for name in ("true", arm)]
    found = difference(pooled(both[0]), pooled(both[1]))
    return found, [both[0][seed].value - both[1][seed].value for seed in shared]


def _points(runs: Runs, arm: str) -> str:
    """Of exact counts, with an interval over places and one over seeds."""
    if (gained := gain(runs, arm)) is None:
        return ""
    found, by_seed = gained
    interval = over_seeds(by_seed)
    seeds = "-" if interval is None else "[{:.1f}, {:.1f}]".format(*(100 * end for end in interval))
    return f"{100 * found.value:+.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] {seeds}"


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def _errors(results: Path) -> str:
    """How far the small head's counts are off; the whole model's can be unreadable."""
    lines: list[list[str]] = []
    for pixel_size, runs in read_results(results, "readout", exact=False).items():
        means = [f"{pooled(runs[arm]).value:.2f}" if arm in runs else "" for arm in COLOURS]
        gains = ["" if (gained := gain(runs, arm)) is None else str(gained[0]) for arm in GAINS]
        lines.append([f"{pixel_size:g}", *means, *gains])
    return _table(["pixel, m", *COLOURS, *(f"true minus {arm}" for arm in GAINS)], lines)


def report(results: Path) -> str:
    """Markdown: exact counts and what the prior is worth, by pixel size.

    Raises:
        InputError: no cell that is done.
    """
    parts: list[str] = []
    for kind, title in KINDS.items():
        if not (by_size := read_results(results, kind)):
            continue
        header = ["pixel, m", "seeds", *COLOURS, *(f"true minus {arm}" for arm in GAINS)]
        lines: list[list[str]] = []
        for pixel_size, runs in by_size.items():
            scores = [str(pooled(runs[arm]).score()) if arm in runs else "" for arm in COLOURS]
            seeds = str(max(len(of_arm) for of_arm in runs.values()))
            lines.append([f"{pixel_size:g}", seeds, *scores, *(_points(runs, arm) for arm in GAINS)])
        n = len(next(iter(next(iter(next(iter(by_size.values())).values())).values())).rows)
        parts.append(
            f"Exact counts of ships, {title}, percent of {n} held-out scenes, 95 % interval over places, seeds pooled; "
            f"differences in points with a second interval over seeds:\n\n{_table(header, lines)}"
        )
        if kind == "readout":
            parts.append(
                f"How many ships these counts are off, mean, and differences over places:\n\n{_errors(results)}"
            )
    if not parts:
        raise InputError(f"{results}: no cell is done; run python -m benchmarks.pixel_size")
    return "\n\n".join(parts)


def draw(results: Path, out: Path) -> None:
    """Exact counts against the pixel size, and what the prior adds to them: a row for each kind that has results."""
    found = {kind: by_size for kind in KINDS if (by_size := read_results(results, kind))}
    figure, panels = pyplot.subplots(
        len(found), 2, figsize=(11, 4 * len(found)), layout="constrained", squeeze=False, sharex=True
    )
    for (left, right), (kind, by_size) in zip(panels, found.items(), strict=True):
        for arm in COLOURS:
            scores = {size: pooled(runs[arm]).score() for size, runs in by_size.items() if arm in runs}
            _curve(left, scores, arm, arm)
        for arm in GAINS:
            gains = {size: gained[0] for size, runs in by_size.items() if (gained := gain(runs, arm))}
            _curve(right, gains, arm, f"true minus {arm}")
        left.set(ylabel="exact counts, %", title=KINDS[kind], ylim=(0, None))
        right.set(ylabel="points", title="what the prior is worth")
        right.axhline(0, color="black", linewidth=0.8)
        for panel in (left, right):
            panel.set(xscale="log", xlabel="pixel size, m")
            panel.set_xticks(list(by_size), [f"{size:g}" for size in by_size])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.legend()
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def _curve(panel: Axes, scores: Mapping[float, Score], arm: str, label: str) -> None:
    """Values with their intervals, the arms side by side."""
    if not scores:
        return
    at = [size * 1.02 ** (list(COLOURS).index(arm) - 1.5) for size in scores]
    values = [100 * score.value for score in scores.values()]
    ends = [[100 * (s.value - s.low) for s in scores.values()], [100 * (s.high - s.value) for s in scores.values()]]
    panel.errorbar(at, values, yerr=ends, color=COLOURS[arm], label=label, marker="o", capsize=3)


def write_report(results: Path) -> str:
    """`tables.md` and `counts.png` in the folder of results; returns the former."""
    text = report(results)
    with written_whole(results / "tables.md") as part:
        part.write_text(text + "\n", encoding="utf-8")
    draw(results, results / "counts.png")
    return text
