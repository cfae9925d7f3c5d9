"""The whole path: a simulated world on disk, triplets built from it, `load_dataset`, the collator, the model.

What is checked against the world is read from its files with rasterio, or comes from its ground.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset

from fusargpt.geo.embeddings import NODATA, dequantize
from fusargpt.simulator.world import ground_of, scene_of
from fusargpt.simulator.world_plan import Place
from fusargpt.tasks.facts import DIMENSIONS, parse_phrase, phrases_of
from fusargpt.triplets.build import build
from fusargpt.triplets.settings import BuildSettings
from tests.fusargpt.simulator.worlds import World, make_world, sample
from tests.tiny import stir_tlm, tiny_model, tiny_processor
from trl_recipes.data.collator import TripletCollator

pytestmark = pytest.mark.slow
CHIP = 112  # leaves images as they are both for the tiny model's processor and for Qwen's
YEARS = (2023, 2024)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Five places: every georeference, stored value and kind of annotation."""
    return make_world(tmp_path_factory.mktemp("world"), places=5, years=YEARS, seed=1, sides=(112, 140))


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triplets") / "dataset"
    # All of it is for training, so that one split holds every place.
    settings = BuildSettings(aef=str(world.folder / "aef"), chip_size=CHIP, anchors=6, shares=(1.0, 0.0, 0.0))
    report = build(world.folder / "manifest.jsonl", out, settings, workers=0)
    assert not report.failures
    return out


