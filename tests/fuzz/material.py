"""Good files of every kind, written once, and what the verbs say of them."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from fusargpt.embedding.verbs import embed
from fusargpt.geo.prior import Prior, save_prior
from tests.fusargpt.geo.safe_products import write_product
from tests.fusargpt.geo.stac_items import write_item
from tests.fusargpt.metrics.triplets import write as write_dataset
from tests.fusargpt.scenes.scenes import write_field, write_scene
from tests.fusargpt.triplets.places import CORNERS, decibels, write_raster
from tests.modeling_fusargpt.chain import write_backbone, write_stage1, write_stage2
from tests.modeling_fusarklip.tiny_klip import stir_klip, tiny_klip, tiny_klip_processor
from tests.paths import RECIPES
from tests.release import SETTINGS, Release
from tests.release import write_backbone as write_released_backbone
from tests.tiny import random_image, random_prior, stir_tlm, tiny_model, tiny_processor
from tests.trl_recipes.triplets import write_triplets

VOC = """<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>scene.tif</filename>
<size><width>112</width><height>112</height><depth>1</depth></size>
<object><name>ship</name><bndbox>
<xmin>10</xmin><ymin>12</ymin><xmax>30</xmax><ymax>24</ymax>
</bndbox></object>
<objects><object><possibleresult><name>ship</name></possibleresult>
<points><point>50,60</point><point>70,60</point><point>70,80</point><point>50,80</point></points></object></objects>
</annotation>
"""
DOTA = "imagesource:GoogleEarth\ngsd:0.5\n10 12 30 12 30 24 10 24 ship 0\n50 60 70 60 70 80 50 80 ship 1\n"
COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "scene.tif", "width": 112, "height": 112}],
    "categories": [{"id": 1, "name": "ship"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 20, 12], "iscrowd": 0}],
}


@dataclass(frozen=True)
class Material:
    """Folders and files that the inputs are made of; nothing in them is written to again."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        """What lies under a name: `model`, `scene.tif` as `scene`."""
        found = [path for path in self.root.iterdir() if path.stem == name]
        if len(found) != 1:
            raise AttributeError(f"{name}: found {len(found)} files")
        return found[0]


def write(root: Path) -> Material:
    """Everything in `root`, a new folder."""
    root.mkdir()
    model = tiny_model()
    stir_tlm(model)
    model.save_pretrained(root / "model")
    tiny_processor().save_pretrained(root / "model")
    write_backbone(root / "backbone")
    write_stage1(root / "stage1", root / "backbone")
    write_stage2(root / "stage2", root / "backbone")
    Release(write_released_backbone(root / "released_backbone"), "old", True, SETTINGS).write(root / "release")
    write_dataset(root / "dataset")
    write_triplets(root / "triplets", 4, tasks=True)
    _write_pictures(root / "pictures")
    klip = tiny_klip()
    stir_klip(klip)
    klip.save_pretrained(root / "klip")
    tiny_klip_processor().save_pretrained(root / "klip")
    pictures = [root / "pictures" / name for name in ("colour.png", "colour.jpg", "palette.png")]
    embed(*pictures, out=root / "features.parquet", model=str(root / "klip"))
    prior = random_prior(5)
    save_prior(root / "prior.npz", Prior(prior["prior_embeddings"], prior["prior_positions"]))
    write_scene(root / "harbour.tif", side=100, ships=((20, 30, 32, 36),))
    write_field(root / "field")
    write_raster(root / "scene.tif", decibels(0, 112, 112), CORNERS[0], ACQUISITION_DATE="2021-06-01")
    digital = np.random.default_rng(0).integers(20, 400, (60, 100)).astype(np.uint16)
    (root / "product").mkdir()
    write_product(root / "product", {"VV": digital, "VH": digital})
    (root / "stac").mkdir()
    write_item(root / "stac")
    (root / "voc.xml").write_text(VOC)
    (root / "dota.txt").write_text(DOTA)
    (root / "coco.json").write_text(json.dumps(COCO))
    west, south = -118.06, 33.41
    ring = [[west, south], [west + 0.001, south], [west + 0.001, south + 0.001], [west, south]]
    feature = {
        "type": "Feature",
        "properties": {"label": "ship"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    collection = {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "OGC:CRS84"}}}
    (root / "polygons.geojson").write_text(json.dumps({**collection, "features": [feature]}))
    (root / "recipe.yaml").write_text((RECIPES / "nano" / "stage1.yaml").read_text())
    (root / "reinforcement.yaml").write_text((RECIPES / "nano" / "stage3.yaml").read_text())
    return Material(root)


def _write_pictures(folder: Path) -> None:
    folder.mkdir()
    grey = np.asarray(random_image(48, 48))[:, :, 0]
    random_image(48, 48).save(folder / "colour.png")
    random_image(48, 48).save(folder / "colour.jpg")
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    Image.fromarray(grey.astype(np.uint16) * 256).save(folder / "deep.png")
    Image.fromarray(grey).save(folder / "grey.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for name, values in {
            "float": grey.astype(np.float32) - 200,
            "complex": (grey + 1j * grey).astype(np.complex64),
            "short": grey.astype(np.int16),
        }.items():
            profile: dict[str, Any] = {"driver": "GTiff", "width": 48, "height": 48, "count": 1, "dtype": values.dtype}
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
                file.write(values, 1)
