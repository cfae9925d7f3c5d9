"""Images whose truth is known, for the tests of captions."""

import numpy as np
from PIL import Image

from fusargpt.captioning.observation import Observation
from fusargpt.geo.embeddings import dequantize
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.simulator.landcover import load_statistics
from fusargpt.simulator.records import scene_fields
from fusargpt.simulator.rendering import DISPLAY_DB
from fusargpt.simulator.simulated_scene import Scene, simulate_scene
from fusargpt.tasks.target_dimensions import TargetBox

SIDE = 96
TREES, WATER, BUILT = 1, 0, 6


def simulated(seed: int) -> tuple[Scene, Observation]:
    """A scene, and its image as a row of a dataset brings it: prior and boxes, no land cover."""
    scene = simulate_scene(seed)
    fields = scene_fields(scene)
    return scene, Observation(
        id=fields["id"],
        image=fields["image"],
        bounds=tuple(fields["bounds"]),
        acquired=fields["acquired"],
        polarization=fields["polarization"],
        resolution_m=fields["resolution_m"],
        decibels=DISPLAY_DB[fields["polarization"]],
        prior=Prior(dequantize(fields[PRIOR_EMBEDDINGS]).astype(np.float32), fields[PRIOR_POSITIONS]),
        targets=tuple(TargetBox(target.box, target.label, target.fine_label) for target in scene.targets),
    )


def halves(left: int, right: int, **known: object) -> Observation:
    """An image whose left half is dark and whose right half is bright, with a raster of two classes."""
    cover = np.full((SIDE, SIDE), left, np.int8)
    cover[:, SIDE // 2 :] = right
    grey = np.where(np.arange(SIDE) < SIDE // 2, 40, 160) + np.random.default_rng(0).normal(0, 12, (SIDE, SIDE))
    image = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    return Observation(**{"id": "halves", "image": image, "resolution_m": 5.0, "cover": cover, **known})  # pyright: ignore[reportArgumentType]


def anchors(classes: list[list[int]]) -> Prior:
    """A grid of anchors with the mean AlphaEarth vectors of classes."""
    grid = np.array(classes)
    rows, columns = (((np.arange(size) + 0.5) / size * SIDE - 0.5) / (SIDE - 1) for size in grid.shape)
    positions = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    vectors = load_statistics().embedding_mean[grid.ravel()]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Prior(vectors.astype(np.float32), positions.astype(np.float32))
