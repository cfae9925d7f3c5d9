"""The tables and the picture of the ablation, from the results of its cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.ablation.cells import CELLS, VARIANTS
from benchmarks.ablation.run import PRIORS, read, result_path
from fusargpt.metrics.scores import TALLIES
from fusargpt.metrics.tally import Tally, difference

# One metric a task, which the others follow; all of them are in the results' answers.
METRICS = {
    "describe": "bleu4",
    "count": "accuracy",
    "localize": "exact",
    "classify": "accuracy",
    "detect": "f1@0.25",
}
REFERENCE = "tlm"
COUNT_OUTCOMES = ("right", "none seen where some are", "some seen where none are", "another number")
COLOURS = ("#1f5fa8", "#9aa7b5", "#d0743c", "#4f8f5b")

Answers = Mapping[str, Mapping[str, Sequence[str]]]


def read_results(results: Path) -> dict[str, dict[int, Answers]]:
    """Answers by variant and seed, of the cells that are done."""
    done: dict[str, dict[int, Answers]] = {}
    for cell in CELLS.values():
        path = result_path(results, cell)
        if path.exists():
            done.setdefault(cell.variant, {})[cell.seed] = read(path)["answers"]
    return done


def pooled(seeds: Sequence[Answers], task: str, prior: str) -> Tally:
    """The task's metric over images, each of which adds what it adds under every seed."""
    tallies = [TALLIES[task](answers[task][prior], answers[task]["reference"])[METRICS[task]] for answers in seeds]
    rows = sum(tally.rows for tally in tallies[1:]) + tallies[0].rows
    return Tally(rows, tallies[0].statistic, tallies[0].percent)


def report(results: Path) -> str:
    """Markdown: scores of every variant, differences to the reference over shared seeds, and the scores of each seed.

    Intervals are of images drawn again, not of seeds: these are shown one by one.
    """
    done = read_results(results)
    header = [f"{task} {metric}" for task, metric in METRICS.items()]
    scores = _table(
        ["variant", "seeds", "prior at test", *header],
        [
            [
                variant,
                str(len(seeds)),
                prior,
                *(str(pooled(list(seeds.values()), task, prior).score()) for task in METRICS),
            ]
            for variant, seeds in done.items()
            for prior in shown(variant, seeds)
        ],
    )
    arms = _table(
        ["variant", "seeds", "prior true minus", *header],
        [
            [variant, str(len(seeds)), prior, *(_arms(list(seeds.values()), task, prior) for task in METRICS)]
            for variant, seeds in done.items()
            for prior in shown(variant, seeds)
            if variant != "none" and prior != "true"
        ],
    )
    differences = _table(
        [f"{REFERENCE} minus", "seeds", *header],
        [
            [variant, " ".join(map(str, shared)), *(_difference(done, variant, shared, task) for task in METRICS)]
            for variant, seeds in done.items()
            if variant != REFERENCE and (shared := sorted(set(seeds) & set(done.get(REFERENCE, ()))))
        ],
    )
    single = _table(
        ["variant", "seed", *header],
        [
            [variant, str(seed), *(f"{100 * pooled([answers], task, 'true').score().value:.1f}" for task in METRICS)]
            for variant, seeds in done.items()
            for seed, answers in seeds.items()
        ],
    )
    errors = _table(
        ["variant", "questions", *COUNT_OUTCOMES],
        [[variant, *map(str, _count_outcomes(list(seeds.values())))] for variant, seeds in done.items()],
    )
    return "\n\n".join(
        (
            f"{sum(map(len, done.values()))} of {len(CELLS)} cells are done.",
            "Scores, percent:",
            scores,
            "What each prior at test costs, over the same images, points:",
            arms,
            "Differences under the prior that each was trained with, points:",
            differences,
            "Each seed, prior true (none for `none`), percent:",
            single,
            "Counts under that prior. Only whether there are any could be known from the prior, not how many:",
            errors,
        )
    )


def _count_outcomes(seeds: Sequence[Answers]) -> list[int]:
    """Questions of all seeds, and how many of them had each outcome of `COUNT_OUTCOMES`."""
    pairs = [
        (reference, answer)
        for answers in seeds
        for reference, answer in zip(answers["count"]["reference"], answers["count"]["true"], strict=True)
    ]
    wrong = [(reference, answer) for reference, answer in pairs if reference != answer]
    missed = sum(answer == "0" for _, answer in wrong)
    invented = sum(reference == "0" for reference, _ in wrong)
    return [len(pairs), len(pairs) - len(wrong), missed, invented, len(wrong) - missed - invented]


