"""The simulator against 2,160 real points: what backscatter and AlphaEarth vectors tell of the land cover.

On the real points a linear classifier (1,500 for training) names the class of 30 % from VV and VH and of 74 % from the
AlphaEarth vector. The simulator is held to those within 5 points.
"""

import numpy as np
import pytest

from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES
from fusargpt.simulator.linear_probe import linear_probe
from fusargpt.simulator.rendering import DISPLAY_DB, render_sar
from fusargpt.simulator.simulated_scene import simulate_scene

REAL_ACCURACY = {"backscatter": 0.30, "embedding": 0.74}
POINTS_PER_CLASS = 240


@pytest.fixture(scope="module")
def regions() -> dict[str, np.ndarray]:
    """Regions of simulated scenes, the same number of each class as the real points have."""
    taken: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {index: [] for index in range(len(LANDCOVER_CLASSES))}
    seed = 0
    while min(len(chosen) for chosen in taken.values()) < POINTS_PER_CLASS:
        scene = simulate_scene(seed)
        for index, landcover in enumerate(scene.landcover):
            if len(taken[int(landcover)]) < POINTS_PER_CLASS:
                taken[int(landcover)].append((scene.backscatter[index], scene.embedding[index]))
        seed += 1
    pairs = [pair for index in taken for pair in taken[index]]
    return {
        "backscatter": np.stack([pair[0] for pair in pairs]),
        "embedding": np.stack([pair[1] for pair in pairs]),
        "landcover": np.repeat(np.arange(len(taken)), POINTS_PER_CLASS),
    }


def accuracy(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Share of held-out points that the probe names right: 1,500 points for training, the rest for test."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return float(linear_probe(features, labels, order[:1500], order[1500:]).mean())


@pytest.mark.parametrize("name", ["backscatter", "embedding"])
def test_linear_probe_is_as_good_as_on_real_points(regions: dict[str, np.ndarray], name: str) -> None:
    found = np.mean([accuracy(regions[name], regions["landcover"], seed) for seed in range(5)])
    assert found == pytest.approx(REAL_ACCURACY[name], abs=0.05)


def test_targets_on_dark_ground_are_not_told_apart_by_backscatter() -> None:
    """Ships on water and aircraft on aprons: brightness of the target and of the ground around it give no class."""
    values: dict[str, list[tuple[float, float]]] = {"ship": [], "aircraft": []}
    low, high = DISPLAY_DB["VV"]
    for seed in range(200):
        scene = simulate_scene(seed)
        if not scene.targets:
            continue
        decibel = np.asarray(render_sar(scene), dtype=np.float64) / 255 * (high - low) + low
        ground = scene.region == (scene.apron if scene.apron is not None else 0)
        for target in scene.targets[:1]:
            x1, y1, x2, y2 = target.box
            bright = decibel[y1:y2, x1:x2][target.mask]
            values[target.label].append((float(np.median(bright)), float(np.median(decibel[ground]))))
    for column, name in enumerate(("target", "ground")):
        ship, aircraft = (np.array(values[label])[:, column] for label in ("ship", "aircraft"))
        # Share of pairs in which the ship is the brighter one: 0.5 is chance.
        area = float(np.mean(ship[:, None] > aircraft) + 0.5 * np.mean(ship[:, None] == aircraft))
        assert 0.35 < area < 0.65, f"{name}: area under the curve {area:.2f}"


def test_an_apron_looks_like_water_and_has_the_vector_of_built_ground() -> None:
    scene = next(scene for scene in map(simulate_scene, range(50)) if scene.apron is not None)
    assert scene.landcover[scene.apron] == BUILT
