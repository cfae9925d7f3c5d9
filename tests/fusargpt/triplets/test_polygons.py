"""Files of annotations that many scenes share: read once, and the objects of each scene found by place."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.triplets import annotations
from fusargpt.triplets.annotations import (
    _touches,  # pyright: ignore[reportPrivateUsage]  # what decides in the end
    read_boxes,
)
from fusargpt.triplets.boxes import LabelNames
from fusargpt.triplets.polygons import Polygons
from tests.fusargpt.triplets.test_boxes import GEOMETRY

Ring = list[list[float]]


def collection(rings: list[Ring]) -> dict[str, object]:
    shapes = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
    features = [{"type": "Feature", "properties": {"label": "ship"}, "geometry": shape} for shape in shapes]
    return {"type": "FeatureCollection", "features": features}


longitudes = st.sampled_from([-181.0, -180.0, -179.5, -0.5, 0.0, 179.0, 179.6, 180.0, 359.5])
rings = st.tuples(longitudes, st.floats(-1, 1), st.lists(st.floats(0, 1.5), min_size=6, max_size=6)).map(
    lambda ring: [[ring[0] + ring[2][n], ring[1] + ring[2][n + 1]] for n in (0, 2, 4)]
)
jumping = rings.map(lambda ring: [[(x + 180) % 360 - 180, y] for x, y in ring])  # -179.9 after 179.9
bounds = st.tuples(st.sampled_from([-180.0, -179.9, -0.2, 179.5, 179.99]), st.floats(-1, 1), st.floats(0.001, 0.4)).map(
    lambda corner: (corner[0], corner[1], corner[0] + corner[2], corner[1] + corner[2])
)


@settings(max_examples=100, deadline=None)
@given(st.lists(rings | jumping, max_size=6), bounds)
def test_all_that_touch_a_scene_are_found(found: list[Ring], scene: tuple[float, float, float, float]) -> None:
    found = [[[min(x, 360), y] for x, y in ring] for ring in found]
    near = [number for number, _ in Polygons("a.geojson", collection(found)).near(scene)]
    assert set(near) >= {number for number, ring in enumerate(found, 1) if _touches(np.array(ring), scene)}
    assert near == sorted(near)


def test_a_file_that_is_wrong_is_not_read_again_for_every_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(annotations, "parse_json", lambda text, origin: read.append(origin) or json.loads(text))
    names = LabelNames(("ship",), {})
    right, wrong = tmp_path / "right.geojson", tmp_path / "wrong.geojson"
    inside = GEOMETRY.to_lonlat(np.array([[10.0, 10], [20, 10], [20, 20]])).tolist()
    right.write_text(json.dumps(collection([inside])))
    wrong.write_text(json.dumps(collection([inside, [[1, 95], [2, 3], [4, 5]]])))
    for _ in range(3):
        assert read_boxes(str(right), "a.tif", 400, 300, GEOMETRY, names).inside == 1
        with pytest.raises(InputError, match="object 2: polygon: a corner that is not on Earth"):
            read_boxes(str(wrong), "a.tif", 400, 300, GEOMETRY, names)
    assert read == [str(right), str(wrong)]
