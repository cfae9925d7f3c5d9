"""The suite's findings as `results.json`, and as entries of a model card's `model-index`."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import yaml

from fusargpt.evaluation.results import plain_scores
from fusargpt.files import output_file
from fusargpt.foundation.entries import Entry
from fusargpt.foundation.suite import Findings
from fusargpt.foundation.tasks import OF_REAL_IMAGES

RESULTS, MODEL_INDEX = "results.json", "model_index.yaml"
REMEDY = "the features are kept; make room, and the same command computes nothing again"
"""How the line about a file that cannot be written ends."""


def write_results(findings: Findings, folder: Path) -> Path:
    """Write `results.json`: settings, versions, what each task does, scores, differences and failures.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / RESULTS
    with output_file(path, REMEDY) as partial:
        partial.write_text(json.dumps(as_json(findings), indent=1, allow_nan=False), encoding="utf-8")
    return path


def as_json(findings: Findings) -> dict[str, object]:
    """All of the findings as plain JSON; what is not defined is null."""
    return {
        "settings": {**findings.settings, "device": findings.device},
        "versions": findings.versions,
        "entries": [{**asdict(entry), "resize": findings.resizes[entry.label]} for entry in findings.entries],
        "tasks": {task.name: {"how": task.how, "headline": task.headline} for task in findings.tasks},
        "scores": plain_scores(findings.scores),
        "differences": plain_scores(findings.differences),
        "failures": [asdict(failure) for failure in findings.failures],
    }


def write_model_index(findings: Findings, folder: Path) -> Path:
    """Write `model_index.yaml`: the headline of each task for the model that was examined, each arm by itself, as the
    header of a model card takes it.

    Raises:
        InputError: the file cannot be written.
    """
    path = folder / MODEL_INDEX
    with output_file(path, REMEDY) as partial:
        partial.write_text(yaml.safe_dump(model_index(findings), sort_keys=False, width=100), encoding="utf-8")
    return path


def model_index(findings: Findings) -> dict[str, object]:
    """The same as plain data."""
    examined = findings.entries[0]
    arms = [entry for entry in findings.entries if (entry.model, entry.kind) == (examined.model, examined.kind)]
    results = [result for entry in arms for result in _results(findings, entry)]
    return {"model-index": [{"name": Path(examined.model).name, "results": results}]}


def _results(findings: Findings, entry: Entry) -> list[Mapping[str, object]]:
    listed: list[Mapping[str, object]] = []
    for task in findings.tasks:
        score = findings.scores[task.name].get(task.headline, {}).get(entry.label)
        if score is None or math.isnan(score.value):
            continue
        simulator = f"FUSAR-GPT simulator, version {findings.settings['simulator_version']}"
        of = (task.name, task.name) if task.name in OF_REAL_IMAGES else ("simulated", simulator)
        interval = f"95 % interval {100 * score.low:.1f} to {100 * score.high:.1f}, n = {score.n}"
        metric = {"type": task.headline, "value": round(100 * score.value, 1), "name": f"{task.headline} ({interval})"}
        listed.append(
            {
                "task": {
                    "type": "image-classification" if entry.tuned else "image-feature-extraction",
                    "name": f"{task.name}, {'fine-tuned, ' if entry.tuned else ''}{_prior(entry)}",
                },
                "dataset": {"type": of[0], "name": of[1], "split": "test"},
                "metrics": [metric],
            }
        )
    return listed


def _prior(entry: Entry) -> str:
    return "no prior" if entry.arm == "none" else f"prior {entry.arm}"
