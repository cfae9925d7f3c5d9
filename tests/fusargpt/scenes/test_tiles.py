from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.scenes.tiles import cut

SIDES = st.integers(1, 700)


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(28, 200), st.integers(0, 27))
def test_tiles_cover_the_scene_each_once(width: int, height: int, side: int, overlap: int):
    tiles = cut(width, height, side, overlap)
    assert len({tile.id for tile in tiles}) == len(tiles)
    for along, across in ((0, width), (1, height)):
        starts = sorted({(tile.left, tile.top)[along] for tile in tiles})
        assert starts[0] == 0 and starts[-1] + side >= across and starts[-1] < across
        assert all(second - first <= side - overlap for first, second in pairwise(starts))


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(28, 200))
def test_without_overlap_no_place_counts_twice(width: int, height: int, side: int):
    tiles = cut(width, height, side, 0)
    area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (tile.inside(width, height) for tile in tiles))
    assert area == width * height


@settings(deadline=None)
@given(st.integers(200, 700), st.integers(200, 700), st.integers(1, 27))
def test_with_overlap_none_reaches_over_the_edge_of_a_large_scene(width: int, height: int, overlap: int):
    assert all(t.left + 168 <= width and t.top + 168 <= height for t in cut(width, height, 168, overlap))


def test_neighbours_follow_each_other():
    tiles = cut(20_000, 20_000, 168, 42)
    places = [(tile.left // 1024, tile.top // 1024) for tile in tiles]
    changes = sum(first != second for first, second in pairwise(places))
    assert changes == len(set(places)) - 1


@pytest.mark.parametrize(("overlap", "side", "scene"), [(168, 168, 500), (-1, 168, 500), (27, 28, 20_000)])
def test_a_grid_without_end_is_refused(overlap: int, side: int, scene: int):
    with pytest.raises(InputError):
        cut(scene, scene, side, overlap)
