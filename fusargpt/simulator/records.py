"""From a simulated scene to rows of the dataset, which are triplet records."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from fusargpt.geo.embeddings import quantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS
from fusargpt.simulator.description import describe, scene_descriptions
from fusargpt.simulator.rendering import POLARIZATIONS, render_optical, render_sar
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, Scene, simulate_scene
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.prompts import PROMPTS, prompt
from fusargpt.tasks.questions import conversation, true_answer
from fusargpt.tasks.target_names import TARGETS

Record = dict[str, Any]
"""A row of a dataset by its columns, as `datasets` takes it."""

# Every seed is a place of its own, so splits by seed are splits by place.
SPLIT_SEEDS = {"train": 0, "validation": 10_000_000, "test": 20_000_000}
OTHER_TARGET_SHARE = 0.2  # of the questions about targets: the class asked for is not the one that could be here
# At the equator. Places of seeds follow from it, so that it changes with SIMULATOR_VERSION alone.
_METRES_PER_DEGREE = 111_320.0
# Which tasks the rows of a layout ask about each scene: the two configs, and what a language model is pre-trained on.
LAYOUTS = {
    "captions": ("describe",),
    "instructions": tuple(task for task in PROMPTS if task != "describe"),
    "questions": tuple(PROMPTS),
}


def scene_fields(scene: Scene, rendering: str = "sar", per_side: int = 8, polarization: str | None = None) -> Record:
    """The columns that all questions about one image share.

    `rendering` is "sar" or "optical"; raises ValueError for anything else. `polarization` is drawn where it is None.
    """
    rng = np.random.default_rng([SIMULATOR_VERSION, scene.seed, 4])
    drawn = str(rng.choice(POLARIZATIONS, p=[0.7, 0.3]))
    polarization = polarization or drawn
    if rendering == "sar":
        image, sensor = render_sar(scene, polarization), "simulated SAR"
    elif rendering == "optical":
        image, sensor, polarization = render_optical(scene), "simulated optical", ""
    else:
        raise ValueError(f"rendering: found {rendering!r}, expected 'sar' or 'optical'")
    west, south = rng.uniform(-179, 178), rng.uniform(-70, 70)
    side = scene.region.shape[0]
    height = side * scene.resolution_m / _METRES_PER_DEGREE
    width = height / np.cos(np.radians(south))
    embeddings, positions = scene.anchors(per_side)
    # From centres of the first and last pixels to lon and lat: half a pixel inside the bounds.
    fraction = (positions.astype(np.float64) * (side - 1) + 0.5) / side
    lonlat = np.stack([west + fraction[:, 1] * width, south + (1 - fraction[:, 0]) * height], -1)
    year = int(rng.integers(2017, 2025))
    return {
        "id": f"{scene.name}-{rendering}",
        "image": image,
        PRIOR_EMBEDDINGS: quantize(embeddings),
        PRIOR_POSITIONS: positions,
        PRIOR_LONLAT: lonlat,
        "year": year,
        "bounds": [west, south, west + width, south + height],
        "crs": "EPSG:4326",
        "sensor": sensor,
        "polarization": polarization,
        "resolution_m": scene.resolution_m,
        "acquired": f"{year}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}",
        "objects": [
            {"bbox_2d": list(target.box), "label": target.label, "fine_label": target.fine_label}
            for target in scene.targets
        ],
    }


def answer(scene: Scene, task: str, target: str) -> str:
    """The true answer of `task` about the class `target`; raises ValueError for an unknown task."""
    if task == "describe":
        return describe(scene)
    objects = [LabelledBox(item.box, item.label) for item in scene.targets]
    return true_answer(task, target, objects, scene.region.shape[1], scene.region.shape[0])


def question_answer(scene: Scene, task: str) -> tuple[str, str]:
    """One question of `task` in one of its wordings, and its true answer; fixed by the scene's seed.

    Questions about targets mostly ask for the class that could be here; a share asks for the other one.
    """
    rng = np.random.default_rng([SIMULATOR_VERSION, scene.seed, 5, list(PROMPTS).index(task)])
    likely = "aircraft" if scene.apron is not None else "ship"
    other = next(name for name in TARGETS if name != likely)
    if scene.kind == "inland":
        target = str(rng.choice(TARGETS))
    else:
        target = other if rng.random() < OTHER_TARGET_SHARE else likely
    return prompt(task, target, int(rng.integers(0, 12))), answer(scene, task, target)


def records(scene: Scene, tasks: Iterable[str], rendering: str = "sar", per_side: int = 8) -> list[Record]:
    """One question of each task about one scene: rows of `captions` (of "describe") or `instructions` (of the rest)."""
    fields = scene_fields(scene, rendering, per_side)
    asked = [(task, *question_answer(scene, task)) for task in tasks]
    return [{**fields, "id": f"{fields['id']}-{task}", **conversation(task, *asking)} for task, *asking in asked]


def rows(
    seed: int,
    layout: str,
    rendering: str,
    per_side: int = 8,
    simulate: Callable[[int], Scene] = simulate_scene,
) -> list[Record]:
    """The rows of one seed in a layout of `LAYOUTS`; raises ValueError for another one.

    `simulate` makes the scene of a seed; by default version 1 does.
    Those of "captions" have the columns `description` and `target_description` beside those of all records.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: found {layout!r}, expected one of {', '.join(LAYOUTS)}")
    scene = simulate(seed)
    found = records(scene, LAYOUTS[layout], rendering, per_side)
    if layout == "captions":
        place, targets = scene_descriptions(scene)
        found = [{**row, "description": asdict(place), "target_description": asdict(targets)} for row in found]
    return found
