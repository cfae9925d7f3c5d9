"""What can be measured on the grey levels of a SAR image: levels, texture, the course of borders, bright points.

Grey levels are linear in decibels, so that means of levels are means of logarithms: speckle shifts them by a constant,
and does not favour bright regions.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label, uniform_filter

from fusargpt.captioning.distances import distance_to, nearest_in
from fusargpt.captioning.observation import Observation
from fusargpt.geo.prior import Prior
from fusargpt.tasks.cover_measures import patches

SMOOTH_PIXELS = 5
"""Side of the mean against speckle when borders are drawn."""
MAJORITY_PIXELS = 9
POINT_PIXELS = 3
NEAR_ANCHORS = 1.5
"""A border moves by no more than so many distances between anchors."""
_ROUNDS = 3
_PULL = 1.0  # towards the nearest anchor, a distance between anchors against a standard deviation of the levels
STANDS_OUT = 6.0
"""Robust standard deviations above its ground at which a point is bright."""
_JOINED = 2  # pixels between parts of one bright object, each way
_FEWEST_PIXELS = 6
_MAD = 1.4826  # of a Gaussian: standard deviation / median of absolute deviations
_LEAST_SPREAD = 2.0  # grey levels


@dataclass(frozen=True)
class Levels:
    """Of an image: percentiles, and shares of dark and bright pixels, which are a quarter of the scale from its ends.

    Attributes:
        low, median, high: 5th, 50th and 95th percentile, in `unit`.
        unit: "dB", or "grey levels" where they are not calibrated.
        dark, bright: shares of the image.
        texture: standard deviation of 3 x 3 means about their 15 x 15 surroundings, in `unit`: what is left of it
            without speckle and without slow changes.
    """

    low: float
    median: float
    high: float
    unit: str
    dark: float
    bright: float
    texture: float

    @staticmethod
    def of(observation: Observation) -> "Levels":
        grey = observation.grey
        low, median, high = (to_unit(observation, float(level)) for level in np.percentile(grey, (5, 50, 95)))
        fine = uniform_filter(grey, POINT_PIXELS)
        spread = float((fine - uniform_filter(fine, 15)).std())
        step = 1.0 if observation.decibels is None else (observation.decibels[1] - observation.decibels[0]) / 255
        unit = "grey levels" if observation.decibels is None else "dB"
        return Levels(low, median, high, unit, float((grey < 64).mean()), float((grey > 191).mean()), spread * step)


def to_unit(observation: Observation, level: float) -> float:
    """A grey level in decibels, where they are calibrated."""
    if observation.decibels is None:
        return level
    low, high = observation.decibels
    return low + level / 255 * (high - low)


def region_levels(grey: NDArray[np.float64], labels: NDArray[np.integer], count: int) -> NDArray[np.float64]:
    """Median level of each of `count` regions, NaN for one without pixels."""
    return np.array([np.median(grey[labels == index]) if (labels == index).any() else np.nan for index in range(count)])


def redraw(grey: NDArray[np.float64], prior: Prior, labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Borders between the groups of a coarse grid of anchors, where the levels change.

    A pixel becomes that of the groups with an anchor near it whose level it fits best, the nearer the better.

    Args:
        grey: levels [H, W].
        prior: the anchors.
        labels: [H, W], the group of the nearest anchor.

    Returns:
        The groups anew, int64 [H, W].
    """
    height, width = grey.shape
    rows, columns = np.rint(prior.positions * (height - 1, width - 1)).astype(int).T
    of_anchor = np.full(grey.shape, -1)
    of_anchor[rows, columns] = labels[rows, columns]
    spacing = float(np.sqrt(height * width / len(rows)))
    smooth = uniform_filter(grey, SMOOTH_PIXELS)
    away = np.stack([distance_to(of_anchor == group) for group in range(of_anchor.max() + 1)]) / spacing
    for _ in range(_ROUNDS):
        fit = np.full(away.shape, np.inf)
        for group, distance in enumerate(away):
            inside = smooth[(labels == group) & (distance < 1)]
            if not inside.size:
                continue
            level = np.median(inside)
            spread = max(_MAD * float(np.median(np.abs(inside - level))), _LEAST_SPREAD)
            near = distance <= NEAR_ANCHORS
            fit[group, near] = ((smooth[near] - level) / spread) ** 2 / 2 + np.log(spread) + _PULL * distance[near] ** 2
        labels = np.where(np.isfinite(fit).any(0), fit.argmin(0), labels)
        # By majority, so that what is left of the speckle makes no patches of its own.
        labels = np.argmax([uniform_filter((labels == group) * 1.0, MAJORITY_PIXELS) for group in range(len(away))], 0)
    return _without_specks(np.asarray(labels, np.int64), spacing**2 / 2)


def _without_specks(labels: NDArray[np.int64], fewest: float) -> NDArray[np.int64]:
    """Patches of fewer pixels become a part of what is nearest: anchors could not have shown them."""
    patch_of, sizes = patches(labels, np.ones(labels.shape, bool))
    speck = (sizes < fewest)[patch_of - 1]
    if speck.all():
        return labels
    return labels[nearest_in(~speck)]


def bright_objects(grey: NDArray[np.float64], ground: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Boxes [x1, y1, x2, y2] in pixel edges of what stands out brightly of the ground [H, W] that it lies on.

    Empty where the ground has hardly any pixel to compare with.
    """
    if ground.sum() < 16 * _FEWEST_PIXELS:
        return []
    smooth = uniform_filter(grey, POINT_PIXELS)
    level = np.median(smooth[ground])
    spread = max(_MAD * float(np.median(np.abs(smooth[ground] - level))), _LEAST_SPREAD)
    bright = ground & (smooth > level + STANDS_OUT * spread)
    joined = cast(tuple[NDArray[np.int64], int], label(binary_dilation(bright, iterations=_JOINED)))[0]
    rows, columns = np.nonzero(bright)
    of_object = joined[rows, columns]
    boxes: list[tuple[int, int, int, int]] = []
    for index in np.unique(of_object):
        y, x = rows[of_object == index], columns[of_object == index]
        if len(y) >= _FEWEST_PIXELS:
            boxes.append((int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1))
    return boxes
