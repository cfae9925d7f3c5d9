"""From a simulated scene to rows of the dataset, which are triplet records."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from fusargpt.errors import check
from fusargpt.geo.embeddings import quantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS
from fusargpt.simulator.description import describe, scene_descriptions
from fusargpt.simulator.rendering import POLARIZATIONS, render_optical, render_sar
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, Scene, simulate_scene
from fusargpt.simulator.version2.place import SECOND_VERSION
from fusargpt.simulator.version2.scene import PixelScene, pixels_to_grey, render_pixels, simulate_pixels
from fusargpt.simulator.version2.view import COARSEST_M, FINEST_M, PIXEL_SIZES_M
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


VERSIONS = (SIMULATOR_VERSION, SECOND_VERSION)


@dataclass(frozen=True)
class Simulator:
    """Which simulator makes scenes of seeds.

    Attributes:
        version: of `VERSIONS`; the first has 5 m a pixel.
        pixel_size: of version 2, metres, between which that of each scene is drawn.

    Raises:
        InputError: another version, or pixel sizes that do not ascend in 2.5 to 30 m, or are given to version 1.
    """

    version: int = SIMULATOR_VERSION
    pixel_size: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check("simulator", self.version, self.version in VERSIONS, " or ".join(map(str, VERSIONS)))
        if self.pixel_size is not None:
            low, high = self.pixel_size
            check("pixel-size", f"{low:g} {high:g}", self.version == SECOND_VERSION, "none with simulator 1, of 5 m")
            expected = f"two ascending numbers of metres in {FINEST_M:g} to {COARSEST_M:g}"
            check("pixel-size", f"{low:g} {high:g}", FINEST_M <= low <= high <= COARSEST_M, expected)

    def scene(self, seed: int) -> Scene:
        """The scene of a seed."""
        if self.version == SIMULATOR_VERSION:
            return simulate_scene(seed)
        return simulate_pixels(seed, self.pixel_size or PIXEL_SIZES_M)


FIRST = Simulator()


def scene_fields(scene: Scene, rendering: str = "sar", per_side: int = 8) -> Record:
    """The columns that all questions about one image share.

    `rendering` is "sar" or "optical"; raises ValueError for anything else.
    """
    rng = np.random.default_rng([SIMULATOR_VERSION, scene.seed, 4])
    polarization = str(rng.choice(POLARIZATIONS, p=[0.7, 0.3]))
    of_second = isinstance(scene, PixelScene)
    if rendering == "sar":
        image = _grey(scene, polarization) if of_second else render_sar(scene, polarization)
        sensor = "simulated SAR"
    elif rendering == "optical":
        image = _optical(scene) if of_second else render_optical(scene)
        sensor, polarization = "simulated optical", ""
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
        "id": f"simulated-v{_version(scene)}-{scene.seed:08d}-{rendering}",
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


def _version(scene: Scene) -> str:
    """Of the simulator; of scenes of version 2 with the pixels along a side, since a place has many pixel sizes."""
    if isinstance(scene, PixelScene):
        return f"{SECOND_VERSION}-{scene.region.shape[0]}px"
    return str(SIMULATOR_VERSION)


def _grey(scene: PixelScene, polarization: str) -> Image.Image:
    return pixels_to_grey(render_pixels(scene, polarization), polarization)


def _optical(scene: PixelScene) -> Image.Image:
    """Of the place, in as many pixels as the scene has."""
    side = scene.region.shape[0]
    return render_optical(scene.place.scene).resize((side, side), Image.Resampling.BOX)


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


def rows(seed: int, layout: str, rendering: str, per_side: int = 8, simulator: Simulator = FIRST) -> list[Record]:
    """The rows of one seed in a layout of `LAYOUTS`; raises ValueError for another one.

    Those of "captions" have the columns `description` and `target_description` beside those of all records.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: found {layout!r}, expected one of {', '.join(LAYOUTS)}")
    scene = simulator.scene(seed)
    found = records(scene, LAYOUTS[layout], rendering, per_side)
    if layout == "captions":
        place, targets = scene_descriptions(scene)
        found = [{**row, "description": asdict(place), "target_description": asdict(targets)} for row in found]
    return found
