"""What each stage of `fusargpt caption` buys, on simulated places whose truth is known:

python -m benchmarks.hcot --scenes 200 --out build/hcot

Each scene is captioned from several kinds of evidence, by all five stages, by the first of them, and by all but one.
A part is right when it agrees with the true phrase (`fusargpt.captioning.agreement`); of each part the benchmark tells
how often something was said, and how often what was said was right, with a 95 % interval over scenes. What is done is
kept in the folder, and a run that was cut goes on.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
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
from fusargpt.captioning.sources import WORLD_FIELD, WORLD_MANIFEST, CaptionItem, ManifestSource
from fusargpt.captioning.stages import STAGES, Backend, RulesBackend
from fusargpt.checkpoints import NANO
from fusargpt.files import write_text_whole
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.geo.tiling import CHIP_SIZE, chip_windows
from fusargpt.inference.loading import load
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS, scene_fields
from fusargpt.simulator.rendering import DISPLAY_DB
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene, simulate_scene
from fusargpt.simulator.world import ground_of, scene_of, write_world
from fusargpt.simulator.world_plan import Place, plan_places
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import describe_place
from fusargpt.tasks.facts import DIMENSIONS, known_phrases, phrases_of
from fusargpt.tasks.target_dimensions import TargetBox, describe_targets
from fusargpt.triplets.manifest import read_manifest
from fusargpt.triplets.settings import BuildSettings

ARMS = {
    "raster": "land-cover raster without an error, annotated boxes",
    "planted": "land-cover raster and boxes with planted errors",
    "boxes": "AlphaEarth prior, annotated boxes",
    "image": "AlphaEarth prior, no boxes",
    "nano": "AlphaEarth prior, boxes and description by fusargpt-nano",
    "world raster": "scenes of a simulated world: its land-cover rasters and annotated boxes",
    "world prior": "the same scenes: AlphaEarth prior and annotated boxes",
}
WRONG_REGION, WRONG_LABEL, FALSE_BOX = 0.26, 0.1, 0.3
"""Planted: Dynamic World differs from experts in 26 % of points; labels and boxes by our choice."""
AT_MOST = {"nano": 120}
"""Scenes of an arm whose model takes its time."""
ALL, CONFIDENCE = "all five", "confidence"
WORLD: dict[str, Any] = {"places": 24, "years": (2024,), "seed": 16, "sides": (336,)}


Case = tuple[str, Callable[[], tuple[dict[str, str], Observation] | None]]
"""The name of an image, and what makes the true phrases and what is known of it; None of one without its own boxes."""


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


def caption_all(observation: Observation, backend: Backend) -> dict[str, Findings]:
    """What is held to be true in the end, by the title of the set of stages; what sets begin with alike runs once."""

    @cache
    def after(stages: tuple[str, ...]) -> Findings:
        return backend.run(stages[-1], observation, after(stages[:-1]))[0] if stages else Findings()

    return {title: after(stages) for title, stages in stage_sets().items()}


def judged(truth: dict[str, str], observation: Observation, backend: Backend) -> dict[str, list[float]]:
    """By set of stages, for each dimension: 1 right, 0 wrong, -1 nothing said; and the confidence of all five's."""
    found = caption_all(observation, backend)
    verdicts: dict[str, list[float]] = {}
    for title, findings in found.items():
        said = phrases_of({"description": findings.record("landform"), "target_description": findings.record("target")})
        verdicts[title] = [
            -1 if name not in said else int(agrees(name, said[name], truth[name])) for name in DIMENSIONS
        ]
    terrain = found[ALL].claim("landform", "terrain")
    return {**verdicts, CONFIDENCE: [-1 if terrain is None else round(terrain.confidence, 3)]}


def cases(arm: str, scenes: int, out: Path) -> Iterator[Case]:
    """The names of an arm's images, and what makes the truth and what is known of each."""
    if arm.startswith("world"):
        yield from _world_cases(arm, out)
        return
    first = SPLIT_SEEDS["test"]
    for seed in range(first, first + min(scenes, AT_MOST.get(arm, scenes))):

        def make(seed: int = seed) -> tuple[dict[str, str], Observation]:
            scene = simulate_scene(seed)
            return scene_phrases(scene), observe(scene, arm)

        yield str(seed), make


