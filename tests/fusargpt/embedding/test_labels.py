"""Classes by labels: as maps, tables and pictures, of scenes, folders and vectors."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyogrio.raw import read as read_layer

import fusargpt
from fusargpt.embedding.verbs import classify, embed
from fusargpt.errors import InputError
from tests.fusargpt.embedding.bright import bright_embedder
from tests.fusargpt.scenes.scenes import BrightBoxes, write_scene

TILES: dict[str, Any] = {"tile": 40, "no_prior": True}
LABELS = ("water", "ships")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One ship that fills most of its tile.
    return write_scene(tmp_path_factory.mktemp("scene") / "harbour.tif", ships=((42, 42, 78, 78),))


def test_a_tile_has_the_label_whose_caption_is_nearest(scene: Path, tmp_path: Path):
    out = tmp_path / "classes.geojson"
    result = classify(
        scene, labels=LABELS, out=out, quicklook=tmp_path / "classes.png", embedder=bright_embedder()[0], **TILES
    )
    content = json.loads(out.read_text())
    assert content["fusargpt"]["labels"] == [*LABELS]
    assert content["fusargpt"]["prompt"] == "the terrain is mostly {label}"
    classes = {each["properties"]["id"]: each["properties"]["class"] for each in content["features"]}
    assert {name for name, label in classes.items() if label == "ships"} == {"40,40"}
    assert result.counts() == {"water": 24, "ships": 1}
    shares = content["features"][0]["properties"]["probabilities"]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert result.files == (out, tmp_path / "classes.png")
    drawn = np.asarray(Image.open(tmp_path / "classes.png"))
    # Below the title: the tile of the ship in one colour, all others in another.
    top = int(np.argmax((drawn != 255).any(2).mean(1) > 0.5))
    water, ship = drawn[top + 200, 200].astype(int), drawn[top + 600, 600].astype(int)
    assert water[0] > water[2] and ship[2] > ship[0]


def test_shares_are_the_softmax_of_scaled_cosines(scene: Path):
    result = classify(scene, labels=LABELS, embedder=bright_embedder()[0], **TILES)
    # The first tile has nothing white: its vector is that of "water", at a right angle to "ships".
    water, ships = result.probabilities[0]
    assert water / ships == pytest.approx(np.exp(10), rel=1e-3)


def test_classes_are_layers_and_tables_too(scene: Path, tmp_path: Path):
    for suffix in ("gpkg", "json", "csv"):
        classify(scene, labels=LABELS, out=tmp_path / f"c.{suffix}", embedder=bright_embedder()[0], **TILES)
    layer = read_layer(tmp_path / "c.gpkg", layer="classify")
    assert "class" in layer[0]["fields"].tolist() and len(layer[2]) == 25
    places = json.loads((tmp_path / "c.json").read_text())["places"]
    with (tmp_path / "c.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["class"] for row in rows] == [place["class"] for place in places]
    assert float(rows[0]["water"]) + float(rows[0]["ships"]) == pytest.approx(1, abs=1e-3)
    assert [rows[1][edge] for edge in ("x1", "y1", "x2", "y2")] == ["40", "0", "80", "40"]


def test_folders_and_vectors_are_classified_alike(tmp_path: Path):
    chips = tmp_path / "chips"
    chips.mkdir()
    Image.new("L", (40, 40), 255).save(chips / "white.png")
    Image.new("L", (40, 40), 0).save(chips / "black.png")
    embedder = bright_embedder()[0]
    result = classify(chips, labels=LABELS, prompt="{label} here", embedder=embedder)
    assert result.classes == ["water", "ships"] and result.prompt == "{label} here"
    again = classify(embed(chips, embedder=embedder).features, labels=LABELS, embedder=embedder)
    assert again.classes == result.classes
    with pytest.raises(InputError, match="no georeference, and so no map"):
        classify(chips, labels=LABELS, out=tmp_path / "c.geojson", embedder=embedder)
    with pytest.raises(InputError, match=r"quicklook: c\.png is of a scene"):
        classify(chips, labels=LABELS, quicklook=tmp_path / "c.png", embedder=embedder)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ("water",)}, "labels: found water; expected two or more"),
        ({"labels": ("water", "water")}, "expected two or more different ones"),
        ({"labels": LABELS, "prompt": "water"}, "prompt: found 'water'; expected a text with {label} in it"),
        ({"labels": LABELS, "out": Path("c.txt")}, "c.txt; expected a name that ends in .geojson"),
        ({"labels": LABELS, "predictor": BrightBoxes()}, "predictor: FUSAR-GPT knows no labels"),
        ({"prompt": "{label}"}, "labels: there are none"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(options: dict[str, Any], said: str, scene: Path):
    with pytest.raises(InputError, match=said):
        classify(scene, embedder=bright_embedder()[0], **TILES, **options)


def test_without_labels_it_is_the_targets_class(scene: Path):
    model = BrightBoxes()
    result = fusargpt.classify(scene, predictor=model, no_skip=True, **TILES)
    assert "class" in model.asked[0][1] and len(result.places) == len(model.asked) == 25
