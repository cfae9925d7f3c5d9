"""Tables and a picture of the downstream half, from the cells that are done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

from benchmarks.scio.cells import ARMS
from benchmarks.scio.data import is_true
from benchmarks.scio.downstream.texts import PARTS, caption, read_caption
from benchmarks.scio.report import TITLES
from fusargpt.metrics.captions import describe_tallies
from fusargpt.metrics.tally import Score, Tally, difference

SCORES = {"bleu4": "BLEU-4", "rouge_l": "ROUGE-L", "facts": "facts"}
PAIRS = (
    ("scio", "none"),
    ("half", "none"),
    ("any", "none"),
    ("half", "any"),
    ("scio", "half"),
    ("clean", "none"),
    ("clean", "scio"),
)
BEFORE = "before stage 1"
COLOURS = {"none": "#9aa7b5", "half": "#d0743c", "any": "#e3b58c", "scio": "#1f5fa8", "clean": "#4f8f5b"}

Result = Mapping[str, Any]
Tallies = Mapping[str, Tally]
Done = dict[str, dict[int, Tallies]]
"""Tallies by arm and seed, of one kind of errors."""


def tallies(answers: Sequence[Mapping[str, Any]]) -> dict[str, Tally]:
    """Scores of what was said of places: of words, and of facts in all and by part (`facts/PART`).

    A fact is right where the part is told and its phrase is true, as the proof counts errors.
    """
    words = describe_tallies([one["said"] for one in answers], [caption(one["true"]) for one in answers])
    told = [(read_caption(one["said"]), one["true"]) for one in answers]
    right = np.array([[is_right(part, said, true) for part in PARTS] for said, true in told], float)
    known = np.array([[part in true for part in PARTS] for _, true in told], float)
    return {
        **{name: words[name] for name in ("bleu4", "rouge_l")},
        "facts": Tally(np.stack([right.sum(1), known.sum(1)], 1)),
        **{f"facts/{part}": Tally(np.stack([right[:, at], known[:, at]], 1)) for at, part in enumerate(PARTS)},
    }


def is_right(part: str, said: Mapping[str, str], true: Mapping[str, str]) -> bool:
    """Whether a part is told, known, and true."""
    return part in said and part in true and is_true(part, said[part], true[part])


def tables(results: Sequence[Result], start: Result) -> str:
    """Markdown: scores by arm, differences over the same places, and facts by part, of each kind of errors.

    `start` is the result of the model that all arms start from.
    """
    parts = ["# What does cleaning captions buy downstream?", "", _sizes(results)]
    before = tallies(start["answers"])
    for kind in _kinds(results):
        done = read_done(results, kind)
        parts += ["", f"## Errors: {kind}", "", *_scores(results, kind, done, before), "", *_differences(done)]
        parts += ["", *_facts(done, before)]
    return "\n".join(parts) + "\n"


def read_done(results: Sequence[Result], kind: str) -> Done:
    """Tallies of one kind of errors; the clean arm is of every kind."""
    done: Done = {}
    for one in _of_kind(results, kind):
        done.setdefault(one["cell"]["arm"], {})[one["cell"]["seed"]] = tallies(one["answers"])
    return {arm: done[arm] for arm in ARMS if arm in done}


def pooled(seeds: Sequence[Tallies], name: str) -> Tally:
    """A score over places, each of which adds what it adds under every seed."""
    first, *others = (one[name] for one in seeds)
    return Tally(sum((one.rows for one in others), first.rows), first.statistic, first.percent)


def draw(results: Sequence[Result], start: Result, path: Path) -> None:
    """BLEU-4 and facts of each arm: bars are all seeds with the 95 % interval over places, points single seeds.

    The dashed line is the model that all start from.
    """
    kinds = _kinds(results)
    before = tallies(start["answers"])
    shown = ("bleu4", "facts")
    figure, axes = pyplot.subplots(
        len(kinds), len(shown), figsize=(4.4 * len(shown), 3.2 * len(kinds)), squeeze=False, layout="constrained"
    )
    for row, kind in zip(axes, kinds, strict=True):
        done = read_done(results, kind)
        for axis, name in zip(row, shown, strict=True):
            for place, (arm, seeds) in enumerate(done.items()):
                score = pooled(list(seeds.values()), name).score()
                interval = [[100 * (score.value - score.low)], [100 * (score.high - score.value)]]
                axis.bar(place, 100 * score.value, yerr=interval, color=COLOURS[arm], capsize=3)
                single = [100 * one[name].value for one in seeds.values()]
                axis.plot([place] * len(single), single, "o", color="#222", markersize=3)
            axis.axhline(100 * before[name].value, color="#222", linewidth=0.8, linestyle="--")
            axis.set_xticks(range(len(done)), [TITLES[arm] for arm in done])
            axis.set_title(f"errors: {kind}", fontsize=10)
            axis.set_ylabel(f"{SCORES[name]} (%)")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _kinds(results: Sequence[Result]) -> list[str]:
    found = [one["cell"]["kind"] for one in results if one["cell"]["arm"] != "clean"]
    return list(dict.fromkeys(found)) or list(dict.fromkeys(one["cell"]["kind"] for one in results))


def _of_kind(results: Sequence[Result], kind: str) -> list[Result]:
    return [one for one in results if one["cell"]["arm"] == "clean" or one["cell"]["kind"] == kind]


def _sizes(results: Sequence[Result]) -> str:
    sizes = results[0]["sizes"]
    return (
        f"Stage 1 from {sizes['backbone']} with {sizes['form_steps']} steps on the form of captions, "
        f"{sizes['steps']} steps of {sizes['batch']}; {sizes['held_out']} held-out places, described in {len(PARTS)} "
        "parts with the prior of each. Percent; mean over seeds (standard deviation). Facts: parts that are told and "
        "true, of all."
    )


def _scores(results: Sequence[Result], kind: str, done: Done, before: Tallies) -> list[str]:
    lines = [
        f"| captions | seeds | rows | parts a row | wrong parts, % | {' | '.join(SCORES.values())} |",
        f"|---|---|---|---|---|{'---|' * len(SCORES)}",
        f"| {BEFORE} | | | | | {' | '.join(f'{100 * before[name].value:.1f}' for name in SCORES)} |",
    ]
    for arm, seeds in done.items():
        counts = [one["captions"] for one in _of_kind(results, kind) if one["cell"]["arm"] == arm]
        rows, parts, wrong = (sum(one[name] for one in counts) for name in ("rows", "parts", "wrong"))
        values = [_mean([100 * one[name].value for one in seeds.values()]) for name in SCORES]
        lines.append(
            f"| {TITLES[arm]} | {len(seeds)} | {rows / len(counts):,.0f} | {parts / rows:.1f} | "
            f"{100 * wrong / parts:.1f} | {' | '.join(values)} |"
        )
    return lines


def _differences(done: Done) -> list[str]:
    """Over the seeds that both arms have."""
    lines = [
        "Differences in points over the same places, all seeds together, with 95 % intervals over places (* : leaves "
        "out 0); in brackets those of single seeds.",
        "",
        f"| | seeds | {' | '.join(SCORES.values())} |",
        f"|---|---|{'---|' * len(SCORES)}",
    ]
    for first, second in PAIRS:
        shared = sorted(set(done.get(first, ())) & set(done.get(second, ())))
        if shared:
            values = [
                _difference([done[first][seed] for seed in shared], [done[second][seed] for seed in shared], name)
                for name in SCORES
            ]
            lines.append(f"| {TITLES[first]} minus {TITLES[second]} | {len(shared)} | {' | '.join(values)} |")
    return lines


def _difference(first: Sequence[Tallies], second: Sequence[Tallies], name: str) -> str:
    score: Score = difference(pooled(first, name), pooled(second, name))
    apart = " *" if score.low > 0 or score.high < 0 else ""
    single = ", ".join(
        f"{100 * (one[name].value - other[name].value):+.1f}" for one, other in zip(first, second, strict=True)
    )
    return f"{100 * score.value:+.1f} [{100 * score.low:+.1f}, {100 * score.high:+.1f}]{apart} ({single})"


def _facts(done: Done, before: Tallies) -> list[str]:
    lines = [f"| facts, % | {BEFORE} | {' | '.join(TITLES[arm] for arm in done)} |", f"|---|---|{'---|' * len(done)}"]
    for part in PARTS:
        values = [str(pooled(list(seeds.values()), f"facts/{part}").score()) for seeds in done.values()]
        lines.append(f"| {part} | {100 * before[f'facts/{part}'].value:.1f} | {' | '.join(values)} |")
    return lines


def _mean(values: Sequence[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"
