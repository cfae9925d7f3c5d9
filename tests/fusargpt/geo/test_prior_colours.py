"""The false colours of the prior: one map for all pictures, calm and telling."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior_colours import colour_table, false_colours
from fusargpt.simulator.landcover import load_statistics
from scripts.derive_prior_colours import derive
from tests.real_data import REAL_DATA, needs_real_data


def class_colours() -> dict[str, NDArray[np.int64]]:
    colours = false_colours(load_statistics().embedding_mean.astype(np.float32)).astype(np.int64)
    return dict(zip(LANDCOVER_CLASSES, colours, strict=True))


def share_saturated(vectors: NDArray[np.float32]) -> float:
    colours = false_colours(vectors)
    return float(((colours == 0) | (colours == 255)).any(1).mean())


def test_the_table_is_what_the_script_derives() -> None:
    np.testing.assert_allclose(colour_table(), derive(load_statistics()), atol=2e-4)


def test_classes_of_land_cover_are_told_apart() -> None:
    for (one, first), (other, second) in combinations(class_colours().items(), 2):
        assert np.linalg.norm(first - second) > 12, f"{one} and {other}"


def test_colours_are_what_a_map_reader_expects() -> None:
    colours = class_colours()
    red, green, blue = colours["water"]
    assert blue > green > red
    assert colours["trees"].argmax() == 1
    assert colours["built area"].argmax() == 0


def test_a_colour_does_not_depend_on_what_else_is_in_the_picture() -> None:
    vectors = load_statistics().embedding_mean.astype(np.float32)
    alone = [false_colours(vectors[index : index + 1])[0] for index in range(len(vectors))]
    np.testing.assert_array_equal(false_colours(vectors), alone)


def test_drawn_vectors_stay_in_range() -> None:
    statistics, rng = load_statistics(), np.random.default_rng(0)
    classes = range(len(LANDCOVER_CLASSES))
    drawn = [statistics.draw_embedding(landcover, rng) for landcover in classes for _ in range(300)]
    assert share_saturated(np.array(drawn, np.float32)) < 0.01


@needs_real_data
def test_real_vectors_stay_in_range() -> None:
    tables = [pd.read_csv(path) for path in sorted((REAL_DATA / "aef").glob("*.csv"))]
    points = pd.concat(tables)[[f"A{band:02d}" for band in range(64)]].to_numpy(np.float32)
    assert len(points) == 2160
    assert share_saturated(points) < 0.01