def _world_cases(arm: str, out: Path) -> Iterator[Case]:
    folder = out / "world"
    if not (folder / WORLD_MANIFEST).is_file():
        write_world(folder, **WORLD)
    source = ManifestSource(folder / WORLD_MANIFEST, BuildSettings(aef=str(folder / WORLD_FIELD)))
    planned = {place.name: place for place in plan_places(**WORLD)}
    names = [row.scene for row in read_manifest(folder / WORLD_MANIFEST)]
    for item in source.items()[0]:
        place = planned[Path(names[item.place[0]]).stem]

        def make(item: CaptionItem = item, place: Place = place) -> tuple[dict[str, str], Observation] | None:
            seen = source.read(item)
            if seen is None or seen.observation.targets is None:
                return None
            scene = scene_of(place, ground_of(place))
            window = chip_windows(place.width, place.height, CHIP_SIZE, 0)[item.place[1]]
            rows, columns = window.toslices()
            cover = scene.landcover[scene.region[rows, columns]]
            observation, targets = seen.observation, list(seen.observation.targets)
            objects = [LabelledBox(target.box, target.label) for target in targets]
            truth = known_phrases(
                describe_place(cover, objects, place.resolution_m),
                describe_targets(targets, observation.image.size, cover, place.resolution_m),
            )
            return truth, observation if arm == "world raster" else replace(observation, cover=None)

        yield item.id, make


def measure(out: Path, scenes: int, arms: tuple[str, ...]) -> dict[str, Any]:
    """All images in all arms; what `out` holds already is not done again."""
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {}
    for arm in arms:
        path = out / f"{arm.replace(' ', '-')}.jsonl"
        done = dict(_lines(path))
        todo = [(name, make) for name, make in cases(arm, scenes, out) if name not in done]
        if todo:
            backend = FusarGptBackend(load(NANO), "fusargpt-nano") if arm == "nano" else RulesBackend()
            with path.open("a", encoding="utf-8") as file:
                for name, make in tqdm(todo, desc=arm, unit="image", disable=None):
                    made = make()
                    done[name] = None if made is None else judged(*made, backend)
                    file.write(json.dumps([name, done[name]]) + "\n")
                    file.flush()
        chosen = [verdicts for name, _ in cases(arm, scenes, out) if (verdicts := done[name]) is not None]
        result[arm] = {title: _scores([one[title] for one in chosen]) for title in stage_sets()}
        result[arm]["images"] = len(chosen)
        result[arm]["terrain by confidence"] = _reliability(chosen)
    return result


def _lines(path: Path) -> Iterator[tuple[str, dict[str, list[float]] | None]]:
    if path.is_file():
        content = path.read_text(encoding="utf-8")
        for line in content[: content.rfind("\n") + 1].splitlines():
            name, verdicts = json.loads(line)
            yield name, verdicts


def _reliability(chosen: list[dict[str, list[float]]]) -> list[dict[str, float]]:
    """Of terrains by their confidence: how many, the mean confidence, and the share that is right."""
    pairs = np.array([(one[CONFIDENCE][0], one[ALL][0]) for one in chosen if one[CONFIDENCE][0] >= 0])
    bins: list[dict[str, float]] = []
    for low, high in itertools.pairwise((0.0, 0.5, 0.7, 0.9, 1.01)):
        inside = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < high)]
        if len(inside):
            confidence, right = inside.mean(0)
            bins.append({"n": len(inside), "confidence": round(float(confidence), 3), "right": round(float(right), 3)})
    return bins


def _scores(verdicts: list[list[float]]) -> dict[str, dict[str, float | None]]:
    """Of each dimension, and of all together: the share said, the share right of what was said, and its interval."""
    table = np.array(verdicts)
    columns = {name: table[:, [index]] for index, name in enumerate(DIMENSIONS)}
    columns |= {"place, all": table[:, :8], "targets, all": table[:, 8:]}
    scores: dict[str, dict[str, float | None]] = {}
    for name, column in columns.items():
        said, right = (column >= 0).sum(1), (column == 1).sum(1)
        # By image, whose parts stand and fall together.
        draws = np.random.default_rng(0).integers(0, len(table), (2000, len(table)))
        total = said[draws].sum(1)
        rates = right[draws].sum(1)[total > 0] / total[total > 0]
        known = len(rates) > 0 and said.sum() > 0
        low, high = np.quantile(rates, (0.025, 0.975)) if known else (0.0, 0.0)
        scores[name] = {
            "said": round(float(said.sum() / column.size), 4),
            "right": round(float(right.sum() / said.sum()), 4) if known else None,
            "low": round(float(low), 4) if known else None,
            "high": round(float(high), 4) if known else None,
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
        "command": f"python -m benchmarks.hcot --scenes {options.scenes} --arms '{options.arms}' --out build/hcot",
        "scenes": f"simulator, split test, the first {options.scenes}; worlds by {WORLD}",
        "evidence": {arm: ARMS[arm] for arm in arms},
        "packages": packages,
        "right": result,
    }
    write_text_whole(options.out / "results.json", json.dumps(summary, indent=1) + "\n")
    tables = "\n\n".join(
        f"## {arm}: {ARMS[arm]}\n\n{result[arm]['images']} images.\n\n{table(result, arm)}" for arm in arms
    )
    write_text_whole(options.out / "tables.md", tables + "\n")
    sys.stdout.write(tables + "\n")


if __name__ == "__main__":
    main()
