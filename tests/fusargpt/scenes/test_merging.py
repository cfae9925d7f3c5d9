from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusargpt.errors import InputError
from fusargpt.inference.questions import Answer
from fusargpt.scenes.layers import objects
from fusargpt.scenes.merging import SceneBox, merge, place
from fusargpt.scenes.tiles import Tile, cut
from fusargpt.triplets.boxes import Box, assign

WIDTH, HEIGHT, SIDE, OVERLAP = 500, 400, 168, 42


def boxes_seen(ships: Any, tiles: Any = None) -> list[SceneBox]:
    """What a perfect model says of each tile: the visible part of every ship of which half is visible."""
    found = []
    for tile in cut(WIDTH, HEIGHT, SIDE, OVERLAP) if tiles is None else tiles:
        left, top, right, bottom = tile.inside(WIDTH, HEIGHT)
        for box in assign([Box(ship, "ship") for ship in ships], (left, top, right, bottom))[0]:
            # As the model sees it, at half the size.
            seen = [edge / 2 for edge in box.edges]
            one = place(seen, "ship", tile, (SIDE // 2, SIDE // 2), WIDTH, HEIGHT)
            assert one is not None
            found.append(one)
    return found


def fleet(seed: int, longest: int, count: int = 40) -> list[tuple[float, float, float, float]]:
    """Ships that do not overlap."""
    rng = np.random.default_rng(seed)
    free = np.ones((HEIGHT, WIDTH), bool)
    ships = []
    for _ in range(count):
        width, height = (int(edge) for edge in rng.integers(4, longest + 1, 2))
        x, y = int(rng.integers(0, WIDTH - width)), int(rng.integers(0, HEIGHT - height))
        if free[y : y + height, x : x + width].all():
            free[y : y + height, x : x + width] = False
            ships.append((float(x), float(y), float(x + width), float(y + height)))
    return sorted(ships, key=lambda ship: (ship[1], ship[0]))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_ships_no_longer_than_the_overlap_come_out_as_they_are(seed: int):
    ships = fleet(seed, OVERLAP - 4)
    merged = merge(boxes_seen(ships), 0.5)
    assert [one.box for one in merged] == ships
    assert not any(one.cut for one in merged)


def test_a_ship_that_no_tile_shows_whole_is_joined_and_said_to_be_cut():
    ship = (100.0, 60.0, 196.0, 72.0)
    tiles = [Tile(0, 0, 168), Tile(126, 0, 168)]
    one, *rest = merge(boxes_seen([ship], tiles), 0.5)
    assert not rest and one.box == ship and one.cut and one.tiles == 2


def test_the_whole_box_wins_whatever_the_order():
    whole = SceneBox((120.0, 20.0, 150.0, 30.0), "ship", Tile(84, 0, 168), 36.0, False)
    part = SceneBox((120.0, 18.0, 146.0, 32.0), "ship", Tile(0, 0, 146), 0.0, True)
    for boxes in ([whole, part], [part, whole]):
        (one,) = merge(boxes, 0.5)
        assert one.box == whole.box and one.tiles == 2 and not one.cut


def test_neighbours_and_other_classes_stay():
    tile = Tile(0, 0, 168)
    boxes = [SceneBox((10.0 * n, 10.0, 10.0 * n + 12, 30.0), "ship", tile, 5.0, False) for n in range(5)]
    boxes.append(SceneBox((10.0, 10.0, 22.0, 30.0), "aircraft", tile, 5.0, False))
    assert len(merge(boxes, 0.5)) == 6
    assert merge([], 0.5) == []


def test_many_boxes_cost_no_square():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20_000, (20_000, 2))
    tile = Tile(0, 0, 168)
    boxes = [SceneBox((x, y, x + 20, y + 8), "ship", tile, 5.0, False) for x, y in corners.tolist()]
    # 20,000 x 20,000 overlaps of eight bytes would need 3 GB.
    assert 15_000 < len(merge(boxes, 0.5)) <= 20_000


def test_what_lies_beside_the_tile_or_the_scene_is_left_out():
    tile = Tile(126, 0, 168)
    assert place([-20, 10, -4, 30], "ship", tile, (168, 168), WIDTH, HEIGHT) is None
    one = place([200, 30, 150, 10], "ship", tile, (168, 168), 290, HEIGHT)
    assert one is not None and one.box == (276.0, 10.0, 290.0, 30.0)
    # The scene ends there, so no edge cut it.
    assert not one.cut and one.margin == 138.0


def test_the_surest_of_whole_boxes_wins_and_a_cut_one_never():
    left, right = Tile(0, 0, 168), Tile(84, 0, 168)
    sure = SceneBox((100.0, 20.0, 130.0, 30.0), "ship", left, 38.0, False, score=0.9)
    central = SceneBox((101.0, 21.0, 131.0, 31.0), "ship", right, 60.0, False, score=0.4)
    cut_off = SceneBox((100.0, 20.0, 125.0, 30.0), "ship", right, 0.0, True, score=0.99)
    (one,) = merge([central, cut_off, sure], 0.5)
    assert one.box == sure.box and one.score == 0.9
    (unscored,) = merge([replace(box, score=None) for box in (sure, cut_off, central)], 0.5)
    assert unscored.box == central.box and unscored.score is None


def test_boxes_below_the_least_score_are_left_out_before_they_are_merged():
    tile = Tile(0, 0, 100)
    text = '[{"bbox_2d": [1, 2, 9, 8], "label": "ship"}, {"bbox_2d": [40, 40, 60, 60], "label": "ship"}]'
    answer = Answer(tile.id, "detect", "?", text, (100, 100), (100, 100), None, 0.0, scores=(0.3, 0.8))
    assert [place.properties["score"] for place in objects([tile], {tile.id: answer}, 100, 100, 0.5).places] == [
        0.3,
        0.8,
    ]
    (kept,) = objects([tile], {tile.id: answer}, 100, 100, 0.5, min_score=0.5).places
    assert kept.box == (40, 40, 60, 60)
    without = {tile.id: replace(answer, scores=None)}
    assert "score" not in objects([tile], without, 100, 100, 0.5).places[0].properties
    with pytest.raises(InputError, match=r"min-score: found 0\.5, but the model gives its boxes no scores"):
        objects([tile], without, 100, 100, 0.5, min_score=0.5)
