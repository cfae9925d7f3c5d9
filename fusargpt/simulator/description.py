"""The description of a simulated scene: its land cover with rough places, and its targets."""

import numpy as np

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene
from fusargpt.tasks.prompts import PLURALS

MINIMUM_SHARE = 0.06  # of the image: smaller patches go unmentioned
_ROWS = ("upper", "middle", "lower")
_COLUMNS = ("left", "centre", "right")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def place(mask: np.ndarray) -> str:
    """Where a region lies, from the centroid of its mask (bool [H, W]): "upper left", "lower centre", "centre"."""
    row, column = (int(np.mean(axis) * 3 / IMAGE_SIZE) for axis in np.nonzero(mask))
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
    noun = label if count == 1 else PLURALS[label]
    return f"{sentence}. {_NUMBERS[count].capitalize()} {noun} on the {ground}."
