"""What a scene's files say of how sure a model was, and tiles of which it cannot tell."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyogrio.raw import read as read_layer

from fusargpt.errors import InputError
from fusargpt.inference.counts import CountDistribution
from fusargpt.scenes import count, describe, detect, localize
from fusargpt.scenes.settings import SceneSettings
from tests.fusargpt.scenes.scenes import BrightBoxes, write_scene

TILES: dict[str, Any] = {"tile": 96, "no_prior": True, "batch_size": 4, "no_skip": True}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif")


@pytest.fixture
def model() -> BrightBoxes:
    made = BrightBoxes()
    made.sure = 0.4, CountDistribution(((0, 0.02), (1, 0.5), (3, 0.48)))
    return made


def test_boxes_have_their_scores_and_files_say_that_they_are_calibrated(
    scene: Path, model: BrightBoxes, tmp_path: Path
) -> None:
    for name in ("ships.geojson", "ships.json", "ships.gpkg", "ships.parquet"):
        detect(scene, predictor=model, out=tmp_path / name, **TILES)
    collection = json.loads((tmp_path / "ships.geojson").read_text())
    assert {feature["properties"]["score"] for feature in collection["features"]} == {0.4}
    assert collection["fusargpt"]["confidences"] == "calibrated"
    coco = json.loads((tmp_path / "ships.json").read_text())
    assert {box["score"] for box in coco["annotations"]} == {0.4} and coco["info"]["confidences"] == "calibrated"
    _, _, _, columns = read_layer(tmp_path / "ships.gpkg", layer="detect", columns=["score"])
    assert set(np.asarray(columns[0])) == {0.4}
    table = pq.read_table(tmp_path / "ships.parquet")
    assert set(table["score"].to_pylist()) == {0.4}
    assert json.loads((table.schema.metadata or {})[b"fusargpt"])["confidences"] == "calibrated"


def test_boxes_below_the_least_score_of_the_model_are_left_out_unless_another_one_is_named(
    scene: Path, model: BrightBoxes, tmp_path: Path
) -> None:
    every = detect(scene, predictor=model, **TILES)
    assert every.places and every.provenance["min_score"] == every.provenance["boxes_of_lower_scores"] == 0
    model.least = 0.41
    kept = detect(scene, predictor=model, out=tmp_path / "ships.geojson", **TILES)
    assert not kept.places and kept.provenance["min_score"] == 0.41
    # Of tiles that overlap: some are the same ship's.
    assert kept.provenance["boxes_of_lower_scores"] >= len(every.places)
    assert "boxes_of_lower_scores" not in count(scene, predictor=model, **TILES).provenance
    assert json.loads((tmp_path / "ships.geojson").read_text())["fusargpt"]["min_score"] == 0.41
    assert "scores of 0.41 or more" in kept.drawn.notes[1] and "scores" not in every.drawn.notes[1]
    named = detect(scene, predictor=model, min_score=0.4, **TILES)
    assert named.places == every.places and named.provenance["min_score"] == 0.4
    assert detect(scene, predictor=model, min_score=0, **TILES).places == every.places


def test_counts_come_with_an_interval(scene: Path, model: BrightBoxes) -> None:
    places = count(scene, predictor=model, **TILES).places
    for place in places:
        said = place.properties
        assert (said["count_low"], said["count_high"]) == (1, 3) and "abstained" not in said
        assert said["confidence"] == (0.4 if said["count"] else 1.0)


def test_a_tile_of_which_the_model_cannot_tell_says_nothing_and_is_marked(
    scene: Path, model: BrightBoxes, tmp_path: Path
) -> None:
    whole = localize(scene, predictor=model, **TILES)
    out = tmp_path / "cells.geojson"
    result = localize(scene, predictor=model, out=out, quicklook=tmp_path / "cells.png", abstain=0.5, **TILES)
    states = [place.state for place in result.places]
    assert set(states) == {"abstained", "none"} and "cell" not in {place.properties["kind"] for place in result.places}
    found = [place for place in whole.places if place.properties["kind"] == "tile" and place.state == "found"]
    assert states.count("abstained") == len(found) > 0 and not result.problems
    features = json.loads(out.read_text())["features"]
    assert {(one["properties"]["cells"], one["properties"]["abstained"]) for one in features} == {
        (None, True),
        ("", False),
    }
    assert (tmp_path / "cells.png").exists()


def test_what_a_model_does_not_say_is_no_reason_to_abstain(scene: Path) -> None:
    assert describe(scene, predictor=BrightBoxes(), **TILES).provenance["confidences"] is None
    with pytest.raises(InputError, match=r"abstain: found 0\.5, but the model gives its answers no confidences"):
        describe(scene, predictor=BrightBoxes(), abstain=0.5, **TILES)
    with pytest.raises(InputError, match=r"abstain: found a detection, .* take min-score"):
        SceneSettings(task="detect", no_prior=True, abstain=0.5)
    with pytest.raises(InputError, match="abstain: found 2; expected 0 to 1"):
        SceneSettings(task="count", no_prior=True, abstain=2)
