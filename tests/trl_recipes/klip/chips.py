"""Labelled chips of a few pixels for the tests that train classifiers."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow

from fusargpt.triplets.features import CAPTION_FEATURES
from tests.trl_recipes.klip.phases import IMAGE_SIZE, klip_arguments
from tests.trl_recipes.triplets import triplet

NAMES = ("bulk carrier", "tanker", "trawler")
TOLD = ("prior_embeddings", "prior_positions", "sensor", "polarization", "resolution_m", "acquired")


def chip(seed: int, label: int) -> Pillow.Image:
    """A grey picture with noise, brighter by class."""
    pixels = np.random.default_rng(seed).normal(60 + 60 * label, 15, (IMAGE_SIZE, IMAGE_SIZE))
    return Pillow.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


def chip_row(seed: int) -> dict[str, Any]:
    """A row with prior and acquisition; every sixth is of the first class, the others of the two others in turn."""
    label = 0 if seed % 6 == 0 else 1 + seed % 2
    prior = triplet(seed, anchors=2 + seed % 3)
    return {
        "image": chip(seed, label),
        "label": label,
        **{name: prior[name] for name in ("prior_embeddings", "prior_positions")},
        "sensor": "simulated SAR" if seed % 3 else "",
        "polarization": "VV",
        "resolution_m": 5.0,
        "acquired": "2024-06-30",
    }


def write_chips(folder: Path, rows: int = 24, texts: bool = False, **replaced: Any) -> Path:
    """A folder with the splits train, validation and test.

    Args:
        folder: to be made.
        rows: of train; the other splits have 12.
        texts: whether classes are texts instead of numbers with names.
        replaced: columns of the last row of validation.
    """
    label = Value("string") if texts else ClassLabel(names=list(NAMES))
    features = Features({"image": Image(), "label": label, **{name: CAPTION_FEATURES[name] for name in TOLD}})
    folder.mkdir(parents=True)
    first = 0
    for split, count in (("train", rows), ("validation", 12), ("test", 12)):
        records = [chip_row(seed) for seed in range(first, first + count)]
        first += count
        if texts:
            records = [{**record, "label": NAMES[record["label"]]} for record in records]
        if split == "validation":
            records[-1] |= replaced
        Dataset.from_list(records, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def classifier_arguments(folder: Path, output_dir: Path, **fields: object) -> list[str]:
    """Those of a short run from base/ on chips/ of `folder`; `fields` of the recipe replace or join these."""
    own = {"system": "fusar-klip-classifier", "dataset_name": folder / "chips"}
    return klip_arguments(folder, output_dir, **own | fields)
