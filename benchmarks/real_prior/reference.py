"""The closed form beside the model: a linear discriminant of every cell, with the same arms and the same scenes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_prior.cells import ARMS, Arm
from benchmarks.real_prior.regions import Split
from benchmarks.real_prior.scenes import CELL_PIXELS, Ground, following, test_scenes, training_scenes
from fusargpt.geo.land_classes import WATER
from fusargpt.simulator.linear_probe import linear_classes

FLOODED = 1
"""Of the states of a cell."""
MOST_TRAINING = 1200
"""Scenes that it is fitted to at most: some 15,000 cells for 65 numbers."""

Answers = dict[str, dict[str, list[str]]]


def reference(split: Split, training: int, scenes: int) -> Answers:
    """The answers to all tasks under every arm, in the form of `benchmarks.real_prior.run.ask`.

    It reads of a cell the mean grey level of its pixels (`none`), its vector (`blind`), or both (`true`; `shuffled`
    with the vector of another scene's cell, in fitting too), and says what each cell is; the answer follows from its
    cells. A blank image tells nothing, so `blind` needs none.
    """
    learned = list(training_scenes(split.train, min(training, MOST_TRAINING), floods=True))
    asked = list(test_scenes(split.test, scenes))
    answers: Answers = {
        task: {"reference": [ground.answer(task) for ground in asked]} for task in ("count", "localize")
    }
    answers["any"] = {"reference": [ground.answer("any") for ground in asked]}
    truth = np.concatenate([states(ground) for ground in (*learned, *asked)])
    cells = sum(ground.side**2 for ground in learned)
    train, test = np.arange(cells), np.arange(cells, len(truth))
    levels = np.concatenate([_levels(ground) for ground in (*learned, *asked)])
    for arm in ARMS:
        found = linear_classes(_features(arm, levels, learned, asked), truth, train, test)
        parts = np.split(found, np.cumsum([ground.side**2 for ground in asked])[:-1])
        said = [replace(ground, flooded=part == FLOODED) for ground, part in zip(asked, parts, strict=True)]
        for task in answers:
            answers[task][arm] = [ground.answer(task) for ground in said]
    return answers


def _features(
    arm: Arm, levels: NDArray[np.float64], learned: Sequence[Ground], asked: Sequence[Ground]
) -> NDArray[np.float64]:
    if arm == "none":
        return levels
    given = [*following(learned), *following(asked)] if arm == "shuffled" else [*learned, *asked]
    vectors = np.concatenate([ground.embedding for ground in given])
    return vectors if arm == "blind" else np.hstack([levels, vectors])


def states(ground: Ground) -> NDArray[np.int64]:
    """Of each cell: 0 dry land, `FLOODED` land, 2 permanent water."""
    return np.where(ground.flooded, FLOODED, np.where(ground.landcover == WATER, 2, 0))


def _levels(ground: Ground) -> NDArray[np.float64]:
    """Mean grey level of each cell, [side^2, 1]."""
    pixels = np.asarray(ground.image(), dtype=np.float64)
    blocks = pixels.reshape(ground.side, CELL_PIXELS, ground.side, CELL_PIXELS)
    return blocks.mean((1, 3)).reshape(-1, 1)