@pytest.fixture(scope="module")
def rows(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    cache = str(tmp_path_factory.mktemp("cache"))
    loaded = {}
    for config in ("captions", "instructions"):
        dataset = load_dataset(str(folder), config, split="train", cache_dir=cache)
        assert isinstance(dataset, Dataset)
        loaded[config] = dataset
    return loaded


def place_and_corner(world: World, row: dict[str, Any]) -> tuple[Place, np.ndarray]:
    """The place of a record, and the first pixel (x, y) of its chip in the place's scene."""
    name, *rest = row["id"].split("/")
    (place,) = (place for place in world.places if place.name == name)
    corner = re.fullmatch(r"x(\d+)y(\d+)", rest[0])
    return place, np.array([int(corner[1]), int(corner[2])] if corner else [0, 0])


def chips(world: World, rows: dict[str, Dataset]):
    """One record of each chip with its place and corner."""
    seen = set()
    for row in rows["instructions"]:
        assert isinstance(row, dict)
        name = row["id"].rsplit("/", 1)[0]
        if name not in seen:
            seen.add(name)
            yield row, *place_and_corner(world, row)


def test_every_place_is_in_both_configs(world: World, rows: dict[str, Dataset]):
    for dataset in rows.values():
        assert {identifier.split("/")[0] for identifier in dataset["id"]} == {place.name for place in world.places}
        assert all(image.size == (CHIP, CHIP) for image in dataset["image"])


def test_an_anchor_lies_where_its_position_says(world: World, rows: dict[str, Dataset]):
    for row, place, corner in chips(world, rows):
        lonlat, positions = np.array(row["prior_lonlat"]), np.array(row["prior_positions"])
        pixels = corner + positions[:, ::-1] * (CHIP - 1) + 0.5
        tolerance = 0.02 if place.storage == "control points" else 1e-3
        np.testing.assert_allclose(place.geometry.to_pixel(lonlat), pixels, atol=tolerance)
        assert len(positions) >= 20, "most of the 36 nodes lie in the chip, however it is turned"


def test_an_anchor_has_the_vector_that_its_year_has_at_its_longitude_and_latitude(
    world: World, rows: dict[str, Dataset]
):
    for row, place, _ in chips(world, rows):
        vectors = dequantize(np.array(row["prior_embeddings"], np.int8))
        lonlat = np.array(row["prior_lonlat"])
        assert row["year"] == int(place.acquired[:4])
        for year in YEARS:
            # Where two zones meet, their tiles have pixels of their own; either is right.
            likeness = np.full(len(lonlat), -1.0)
            for tile in world.tiles(place, year):
                codes = sample(tile, lonlat)
                held = codes[:, 0] != NODATA
                likeness[held] = np.maximum(likeness[held], (vectors[held] * dequantize(codes[held])).sum(1))
            assert (likeness > 0.99999).all() == (year == row["year"]) and (likeness > 0.99).all()


def test_an_anchor_has_the_vector_of_the_land_cover_beneath_it(world: World, rows: dict[str, Dataset]):
    """The region whose vector is nearest is of the class that the land cover has there, and the image, too."""
    right_on_the_map, right_in_the_image = [], []
    for row, place, corner in chips(world, rows):
        ground = ground_of(place)
        scene = scene_of(place, ground)
        vectors = dequantize(np.array(row["prior_embeddings"], np.int8))
        named = ground.landcover[(vectors @ ground.embedding.T).argmax(1)]
        lonlat = np.array(row["prior_lonlat"])
        cover = sample(world.folder / "land_cover" / f"{place.name}.tif", lonlat)[:, 0]
        right_on_the_map += (named == cover).tolist()
        x, y = (corner + np.array(row["prior_positions"])[:, ::-1] * (CHIP - 1) + 0.5).astype(int).T
        right_in_the_image += (named == scene.landcover[scene.region[y, x]]).tolist()
    assert len(right_on_the_map) > 300
    # Not all: a 10 m pixel on a boundary belongs to one of its sides.
    assert np.mean(right_on_the_map) > 0.95 and np.mean(right_in_the_image) > 0.95


def test_answers_agree_with_the_targets_of_the_ground(world: World, rows: dict[str, Dataset]):
    asked = 0
    for row in rows["instructions"]:
        assert isinstance(row, dict)
        place, corner = place_and_corner(world, row)
        scene = scene_of(place, ground_of(place))
        boxes = np.reshape([target.box for target in scene.targets], (-1, 4)) - np.tile(corner, 2)
        whole = boxes[((boxes >= 0) & (boxes <= CHIP)).all(1)]
        question, answer = row["prompt"][0]["content"], row["completion"][0]["content"]
        about = "aircraft" if "aircraft" in question else "ship"
        label = "aircraft" if place.kind == "airfield" else "ship"
        found = np.reshape([item["bbox_2d"] for item in row["objects"]], (-1, 4))
        # Every object that the chip holds whole is one of its own, to the rounding of polygons.
        for box in whole:
            assert np.abs(found - box).max(1).min() <= 1
        if row["task"] == "count":
            asked += 1
            assert int(answer) == (len(found) if about == label else 0)
        if row["task"] == "detect":
            named = [] if answer == "None" else [item["bbox_2d"] for item in json.loads(answer)]
            assert named == (found.tolist() if about == label else [])
    assert asked > 4


def test_captions_are_written_in_eight_dimensions(rows: dict[str, Dataset]):
    for row in rows["captions"]:
        assert isinstance(row, dict)
        description, text = row["description"], row["completion"][0]["content"]
        assert len(description) == 8 and all(phrase[1:] in text for phrase in description.values())
        if row["objects"]:
            assert "ship" in description["distribution"] or "aircraft" in description["distribution"]
        phrases = phrases_of(row)
        assert set(phrases) == set(DIMENSIONS)
        assert parse_phrase("target_count", phrases["target_count"]) == len(row["objects"])


@pytest.mark.parametrize("config", ["captions", "instructions"])
def test_the_model_learns_from_the_triplets(rows: dict[str, Dataset], config: str):
    processor, model = tiny_processor(), tiny_model()
    stir_tlm(model, scale=0.2)
    batch = TripletCollator(processor)([rows[config][index] for index in (0, -1)])
    assert batch["prior_embeddings"].shape[0] == 2 and batch["prior_mask"].any(1).all()
    loss = model(**batch).loss
    assert torch.isfinite(loss)
    loss.backward()
    gradients = [parameter.grad for parameter in model.model.tlm.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() and gradient.any() for gradient in gradients)
    batch["prior_embeddings"] = -batch["prior_embeddings"]
    assert model(**batch).loss != loss, "the prior reaches the loss"
