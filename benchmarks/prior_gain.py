"""What a prior adds, told apart into what it says without looking and what needs the image too.

    fusargpt evaluate MODEL simulator --prior true,none,blind --tasks describe,count,localize,classify --out DIR
    python -m benchmarks.prior_gain DIR/results.json

A gain is the share of statements right with the true prior minus that without one. Each statement belongs to one of two
groups: the model says it with a blank image too (the prior says it), or not (it needs both). The gains over the two
groups add up to the whole. Statements are the answers of counts, cells and classes, and of a description each its own:
which ground covers most, each further ground, the same with its place, and the sentence about targets.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.tally import Score, Tally

ARMS = ("true", "none", "blind")
_GROUND = "|".join(sorted(LANDCOVER_CLASSES, key=len, reverse=True))
_MOST = re.compile(rf"Mostly ({_GROUND})")
_FURTHER = re.compile(rf"({_GROUND}) in the ((?:upper|middle|lower) (?:left|centre|right)|centre)")

Statements = Callable[[str], set[str]]


def _last_sentence(text: str) -> set[str]:
    return {text.rstrip(". ").rpartition(". ")[2]}


DESCRIBED: dict[str, Statements] = {
    "ground of most": lambda text: set(_MOST.findall(text)),
    "further ground": lambda text: {ground for ground, _ in _FURTHER.findall(text)},
    "further ground, with its place": lambda text: {f"{ground}, {place}" for ground, place in _FURTHER.findall(text)},
    "targets": _last_sentence,
}
"""The statements of a description, as the simulator writes them."""
_ANSWERS = {"count": "accuracy", "localize": "exact", "classify": "accuracy"}


def statements(arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[NDArray[np.bool_]]]:
    """By kind, for each image whether each of its true statements is right under each of `ARMS`: bool [s, 3].

    Args:
        arms: predictions of `results.json` by arm, about the same questions in one order.
    """
    kinds: dict[str, list[NDArray[np.bool_]]] = {}
    for of_arm in zip(*(arms[name] for name in ARMS), strict=True):
        if len({one["id"] for one in of_arm}) != 1:
            raise ValueError(f"predictions of one question; found {', '.join(one['id'] for one in of_arm)}")
        task, reference = of_arm[0]["task"], of_arm[0]["reference"]
        if task in _ANSWERS:
            right = [[one["parts"][_ANSWERS[task]] == 1 for one in of_arm]]
            kinds.setdefault(task, []).append(np.array(right, bool))
        elif task == "describe":
            for kind, of in DESCRIBED.items():
                said = [of(one["answer"]) for one in of_arm]
                right = [[statement in found for found in said] for statement in sorted(of(reference))]
                kinds.setdefault(kind, []).append(np.array(right, bool).reshape(-1, len(ARMS)))
    return kinds


def told_apart(right: Sequence[NDArray[np.bool_]]) -> dict[str, Score]:
    """The share of statements that are right under each of `ARMS`, the gain, and its two parts, over images."""
    values = [one.astype(np.float64) for one in right]
    columns = {f"prior {name}": [one[:, index] for one in values] for index, name in enumerate(ARMS)}
    columns["true minus none"] = [one[:, 0] - one[:, 1] for one in values]
    columns["of it the prior says"] = [(one[:, 0] - one[:, 1]) * one[:, 2] for one in values]
    columns["of it needs both"] = [(one[:, 0] - one[:, 1]) * (1 - one[:, 2]) for one in values]
    return {
        name: Tally(np.array([(float(one.sum()), len(one)) for one in column])).score()
        for name, column in columns.items()
    }


def table(kinds: Mapping[str, Sequence[NDArray[np.bool_]]]) -> str:
    """Markdown, percent and points with 95 % intervals over images."""
    rows = {name: (sum(map(len, right)), told_apart(right)) for name, right in kinds.items()}
    header = ["statement", "n", *next(iter(rows.values()))[1]]
    lines = [[name, str(count), *map(str, scores.values())] for name, (count, scores) in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.json of an evaluation with the priors true, none, blind")
    parser.add_argument("--model", help="as the table of the evaluation calls it (default: its first)")
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    model = options.model or results["entries"][0]["label"].rpartition(", prior ")[0]
    predictions = results["predictions"]
    missing = [name for name in ARMS if f"{model}, prior {name}" not in predictions]
    if missing:
        parser.error(f"{options.results}: no answers of {model} with prior {', '.join(missing)}; add it to --prior")
    print(table(statements({name: predictions[f"{model}, prior {name}"] for name in ARMS})))


if __name__ == "__main__":
    main()
