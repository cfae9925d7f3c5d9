"""Images searched by words: what is found, within which limits, and what is not computed twice."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from space_app.scene_search import SceneSearch, Searched
from space_app.scenes import UploadedScene, typed_geometry
from tests.fusargpt.embedding.bright import BrightTowers, bright_embedder
from tests.tiny import random_prior


def uploaded(width: int = 100, height: int = 90, place: str = "8.05, 53.56, 8.07, 53.57") -> UploadedScene:
    """Black, but for the tile of 40 pixels whose corner is at (40, 0)."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:40, 40:80] = 255
    picture = Image.fromarray(pixels).convert("RGB")
    geometry = typed_geometry(place, width, height) if place else None
    return UploadedScene("chip.tif", picture, picture, ("",), "", None, geometry, False, "")


def search(searcher: SceneSearch, scene: UploadedScene | None = None, **options: Any) -> Searched:
    arguments: dict[str, Any] = {"key": "chip", "words": "ships", "prior": None, "side": 40, "seconds": 60}
    *_, last = searcher.search(scene=scene or uploaded(), **{**arguments, **options})
    return last


@pytest.fixture
def searcher() -> tuple[SceneSearch, BrightTowers]:
    embedder, towers = bright_embedder()
    return SceneSearch(embedder), towers


def test_the_tile_that_the_words_are_about_comes_first(searcher: tuple[SceneSearch, BrightTowers]):
    searched = search(searcher[0])
    assert (searched.state, searched.tiles, len(searched.scores)) == ("whole", 9, 9)
    best = searched.as_json()["found"][0]
    assert best["bbox_pixels"] == [40, 0, 80, 40] and best["score"] == 1
    assert best["centre"] == pytest.approx([8.062, 53.5678], abs=1e-3)
    places = searched.feature_collection()
    assert places is not None and sorted(each["properties"]["rank"] for each in places["features"]) == [*range(1, 10)]
    drawn = np.asarray(searched.draw())
    assert drawn[100, 420].sum() > drawn[600, 420].sum() + 200


def test_without_a_place_there_is_no_map(searcher: tuple[SceneSearch, BrightTowers]):
    searched = search(searcher[0], uploaded(place=""))
    assert searched.feature_collection() is None and searched.as_json()["found"][0]["centre"] is None


def test_the_next_words_look_at_no_tile_again(searcher: tuple[SceneSearch, BrightTowers]):
    search(searcher[0])
    assert len(searcher[1].seen) == 9
    calm = search(searcher[0], words="water")
    assert len(searcher[1].seen) == 9 and calm.scores[calm.best[0]] == 1
    search(searcher[0], key="another")
    assert len(searcher[1].seen) == 18


def test_a_search_that_ran_out_of_time_goes_on(searcher: tuple[SceneSearch, BrightTowers]):
    scene = uploaded(400, 400)
    part = search(searcher[0], scene, seconds=0)
    assert part.state == "out of time" and 0 < len(part.scores) < part.tiles == 100
    # What has no score is hatched.
    assert part.draw().height > 400
    assert search(searcher[0], scene).state == "whole" and len(searcher[1].seen) == 100


def test_each_tile_has_the_anchors_within_it(searcher: tuple[SceneSearch, BrightTowers]):
    embeddings = random_prior(2)["prior_embeddings"]
    positions = np.array([[0.1, 0.5], [0.9, 0.9]], np.float32)
    search(searcher[0], prior=Prior(embeddings, positions))
    priors = [prior for _, prior, _ in searcher[1].seen]
    assert [prior is not None for prior in priors] == [False, True, *[False] * 6, True]
    first = priors[1]
    assert first is not None and np.array_equal(first.embeddings, embeddings[:1])
    # Row 8.9 of 40, column 49.5 - 40 of 40.
    assert first.positions[0] == pytest.approx([8.9 / 39, 9.5 / 39], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"words": ""}, "Write first what to search for"),
        ({"words": "x" * 501}, "501 characters; at most 500"),
        ({"words": "zebra"}, "knows no word of 'zebra'"),
        ({"side": 20}, "Tile: found 20 pixels; expected 28"),
    ],
)
def test_what_cannot_be_searched_is_one_line(
    searcher: tuple[SceneSearch, BrightTowers], options: dict[str, Any], said: str
):
    with pytest.raises(InputError, match=said):
        search(searcher[0], **options)


def test_too_many_tiles_are_told_with_the_side_that_fits(searcher: tuple[SceneSearch, BrightTowers]):
    scene = uploaded(2000, 2000)
    with pytest.raises(InputError, match=r"5,184 tiles of this image; .* Choose 63 pixels or more"):
        search(searcher[0], scene, side=28)
    assert search(searcher[0], scene, side=63).tiles == 1024
