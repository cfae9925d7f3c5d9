"""The tables, the verdict and the picture, from the results of the cells that are done."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Patch

from benchmarks.over_seeds import over_seeds
from benchmarks.real_prior import MARGIN, REGIONS_NEEDED
from benchmarks.real_prior.cells import ARMS, REFERENCE, VARIANTS
from benchmarks.real_prior.readout import READOUT
from benchmarks.real_prior.reference import reference
from benchmarks.real_prior.regions import BLOCKS, Split
from benchmarks.real_prior.run import RESULT, Effort
from benchmarks.real_prior.scenes import DESCRIBE, SIDES, TASKS, test_scenes
from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.metrics.tally import Score, Tally, difference

CLOSED_FORM = "closed_form.json"
COLOURS = {"true": "#1f5fa8", "none": "#9aa7b5", "shuffled": "#d0743c", "blind": "#5a8f5a"}

Answers = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Place:
    """What is known of one held-out place.

    Attributes:
        strips: of each scene, the strip of places that it is from.
        closed_form: answers of the linear discriminant.
        runs: answers by variant and seed.
        readout: likewise, of the fused tokens read linearly.
        seconds: of processor and of clock, of each cell.
        efforts: of each cell, in words.
    """

    strips: list[int]
    closed_form: Answers
    runs: dict[str, dict[int, Answers]]
    readout: dict[str, dict[int, Answers]]
    seconds: list[tuple[int, int]]
    efforts: list[str]


def write_reference(results: Path, place: str, split: Split, effort: Effort) -> None:
    """Keep the closed form's answers about a place, and which scenes share places; nothing to do when they are there.

    Raises:
        InputError: answers of another effort.
    """
    path = results / place / CLOSED_FORM
    wanted = {"training": effort.training, "scenes": effort.scenes}
    if path.exists():
        if (found := json.loads(path.read_text(encoding="utf-8"))["effort"]) != wanted:
            raise InputError(f"{path}: found {found}, expected {wanted}; remove it, or choose another --results")
        return
    strips = [ground.strip for ground in test_scenes(split.test, effort.scenes)]
    answers = reference(split, effort.training, effort.scenes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        text = json.dumps({"effort": wanted, "strips": strips, "answers": answers}, separators=(",", ":"))
        part.write_text(text + "\n", encoding="utf-8")


def read_results(results: Path) -> dict[str, Place]:
    """What is done, by held-out place."""
    places: dict[str, Place] = {}
    for path in sorted(results.glob(f"*/{CLOSED_FORM}")):
        found = json.loads(path.read_text(encoding="utf-8"))
        runs: dict[str, dict[int, Answers]] = {}
        seconds: list[tuple[int, int]] = []
        efforts: list[str] = []
        for of_cell in sorted(path.parent.glob(f"*/{RESULT}")):
            result: dict[str, Any] = json.loads(of_cell.read_text(encoding="utf-8"))
            cell = result["cell"]
            runs.setdefault(cell["variant"], {})[cell["seed"]] = result["answers"]
            seconds.append((result["processor_seconds"], result["seconds"]))
            efforts.append(
                "{training} scenes a stage, {steps} steps, {scenes} held-out scenes".format(**result["effort"])
            )
        ordered = {variant: runs[variant] for variant in VARIANTS if variant in runs}
        places[path.parent.name] = Place(
            found["strips"], found["answers"], ordered, _read_readout(path.parent), seconds, efforts
        )
    return dict(sorted(places.items(), key=lambda item: item[0] == BLOCKS))


def _read_readout(folder: Path) -> dict[str, dict[int, Answers]]:
    path = folder / READOUT
    found: dict[str, dict[str, Answers]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        variant: {int(seed): answers for seed, answers in found[variant].items()}
        for variant in VARIANTS
        if variant in found
    }


def tally(place: Place, answers: Sequence[Answers], task: str, arm: str, side: int | None = None) -> Tally:
    """Exact answers over strips of places, each of which adds its scenes under every seed."""
    sums = np.zeros((max(place.strips) + 1, 2))
    for of_seed in answers:
        for index, (said, true) in enumerate(zip(of_seed[task][arm], of_seed[task]["reference"], strict=True)):
            if side is None or side == SIDES[index % len(SIDES)]:
                sums[place.strips[index]] += (said == true, 1)
    return Tally(sums)


@dataclass(frozen=True)
class Gain:
    """A difference of shares of exact answers: with the interval over places, and over seeds where there are two."""

    over_places: Score
    over_seeds: tuple[float, float] | None

    def __str__(self) -> str:
        seeds = "-" if self.over_seeds is None else "[{:.1f}, {:.1f}]".format(*(100 * end for end in self.over_seeds))
        return f"{100 * self.over_places.value:+.1f} [{_ends(self.over_places)}] {seeds}"

    @property
    def above(self) -> bool | None:
        """Whether both intervals lie above 0; None where there is no interval over seeds."""
        return None if self.over_seeds is None else min(self.over_places.low, self.over_seeds[0]) > 0


def _ends(score: Score) -> str:
    return f"{100 * score.low:.1f}, {100 * score.high:.1f}"


def gain(place: Place, variant: str, arm: str, task: str = "count") -> Gain | None:
    """`true` of the reference variant minus `arm` of another, over the seeds that both have; None without any."""
    first, second = place.runs.get(REFERENCE, {}), place.runs.get(variant, {})
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    pairs = [
        (tally(place, [first[seed]], task, "true").value, tally(place, [second[seed]], task, arm).value)
        for seed in shared
    ]
    over_places = difference(
        tally(place, [first[seed] for seed in shared], task, "true"),
        tally(place, [second[seed] for seed in shared], task, arm),
    )
    return Gain(over_places, over_seeds([true - other for true, other in pairs]))


def verdict(places: Mapping[str, Place]) -> str:
    """Whether the criterion of `benchmarks.real_prior` is met, region by region."""
    lines, met, open_regions = [], 0, 0
    for name, place in places.items():
        if name == BLOCKS:
            continue
        against_none, against_blind = gain(place, "none", "none"), gain(place, "blind", "blind")
        if against_none is None or against_blind is None or against_none.above is None:
            open_regions += 1
            lines.append(f"- {name}: not decided; it takes two seeds of `tlm`, `none` and `blind` at least.")
            continue
        found = against_none.over_places.value >= MARGIN and against_none.above and against_blind.over_places.value > 0
        met += found
        lines.append(f"- {name}: {'met' if found else 'not met'}.")
    if met >= REGIONS_NEEDED:
        said = "The criterion is met"
    else:
        said = "The criterion is not met" if met + open_regions < REGIONS_NEEDED else "The criterion is not decided"
    return f"{said}: it holds in {met} regions, and asks for {REGIONS_NEEDED}.\n\n" + "\n".join(lines)


def report(results: Path) -> str:
    """Markdown: the verdict, scores of every variant, what the prior is worth, and the closed form."""
    places = read_results(results)
    read = {name: replace(place, runs=place.readout) for name, place in places.items()}
    closed = _table(
        ["held out", "arm", *(f"count, {side} x {side}" for side in SIDES), *TASKS],
        [
            [name, arm, *_sides(place, [place.closed_form], arm)]
            + [_score(place, [place.closed_form], task, arm) for task in TASKS]
            for name, place in places.items()
            for arm in ARMS
        ]
        + [
            [name, "always the commonest answer", *_commonest(place), *[""] * (len(TASKS) - 1)]
            for name, place in places.items()
        ],
    )
    cells = sum(len(seeds) for place in places.values() for seeds in place.runs.values())
    efforts = sorted({effort for place in places.values() for effort in place.efforts})
    times = [pair for place in places.values() for pair in place.seconds]
    took = (
        f" A cell took {np.median([own for own, _ in times]):.0f} s of processor time and "
        f"{np.median([clock for _, clock in times]):.0f} s on the clock (medians)."
        if times
        else ""
    )
    return "\n\n".join(
        (
            f"{cells} cells are done ({'; '.join(efforts) or 'none'}).{took}",
            verdict(places),
            "Exact answers, percent, 95 % interval over places, seeds pooled; `describe` has every cell's class:",
            _scores(places, [*TASKS, DESCRIBE]),
            "Differences in points, first interval over places, second over seeds:",
            _gains(places),
            "The fused tokens, read by a linear layer in place of the language model:",
            _scores(read, TASKS),
            _gains(read),
            "The closed form:",
            closed,
        )
    )


def _scores(places: Mapping[str, Place], tasks: Sequence[str]) -> str:
    return _table(
        ["held out", "variant", "seeds", "arm asked", *(f"count, {side} x {side}" for side in SIDES), *tasks],
        [
            [name, variant, str(len(seeds)), arm, *_sides(place, list(seeds.values()), arm)]
            + [_score(place, list(seeds.values()), task, arm) for task in tasks]
            for name, place in places.items()
            for variant, seeds in place.runs.items()
            for arm in ARMS
            if arm in next(iter(seeds.values()))["count"]
        ],
    )


def _gains(places: Mapping[str, Place]) -> str:
    compared = [("none", "none"), ("blind", "blind"), ("shuffled", "shuffled")]
    compared += [(name, "true") for name in ("sum", "concat", "one-stage")]
    return _table(
        ["held out", "`tlm` true minus", "count", "localize"],
        [
            [name, f"`{variant}`", str(found), str(gain(place, variant, arm, "localize"))]
            for name, place in places.items()
            for variant, arm in compared
            if (found := gain(place, variant, arm)) is not None
        ],
    )


def _score(place: Place, answers: Sequence[Answers], task: str, arm: str, side: int | None = None) -> str:
    if task not in answers[0] or arm not in answers[0][task]:
        return ""
    return str(tally(place, answers, task, arm, side).score())


def _sides(place: Place, answers: Sequence[Answers], arm: str) -> list[str]:
    return [f"{100 * tally(place, answers, 'count', arm, side).value:.1f}" for side in SIDES]


def _commonest(place: Place) -> list[str]:
    counts = place.closed_form["count"]["reference"]
    parts = [counts[index :: len(SIDES)] for index in range(len(SIDES))]
    right = [Counter(part).most_common(1)[0][1] for part in parts]
    return [*(f"{100 * own / len(part):.1f}" for own, part in zip(right, parts, strict=True)), ""]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def draw(results: Path, out: Path) -> None:
    """One panel a held-out place: exact counts of every variant, of tokens read linearly, and of the closed form."""
    places = read_results(results)
    figure, panels = pyplot.subplots(
        1, len(places), figsize=(2.6 * len(places), 5), layout="constrained", squeeze=False, sharey=True
    )
    kinds: dict[str, dict[str, dict[int, Answers]]] = {"closed form": {}}
    for name, place in places.items():
        kinds["closed form"][name] = {0: place.closed_form}
        for prefix, runs in (("tokens, ", place.readout), ("", place.runs)):
            for variant, seeds in runs.items():
                kinds.setdefault(f"{prefix}{variant}", {})[name] = seeds
    figure.set_figheight(1.5 + 0.8 * len(kinds))
    for panel, (name, place) in zip(panels[0], places.items(), strict=True):
        for row, kind in enumerate(kinds):
            answers = list(kinds[kind].get(name, {}).values())
            for index, arm in enumerate(ARMS):
                if not answers or arm not in answers[0]["count"]:
                    continue
                score = tally(place, answers, "count", arm).score()
                height = row + 0.19 * (index - 1.5)
                interval = [[score.value - score.low], [score.high - score.value]]
                panel.barh(height, score.value, 0.17, xerr=interval, color=COLOURS[arm], ecolor="#333")
                single = [tally(place, [one], "count", arm).value for one in answers]
                panel.plot(single, [height] * len(single), linestyle="", marker="o", markersize=3, color="black")
        panel.set(title=f"held out: {name}", xlim=(0, 1), ylim=(len(kinds) - 0.5, -0.5), xlabel="exact counts")
        panel.set_yticks(range(len(kinds)), kinds)
        panel.grid(axis="x", alpha=0.3)
    handles = [Patch(color=COLOURS[arm]) for arm in ARMS]
    figure.legend(handles, [f"asked {arm}" for arm in ARMS], loc="outside lower center", ncols=len(ARMS))
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def write_report(results: Path) -> str:
    """`tables.md` and `counts.png` in the folder of results; returns the former."""
    text = report(results)
    (results / "tables.md").write_text(text + "\n", encoding="utf-8")
    draw(results, results / "counts.png")
    return text
