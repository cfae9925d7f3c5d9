"""Tables and a picture of the proof, from the cells that are done."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot

from benchmarks.over_seeds import over_seeds
from benchmarks.scio.cells import ARMS
from fusargpt.tasks.facts import DIMENSIONS

SCORES = {
    "retrieval-landforms recall": "landforms: mean recall",
    "retrieval-landforms text_to_image_r@1": "text to image R@1",
    "retrieval-landforms text_to_image_r@10": "R@10",
    "retrieval-landforms image_to_text_r@1": "image to text R@1",
    "retrieval-landforms image_to_text_r@10": "R@10",
    "retrieval-targets recall": "targets: mean recall",
    "probe-cover accuracy": "probe of the cover",
    "probe-count accuracy": "probe of counts",
}
DRAWN = "retrieval-landforms recall"
TITLES = {
    "none": "as they are",
    "capfilt": "CapFilt, 0.5",
    "half": "better half",
    "any": "any half",
    "scio": "SCIO",
    "clean": "clean captions",
}

Result = Mapping[str, Any]


def tables(results: Sequence[Result]) -> str:
    """Markdown: scores by arm, and flags by dimension, of each kind of errors."""
    parts = ["# Does SCIO help?", "", _sizes(results)]
    for kind in _kinds(results):
        of_kind = [one for one in results if one["cell"]["arm"] == "clean" or one["cell"]["kind"] == kind]
        parts += ["", f"## Errors: {kind}", "", *_scores(of_kind)]
        flags = [one["flags"] for one in of_kind if "flags" in one]
        if flags:
            parts += ["", *_flags(flags)]
    return "\n".join(parts) + "\n"


def draw(results: Sequence[Result], path: Path) -> None:
    """The mean recall of texts about landforms, of each arm: bars are means over seeds, points single seeds."""
    kinds = _kinds(results)
    figure, axes = pyplot.subplots(1, max(1, len(kinds)), figsize=(5.5 * max(1, len(kinds)), 3.5), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=False):
        found = {arm: values for arm in ARMS if (values := _values(results, kind, arm, DRAWN))}
        for place, values in enumerate(found.values()):
            axis.bar(place, np.mean(values), color="#9db8d9")
            axis.plot([place] * len(values), values, "o", color="#1f3f66", markersize=4)
        axis.set_xticks(range(len(found)), [TITLES[arm] for arm in found])
        axis.set_title(f"errors: {kind}")
        axis.set_ylabel("mean recall (%)")
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _kinds(results: Iterable[Result]) -> list[str]:
    found = [one["cell"]["kind"] for one in results if one["cell"]["arm"] != "clean"]
    return list(dict.fromkeys(found)) or list(dict.fromkeys(one["cell"]["kind"] for one in results))


def _values(results: Iterable[Result], kind: str, arm: str, score: str) -> list[float]:
    return [
        one["scores"][score]
        for one in results
        if "scores" in one and one["cell"]["arm"] == arm and (arm == "clean" or one["cell"]["kind"] == kind)
    ]


def _sizes(results: Sequence[Result]) -> str:
    sizes = results[0]["sizes"]
    return (
        f"{sizes['rows']} captions, {sizes['steps']} steps of {sizes['batch']} with the eyes of {sizes['start']}, "
        f"judges {sizes['judge_steps']} steps, {sizes['rounds']} rounds; retrieval among {sizes['held_out']} held-out "
        "places by the shared space, texts of the foundation suite, all true partners hits, percent; a mean recall is "
        "that of R@1, R@5 and R@10 both ways; mean over seeds (standard deviation), differences with 95 % intervals "
        "over seeds."
    )


def _scores(results: Sequence[Result]) -> list[str]:
    lines = [f"| trained on | seeds | {' | '.join(SCORES.values())} |", f"|---|---|{'---|' * len(SCORES)}"]
    by_arm = {arm: {one["cell"]["seed"]: one for one in results if one["cell"]["arm"] == arm} for arm in ARMS}
    trained = {
        arm: {seed: one["scores"] for seed, one in found.items() if "scores" in one} for arm, found in by_arm.items()
    }
    for arm, found in trained.items():
        if found:
            cells = [_mean([one[score] for one in found.values()]) for score in SCORES]
            lines.append(f"| {TITLES[arm]} | {len(found)} | {' | '.join(cells)} |")
    for arm, found in trained.items():
        both = sorted(found.keys() & trained["scio"].keys())
        if arm != "scio" and both:
            cells = [
                _difference([trained["scio"][seed][score] - found[seed][score] for seed in both]) for score in SCORES
            ]
            lines.append(f"| SCIO minus {TITLES[arm]} | {len(both)} | {' | '.join(cells)} |")
    for arm, found in by_arm.items():
        kept = [f"{one['kept']:,}" for one in found.values() if "kept" in one]
        if kept:
            few = "" if trained[arm] else ": fewer than a batch, from which nothing is learned"
            lines += ["", f"{TITLES[arm]} kept {', '.join(kept)} of {int(results[0]['sizes']['rows']):,} rows{few}."]
    return lines


def _flags(flags: Sequence[Mapping[str, Mapping[str, int]]]) -> list[str]:
    lines = [
        "| dimension | parts | wrong, % | flagged, % | precision, % | recall, % | said anew | of them right, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (*DIMENSIONS, "all"):
        counts = {key: sum(one[name][key] for one in flags) for key in flags[0][name]}
        if counts["parts"]:
            lines.append(
                f"| {name} | {counts['parts']:,} | {_percent(counts, 'wrong', 'parts')} | "
                f"{_percent(counts, 'flagged', 'parts')} | {_percent(counts, 'flagged_wrong', 'flagged')} | "
                f"{_percent(counts, 'flagged_wrong', 'wrong')} | {counts['reconstructed']:,} | "
                f"{_percent(counts, 'reconstructed_right', 'reconstructed')} |"
            )
    return lines


def _percent(counts: Mapping[str, int], part: str, whole: str) -> str:
    return f"{100 * counts[part] / counts[whole]:.0f}" if counts[whole] else "-"


def _mean(values: Sequence[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def _difference(values: Sequence[float]) -> str:
    """Mean, and its 95 % interval over seeds by Student's t."""
    text = f"{np.mean(values):+.1f}"
    interval = over_seeds(values)
    return text if interval is None else f"{text} [{interval[0]:+.1f}, {interval[1]:+.1f}]"