def shown(variant: str, seeds: Mapping[int, Answers]) -> list[str]:
    """The priors at test that all cells of a variant were asked with; `none`, trained without one, has none.

    Cells whose answers are older than an arm do not have it.
    """
    if variant == "none":
        return ["none"]
    return [prior for prior in PRIORS if all(prior in answers[task] for answers in seeds.values() for task in METRICS)]


def _arms(seeds: Sequence[Answers], task: str, prior: str) -> str:
    return str(difference(pooled(seeds, task, "true"), pooled(seeds, task, prior)))


def _difference(done: Mapping[str, Mapping[int, Answers]], variant: str, seeds: Sequence[int], task: str) -> str:
    first, second = (pooled([done[name][seed] for seed in seeds], task, "true") for name in (REFERENCE, variant))
    return str(difference(first, second))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def draw(results: Path, out: Path) -> None:
    """Differences in points with their intervals, and each seed's as a dot, one column a task.

    Above, what each variant's own prior is worth: true minus none, true minus shuffled and so on. Below, each variant
    minus the reference, over the seeds that both have, each under the prior that it was trained with.
    """
    done = read_results(results)
    variants = [variant for variant in VARIANTS if variant in done]
    with_prior = [variant for variant in variants if variant != "none"]
    others = [variant for variant in variants if variant != REFERENCE]
    arms = [
        prior for prior in PRIORS if prior != "true" and any(prior in shown(name, done[name]) for name in with_prior)
    ]
    with pyplot.rc_context({"font.size": 8, "axes.titlesize": 9}):
        heights = (0.3 * len(with_prior) + 0.3, 0.22 * max(len(others), 1) + 0.3)
        figure, grid = pyplot.subplots(
            2,
            len(METRICS),
            figsize=(7.6, sum(heights) + 1.3),
            height_ratios=heights,
            sharex="row",
            sharey="row",
            layout="constrained",
        )
        for (upper, lower), (task, metric) in zip(grid.T, METRICS.items(), strict=True):
            for row, variant in enumerate(with_prior):
                answers = list(done[variant].values())
                for index, prior in enumerate(arms):
                    if prior in shown(variant, done[variant]):
                        pairs = [(one, "true", one, prior) for one in answers]
                        height = row + 0.24 * (index - (len(arms) - 1) / 2)
                        _dot(upper, height, pairs, task, COLOURS[PRIORS.index(prior)])
            for row, variant in enumerate(others):
                shared = sorted(set(done[variant]) & set(done.get(REFERENCE, ())))
                pairs = [(done[variant][seed], "true", done[REFERENCE][seed], "true") for seed in shared]
                if pairs:
                    _dot(lower, row, pairs, task, COLOURS[0])
            upper.set_title(f"{task}\n{metric}")
            for panel, names in ((upper, with_prior), (lower, others)):
                panel.axvline(0, color="#333", linewidth=0.8)
                panel.grid(axis="x", alpha=0.3)
                panel.set_yticks(range(len(names)), names)
                panel.set_ylim(len(names) - 0.5, -0.5)
        handles = [Patch(color=COLOURS[PRIORS.index(prior)]) for prior in arms]
        labels = [f"prior true minus {prior}, points" for prior in arms]
        handles.append(Patch(color=COLOURS[0]))
        labels.append(f"variant minus {REFERENCE}, points")
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
        figure.savefig(out, dpi=110)
        pyplot.close(figure)


def _dot(
    panel: Axes, height: float, pairs: Sequence[tuple[Answers, str, Answers, str]], task: str, colour: str
) -> None:
    """The difference of the first to the second answers of all seeds, and of each one, in points."""
    score = difference(
        pooled([first for first, _, _, _ in pairs], task, pairs[0][1]),
        pooled([second for _, _, second, _ in pairs], task, pairs[0][3]),
    )
    interval = [[100 * (score.value - score.low)], [100 * (score.high - score.value)]]
    panel.errorbar(100 * score.value, height, xerr=interval, fmt="o", markersize=4, color=colour, elinewidth=1.6)
    if len(pairs) > 1:
        single = [
            100 * (pooled([one], task, prior).value - pooled([other], task, its).value)
            for one, prior, other, its in pairs
        ]
        panel.plot(single, [height] * len(single), linestyle="", marker="|", markersize=5, color="black", alpha=0.6)
