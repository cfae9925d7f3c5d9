"""Small datasets of captions with errors whose truth is known, and a judge that knows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image

from fusargpt.geo.embeddings import quantize
from fusargpt.geo.prior import Prior
from fusargpt.scio.judge import Judge, Seen
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.facts import DIMENSIONS, LANDFORM_COLUMN, TARGET_COLUMN, TARGET_PREFIX
from fusargpt.tasks.questions import conversation
from fusargpt.triplets.features import CAPTION_FEATURES

SCENES = 12
SIDE = 24


@lru_cache
def truths() -> list[dict[str, str]]:
    """The phrases of scenes with targets, no two of which are the same."""
    found: list[dict[str, str]] = []
    seed = 0
    while len(found) < SCENES:
        phrases = scene_phrases(simulate_scene(seed))
        if phrases["target_count"] != "no targets" and phrases["terrain"] not in {one["terrain"] for one in found}:
            found.append(phrases)
        seed += 1
    return found


def truth_of(number: int) -> dict[str, str]:
    return truths()[number % SCENES]


def caption_row(number: int, phrases: dict[str, str]) -> dict[str, Any]:
    """Row `number`: the scene of that number shown by the grey of its picture, at a place of its own."""
    west = -100.0 + number * 0.37
    direction = np.random.default_rng(number).normal(size=(1, 64))
    targets = {name: phrase for name, phrase in phrases.items() if name.startswith(TARGET_PREFIX)}
    return {
        "id": f"row-{number:03d}",
        "image": Image.new("RGB", (SIDE, SIDE), (number % SCENES * 20,) * 3),
        "prior_embeddings": quantize(direction / np.linalg.norm(direction, axis=1, keepdims=True)).tolist(),
        "prior_positions": [[0.5, 0.5]],
        "prior_lonlat": [[west, 10.0]],
        "year": 2024,
        "bounds": [west, 10.0, west + 0.01, 10.01],
        "crs": "EPSG:4326",
        "sensor": "simulated SAR",
        "polarization": "VV",
        "resolution_m": 5.0,
        "acquired": "2024-06-30",
        "objects": [],
        **conversation("describe", "Describe this image.", "As it was."),
        LANDFORM_COLUMN: {name: phrases.get(name) for name in DIMENSIONS if not name.startswith(TARGET_PREFIX)},
        TARGET_COLUMN: {
            name.removeprefix(TARGET_PREFIX): targets.get(name) for name in DIMENSIONS if name.startswith(TARGET_PREFIX)
        },
    }


def write_captions_with_errors(
    folder: Path, rows: int = 96, every: int = 3, **columns: Any
) -> dict[tuple[str, str], str]:
    """A dataset in which every third row has one wrong part; returns these by id and dimension. Columns are added."""
    wrong: dict[tuple[str, str], str] = {}
    records: list[dict[str, Any]] = []
    for number in range(rows):
        phrases = dict(truth_of(number))
        if number % every == 0:
            dimension = ("terrain", "boundary", "water")[number // every % 3]
            phrases[dimension] = truth_of(number + 5)[dimension]
            if phrases[dimension] != truth_of(number)[dimension]:
                wrong[f"row-{number:03d}", dimension] = phrases[dimension]
        records.append({**caption_row(number, phrases), **columns})
    folder.mkdir(parents=True)
    features = CAPTION_FEATURES if not columns else None
    Dataset.from_list(records, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return wrong


class Oracle(Judge):
    """Knows what is true of each picture; `told` counts the images that it saw."""

    def __init__(self) -> None:
        self.told = 0
        self.fingerprint = "oracle"

    def see(self, pictures: Sequence[Image.Image], priors: Sequence[Prior | None], told: Sequence[object]) -> Seen:
        self.told += len(pictures)
        scenes = [int(np.asarray(picture)[0, 0, 0]) // 20 for picture in pictures]
        angles = torch.tensor(scenes) * 0.5
        return Seen(torch.tensor(scenes), torch.stack([angles.cos(), angles.sin()], 1))

    def fits(self, seen: Seen, texts: Sequence[str], images: Sequence[int]) -> NDArray[np.float64]:
        false = [_false(text, int(seen.tokens[image])) for text, image in zip(texts, images, strict=True)]
        return -np.array(false)[:, None] * [1.0, 4.0]

    def surprise(
        self, seen: Seen, texts: Sequence[str], spans: Sequence[tuple[int, int]], images: Sequence[int]
    ) -> NDArray[np.float64]:
        known = [{phrase.lower() for phrase in truths()[int(seen.tokens[image])].values()} for image in images]
        return np.array(
            [
                0.1 if text[start:end].lower() in phrases else 5.0
                for text, (start, end), phrases in zip(texts, spans, known, strict=True)
            ]
        )

    def fill(
        self, seen: Seen, texts: Sequence[str], spans: Sequence[tuple[int, int]], images: Sequence[int]
    ) -> list[str | None]:
        return [None] * len(texts)


def _false(text: str, scene: int) -> int:
    """Sentences of a text that are not those of the scene."""
    phrases = [phrase.lower() for phrase in truths()[scene].values()]
    return sum(not any(phrase in sentence for phrase in phrases) for sentence in text.lower().rstrip(".").split(". "))


@dataclass
class OracleFitter:
    """Fits nothing; `asked` are the halves whose captions were written."""

    most_rounds: int | None = None
    asked: list[str] = field(default_factory=list)

    def conditions(self) -> dict[str, object]:
        return {}

    def fit(self, half: str, data: Callable[[], Path], folder: Path) -> Path:
        data()
        self.asked.append(half)
        return folder
