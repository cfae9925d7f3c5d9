"""What each stage of `fusargpt caption` buys, on simulated places whose truth is known:

python -m benchmarks.hcot --scenes 200 --out build/hcot

Each scene is captioned from several kinds of evidence, by all five stages, by the first of them, and by all but one.
A part is right when it agrees with the true phrase (`fusargpt.captioning.agreement`); of each part the benchmark tells
how often something was said, and how often what was said was right, with a 95 % interval over scenes. What is done is
kept in the folder, and a run that was cut goes on.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fusargpt.captioning.agreement import agrees
from fusargpt.captioning.claims import Findings
from fusargpt.captioning.detections import FusarGptBackend
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.stages import STAGES, Backend, RulesBackend
from fusargpt.checkpoints import NANO
from fusargpt.files import write_text_whole
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.predict import load
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.rendering import DISPLAY_DB
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene, simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, phrases_of
from fusargpt.tasks.target_dimensions import TargetBox

ARMS = {
    "raster": "land-cover raster without an error, annotated boxes",
    "planted": "land-cover raster and boxes with planted errors",
    "boxes": "AlphaEarth prior, annotated boxes",
    "image": "AlphaEarth prior, no boxes",
    "nano": "AlphaEarth prior, boxes and description by fusargpt-nano",
}
WRONG_REGION, WRONG_LABEL, FALSE_BOX = 0.26, 0.1, 0.3
"""Planted: Dynamic World differs from experts in 26 % of points; labels and boxes by our choice."""
ALL = "all five"


def stage_sets() -> dict[str, tuple[str, ...]]:
    """By title: all, all but one, and the first ones."""
    sets = {ALL: STAGES}
    sets |= {f"without {name}": tuple(stage for stage in STAGES if stage != name) for name in STAGES[:-1]}
    return sets | {f"up to {name}": STAGES[: index + 1] for index, name in enumerate(STAGES[:-1])}


def observe(scene: Scene, arm: str) -> Observation:
    """What is known of a scene in an arm."""
    fields = scene_fields(scene)
    targets = tuple(TargetBox(target.box, target.label, target.fine_label) for target in scene.targets)
    embeddings = dequantize(fields[PRIOR_EMBEDDINGS]).astype(np.float32)
    observation = Observation(
        id=fields["id"],
        image=fields["image"],
        bounds=tuple(fields["bounds"]),
        acquired=fields["acquired"],
        sensor=fields["sensor"],
        polarization=fields["polarization"],
        resolution_m=fields["resolution_m"],
        decibels=DISPLAY_DB[fields["polarization"]],
        prior=Prior(embeddings, fields[PRIOR_POSITIONS]),
        targets=targets,
    )
    if arm == "raster":
        return replace(observation, cover=scene.landcover[scene.region])
    if arm == "planted":
        cover, boxes = planted(scene, targets)
        return replace(observation, cover=cover, targets=boxes)
    return observation if arm == "boxes" else replace(observation, targets=None)


def planted(scene: Scene, targets: tuple[TargetBox, ...]) -> tuple[NDArray[np.int64], tuple[TargetBox, ...]]:
    """Land cover and boxes with errors: regions of another class, boxes of the other class, a box around nothing."""
    rng = np.random.default_rng([scene.seed, 16])
    classes = scene.landcover.copy()
    for index, landcover in enumerate(classes):
        if rng.random() < WRONG_REGION:
            classes[index] = rng.choice([other for other in range(len(LANDCOVER_CLASSES)) if other != landcover])
    others = {"ship": "aircraft", "aircraft": "ship"}
    boxes = [
        TargetBox(target.box, others[target.label]) if rng.random() < WRONG_LABEL else target for target in targets
    ]
    if rng.random() < FALSE_BOX:
        x, y = rng.integers(0, IMAGE_SIZE - 24, 2).tolist()
        width, height = rng.integers(8, 24, 2).tolist()
        boxes.append(TargetBox((x, y, x + width, y + height), str(rng.choice(list(others)))))
    return classes[scene.region], tuple(boxes)


def caption_all(observation: Observation, backend: Backend) -> dict[str, dict[str, str]]:
    """Phrases by dimension, by the title of the set of stages; what sets begin with alike is run once."""

    @cache
    def after(stages: tuple[str, ...]) -> Findings:
        return backend.run(stages[-1], observation, after(stages[:-1]))[0] if stages else Findings()

    return {
        title: phrases_of(
            {
                "description": after(stages).record("landform"),
                "target_description": after(stages).record("target"),
            }
        )
        for title, stages in stage_sets().items()
    }


def judged(scene: Scene, arm: str, backend: Backend) -> dict[str, list[int]]:
    """By set of stages, for each dimension: 1 right, 0 wrong, -1 nothing said."""
    truth = scene_phrases(scene)
    return {
        title: [-1 if name not in said else int(agrees(name, said[name], truth[name])) for name in DIMENSIONS]
        for title, said in caption_all(observe(scene, arm), backend).items()
    }


def measure(out: Path, scenes: int, arms: tuple[str, ...]) -> dict[str, Any]:
    """All scenes in all arms; what `out` holds already is not done again."""
    out.mkdir(parents=True, exist_ok=True)
    first = SPLIT_SEEDS["test"]
    result: dict[str, Any] = {}
    for arm in arms:
        path = out / f"{arm}.jsonl"
        done = dict(_lines(path))
        todo = [seed for seed in range(first, first + scenes) if seed not in done]
        if todo:
            backend = FusarGptBackend(load(NANO), "fusargpt-nano") if arm == "nano" else RulesBackend()
            with path.open("a", encoding="utf-8") as file:
                for seed in tqdm(todo, desc=arm, unit="scene", disable=None):
                    done[seed] = judged(simulate_scene(seed), arm, backend)
                    file.write(json.dumps([seed, done[seed]]) + "\n")
                    file.flush()
        chosen = [done[seed] for seed in range(first, first + scenes)]
        result[arm] = {title: _scores([one[title] for one in chosen]) for title in stage_sets()}
    return result


def _lines(path: Path) -> Iterator[tuple[int, dict[str, list[int]]]]:
    if path.is_file():
        content = path.read_text(encoding="utf-8")
        for line in content[: content.rfind("\n") + 1].splitlines():
            seed, verdicts = json.loads(line)
            yield seed, verdicts


def _scores(verdicts: list[list[int]]) -> dict[str, dict[str, float]]:
    """Of each dimension, and of all together: the share said, the share right of what was said, and its interval."""
    table = np.array(verdicts)
    columns = {name: table[:, [index]] for index, name in enumerate(DIMENSIONS)}
    columns |= {"place, all": table[:, :8], "targets, all": table[:, 8:]}
    scores: dict[str, dict[str, float]] = {}
    for name, column in columns.items():
        said, right = (column >= 0).sum(1), (column == 1).sum(1)
        # By scene, whose parts stand and fall together.
        draws = np.random.default_rng(0).integers(0, len(table), (2000, len(table)))
        total = said[draws].sum(1)
        rates = right[draws].sum(1)[total > 0] / total[total > 0]
        low, high = np.quantile(rates, (0.025, 0.975)) if len(rates) else (np.nan, np.nan)
        value = right.sum() / said.sum() if said.sum() else np.nan
        scores[name] = {
            "said": round(float(said.sum() / column.size), 4),
            **{
                key: None if np.isnan(number) else round(float(number), 4)  # type: ignore[dict-item]
                for key, number in (("right", value), ("low", low), ("high", high))
            },
        }
    return scores


def table(result: dict[str, Any], arm: str) -> str:
    """Markdown: parts by sets of stages, each the percentage right of what was said (and said, where not always)."""
    titles = list(stage_sets())
    lines = [f"| part | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]
    for name in (*DIMENSIONS, "place, all", "targets, all"):
        cells = []
        for title in titles:
            score = result[arm][title][name]
            cell = "-" if score["right"] is None else f"{100 * score['right']:.0f}"
            cells.append(cell if score["said"] in (0, 1) else f"{cell} ({100 * score['said']:.0f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    arms = tuple(options.arms.split(","))
    result = measure(options.out, options.scenes, arms)
    packages = {name: version(name) for name in ("fusargpt", "numpy", "scipy")}
    summary = {
        "command": f"python -m benchmarks.hcot --scenes {options.scenes} --arms {options.arms} --out build/hcot",
        "scenes": f"simulator, split test, the first {options.scenes}",
        "evidence": {arm: ARMS[arm] for arm in arms},
        "packages": packages,
        "right": result,
    }
    write_text_whole(options.out / "results.json", json.dumps(summary, indent=1) + "\n")
    tables = "\n\n".join(f"## {arm}: {ARMS[arm]}\n\n{table(result, arm)}" for arm in arms)
    write_text_whole(options.out / "tables.md", tables + "\n")
    sys.stdout.write(tables + "\n")


if __name__ == "__main__":
    main()
