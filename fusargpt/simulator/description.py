"""Descriptions of a simulated scene: a short one, and the sixteen dimensions of place and targets."""

import numpy as np

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.simulated_scene import Scene
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import Description, describe_place
from fusargpt.tasks.facts import known_phrases
from fusargpt.tasks.target_dimensions import TargetBox, TargetDescription, describe_targets
from fusargpt.tasks.target_names import plural

MINIMUM_SHARE = 0.06  # of the image: smaller patches go unmentioned
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def place(mask: np.ndarray) -> str:
    """Where a region lies, from the centroid of its mask (bool [H, W]): "upper left", "lower centre", "centre"."""
    row, column = (int(np.mean(axis) * 3 / side) for axis, side in zip(np.nonzero(mask), mask.shape, strict=True))
    return "centre" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"


def describe(scene: Scene) -> str:
    """Land-cover classes by falling area, each but the first with its place, then the targets."""
    cover = scene.landcover[scene.region]
    shares = [(float(np.mean(cover == index)), int(index)) for index in np.unique(cover)]
    shares = sorted((item for item in shares if item[0] >= MINIMUM_SHARE), reverse=True)
    sentence = f"Mostly {LANDCOVER_CLASSES[shares[0][1]]}"
    others = [f"{LANDCOVER_CLASSES[index]} in the {place(cover == index)}" for _, index in shares[1:]]
    if others:
        sentence += f", with {' and '.join(others)}"
    if not scene.targets:
        return f"{sentence}. No targets."
    label = scene.targets[0].label
    count = len(scene.targets)
    ground = "apron" if label == "aircraft" else "water"
    noun = label if count == 1 else plural(label)
    return f"{sentence}. {_NUMBERS[count].capitalize()} {noun} on the {ground}."


def scene_descriptions(scene: Scene) -> tuple[Description, TargetDescription]:
    """The scene in the eight dimensions of its place and the eight of its targets."""
    cover = scene.landcover[scene.region]
    targets = [TargetBox(target.box, target.label, target.fine_label) for target in scene.targets]
    objects = [LabelledBox(target.box, target.label) for target in scene.targets]
    return (
        describe_place(cover, objects, scene.resolution_m),
        describe_targets(targets, (cover.shape[1], cover.shape[0]), cover, scene.resolution_m),
    )


def scene_phrases(scene: Scene) -> dict[str, str]:
    """The same, phrases by the names of `fusargpt.tasks.facts.DIMENSIONS`."""
    return known_phrases(*scene_descriptions(scene))
