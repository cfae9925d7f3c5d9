"""What a search finds, in which order, and where; and what it says of what it cannot do."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fusargpt.embedding.heat_map import colours, heat_map
from fusargpt.embedding.ranking import best
from fusargpt.embedding.verbs import embed, search
from fusargpt.errors import InputError
from tests.fusargpt.embedding.bright import bright_embedder
from tests.fusargpt.scenes.scenes import SHIPS, write_scene

TILES: dict[str, Any] = {"tile": 40, "no_prior": True}
# Tiles of 40 pixels that hold a ship's middle.
WITH_SHIPS = {f"{(x1 + x2) // 80 * 40},{(y1 + y2) // 80 * 40}" for x1, y1, x2, y2 in SHIPS}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


def test_words_find_the_tiles_that_they_are_about(scene: Path):
    found = search("ships", scene, top=5, embedder=bright_embedder()[0], **TILES)
    rows = found.rows()
    assert {row["id"] for row in rows} >= WITH_SHIPS and [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert len(found.scores) == 25 and found.scores.max() == pytest.approx(rows[0]["score"], abs=1e-4)
    calm = search("water", scene, top=5, embedder=bright_embedder()[0], **TILES)
    assert not WITH_SHIPS & {row["id"] for row in calm.rows()}


def test_an_image_finds_what_looks_like_it(scene: Path, tmp_path: Path):
    Image.new("L", (64, 64), 255).save(tmp_path / "white.png")
    embedder = bright_embedder()[0]
    words = search("ships", scene, top=3, embedder=embedder, **TILES)
    for query in (tmp_path / "white.png", Image.new("RGB", (64, 64), "white")):
        found = search(query, scene, top=3, embedder=embedder, **TILES)
        assert [hit.row for hit in found.hits] == [hit.row for hit in words.hits]


def test_what_was_embedded_is_searched_without_the_scene(tmp_path: Path):
    scene, out = write_scene(tmp_path / "harbour.tif"), tmp_path / "harbour.parquet"
    embedder, towers = bright_embedder()
    embed(scene, out=out, embedder=embedder, **TILES)
    scene.unlink()
    seen = len(towers.seen)
    found = search("ships", out, top=2, embedder=embedder, out=tmp_path / "found")
    assert len(towers.seen) == seen and len(found.hits) == 2
    assert sorted(path.name for path in found.files) == ["found.geojson", "heat_map.png"]


def test_matching_puts_what_it_looks_at_again_in_its_own_order(scene: Path):
    embedder, towers = bright_embedder()
    features = embed(scene, embedder=embedder, **TILES).features
    plain = search("ships", features, top=4, embedder=embedder)
    seen = len(towers.seen)
    again = search("ships", features, top=4, rerank=3, embedder=embedder)
    assert len(towers.seen) == seen + 3, "the best three are looked at again"
    # The stand-in's matching is the other way about.
    first = [hit.score for hit in again.hits[:3]]
    assert first == sorted(first) and {hit.row for hit in again.hits} == {hit.row for hit in plain.hits}
    *matches, last = [row.get("match", -1.0) for row in again.rows()]
    assert last == -1 and matches == sorted(matches, reverse=True)


def test_a_folder_has_places_scores_and_a_heat_map(scene: Path, tmp_path: Path):
    out = tmp_path / "found"
    found = search("ships", scene, top=3, out=out, embedder=bright_embedder()[0], **TILES)
    assert sorted(path.name for path in out.iterdir()) == ["features.parquet", "found.geojson", "heat_map.png"]
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path], "no journal is left"
    content = json.loads((out / "found.geojson").read_text())
    assert content["fusargpt"]["query"] == "ships" and content["fusargpt"]["searched"] == 25
    ranked = [feature["properties"] for feature in content["features"]]
    assert [each["rank"] for each in ranked] == [1, 2, 3]
    assert [each["score"] for each in ranked] == [row["score"] for row in found.rows()]
    west = min(longitude for longitude, _ in content["features"][0]["geometry"]["coordinates"][0])
    assert -118.1 < west < -118.0
    # The same again from the vectors that lie there.
    assert search("ships", out / "features.parquet", top=3, embedder=bright_embedder()[0]).rows() == found.rows()
    with pytest.raises(InputError, match="expected a new or an empty folder"):
        search("ships", scene, out=out, embedder=bright_embedder()[0], **TILES)


def test_places_of_what_lies_nowhere_are_in_pixels(tmp_path: Path):
    plain = write_scene(tmp_path / "plain.tif", georeferenced=False)
    search("ships", plain, top=2, out=tmp_path / "found", embedder=bright_embedder()[0], **TILES)
    content = json.loads((tmp_path / "found" / "found.json").read_text())
    assert [place["id"] in WITH_SHIPS for place in content["found"]] == [True, True]
    assert content["found"][0]["centre"] is None and len(content["found"][0]["box"]) == 4


def test_a_search_that_left_images_out_tries_them_again_in_the_same_folder(tmp_path: Path):
    chips = tmp_path / "chips"
    chips.mkdir()
    Image.new("L", (40, 40), 255).save(chips / "white.png")
    (chips / "broken.png").write_bytes(b"no picture")
    arguments: dict[str, Any] = {"out": tmp_path / "found", "embedder": bright_embedder()[0]}
    found = search("ships", chips, **arguments)
    assert [failure.id for failure in found.failures] == ["broken.png"] and len(found.hits) == 1
    Image.new("L", (40, 40), 0).save(chips / "broken.png")
    assert [row["id"] for row in search("ships", chips, **arguments).rows()] == ["white.png", "broken.png"]


def test_colours_tell_the_highest_from_the_lowest_and_both_from_no_score():
    boxes = np.array([[0, 0, 100, 100], [100, 0, 200, 100]], np.int32)
    picture = Image.new("RGB", (300, 100), (100, 100, 100))
    drawn = heat_map(picture, (300, 100), boxes, np.array([-0.2, 0.6], np.float32), [], "ships")
    pixels = np.asarray(drawn)[:100]
    low, high, none = pixels[50, 50], pixels[50, 150], pixels[10:90, 210:290].reshape(-1, 3)
    assert high.sum() > low.sum() + 200 and (low != 100).any()
    # Hatched: the picture as it was, and lines.
    assert {tuple(pixel) for pixel in none.tolist()} == {(100, 100, 100), (150, 150, 155)}
    # The scale is drawn below with all of its colours.
    below = {tuple(pixel) for pixel in np.asarray(drawn)[100:].reshape(-1, 3).tolist()}
    assert {tuple(colour) for colour in colours(np.array([0.0, 1.0])).tolist()} <= below
    assert drawn.height > 100


def test_lightness_grows_along_the_scale():
    lightness = colours(np.linspace(0, 1, 50)).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) >= 0).all() and lightness[-1] - lightness[0] > 200


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 50))
def test_the_best_are_those_that_sorting_all_would_give(scores: list[int], top: int):
    hits = best(np.array(scores, np.float32), top)
    assert [hit.score for hit in hits] == sorted(scores, reverse=True)[:top]
    assert len({hit.row for hit in hits}) == len(hits)
    assert all(first.row < second.row for first, second in pairwise(hits) if first.score == second.score)


@pytest.mark.parametrize(
    ("query", "options", "said"),
    [
        (" ", {}, "query: found an empty one"),
        ("zebra", {}, "the model knows no word of 'zebra'"),
        ("ships and more ships and more", {}, "more than 5 words"),
        ("ships", {"top": 0}, "top: found 0; expected 1 to"),
        ("ships", {"rerank": -1}, "rerank: found -1"),
        (Image.new("RGB", (40, 40)), {"rerank": 5}, "rerank: an image was given"),
    ],
)
def test_a_query_that_cannot_be_searched_is_told_before_anything_is_embedded(
    query: Any, options: dict[str, Any], said: str, scene: Path
):
    embedder, towers = bright_embedder()
    with pytest.raises(InputError, match=said):
        search(query, scene, embedder=embedder, **TILES, **options)
    assert not towers.seen


def test_words_that_the_model_does_not_know_are_named(scene: Path):
    assert search("zebra ships", scene, embedder=bright_embedder()[0], **TILES).unknown == ("zebra",)


def test_options_have_no_use_for_vectors(scene: Path):
    embedder = bright_embedder()[0]
    features = embed(scene, embedder=embedder, **TILES).features
    with pytest.raises(InputError, match="tile: has no use for a file of vectors"):
        search("ships", features, embedder=embedder, tile=40)
