"""What a CPU's choice of types costs in scores: fusargpt-nano asks the same held-out questions in each.

    python -m benchmarks.cpu_type_scores

Types are those of `benchmarks.cpu_types`, of all layers that `fusargpt evaluate --dtype --quantization` changes. Told
are each task's score, its paired difference from float32 with a 95 % interval over images, and how many answers are the
same letter by letter. Nano is small, and its layers narrow: the 7B has more to spare.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu_types import KINDS
from fusargpt.checkpoints import NANO
from fusargpt.cli.main import main as fusargpt
from fusargpt.errors import InputError
from fusargpt.files import write_text_whole
from fusargpt.metrics.tally import Tally, difference

RESULT = Path(__file__).parent / "results" / "cpu_type_scores.json"
SCORES = {"describe": "rouge_l", "count": "accuracy", "localize": "exact", "classify": "accuracy", "detect": "f1@0.50"}
"""Of each task the one that is told, of single images."""
REFERENCE = "float32"

Predictions = list[dict[str, Any]]


def answers(kind: str, limit: int, build: Path) -> tuple[Predictions, float]:
    """Every answer of nano in a kind of `KINDS`, and the processor time of the evaluation, loading and all.

    Raises:
        InputError: some questions were not answered.
    """
    dtype, quantization = KINDS[kind]
    out = build / kind.replace(" ", "-")
    asked = ["evaluate", str(NANO), "simulator", "--limit", str(limit), "--prior", "true", "--out", str(out)]
    start = time.process_time()
    if fusargpt([*asked, "--dtype", str(dtype).removeprefix("torch."), "--quantization", quantization]):
        raise InputError(f"{out}: some questions have no answer; see its report")
    seconds = time.process_time() - start
    (found,) = json.loads((out / "results.json").read_text())["predictions"].values()
    return found, seconds


def compared(found: Predictions, reference: Predictions) -> dict[str, Any]:
    """By task: score, difference from the reference with its interval, and the share of answers that are the same."""
    told: dict[str, Any] = {}
    for task, score in SCORES.items():
        pairs = [(one, two) for one, two in zip(found, reference, strict=True) if one["task"] == task]
        assert all(one["id"] == two["id"] for one, two in pairs)
        ours, theirs = (
            Tally(np.array([[answer["parts"][score], 1.0] for answer in side if answer["parts"][score] is not None]))
            for side in zip(*pairs, strict=True)
        )
        apart = difference(ours, theirs)
        told[task] = {
            score: round(100 * ours.value, 1),
            "difference": [round(100 * value, 1) for value in (apart.value, apart.low, apart.high)],
            "same": round(100 * float(np.mean([one["answer"] == two["answer"] for one, two in pairs])), 1),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="questions of each of the five tasks")
    parser.add_argument("--build", type=Path, default=Path("build/cpu_type_scores"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result: dict[str, Any] = {"questions": options.limit * len(SCORES)}
    reference, seconds = answers(REFERENCE, options.limit, options.build)
    for kind in KINDS:
        found, taken = (reference, seconds) if kind == REFERENCE else answers(kind, options.limit, options.build)
        result[kind] = {**compared(found, reference), "processor_time": round(taken / seconds, 2)}
        print(kind, json.dumps(result[kind]), flush=True)
    write_text_whole(options.out, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
