"""What pointing learns from: detection questions about targets that are there, with dense targets of their pictures."""

from itertools import count
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
from datasets import load_dataset
from torch import Tensor
from torch.utils.data import Dataset

from fusargpt.errors import InputError
from fusargpt.simulator.records import answer
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation
from modeling_fusargpt import FusarGptProcessor
from trl_recipes.data.collator import IGNORED_LABEL, TripletCollator
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.data.rows import Batch, Message, Row
from trl_recipes.small.dense import dense_targets, draw, scene_picture, stack_targets
from trl_recipes.small.model import number_ids
from trl_recipes.small.pictures import UNKNOWN, Picture
from trl_recipes.small.sizes import SmallModel

SEEDS_PER_ITEM = 16  # item i is the first of its seeds that has a target; seven of ten have


class PointingScenes(Dataset[Row]):
    """Scenes with targets, a detection question about them, and their dense targets; item i is always the same."""

    def __init__(self, first_seed: int, scenes: int, optical_share: float) -> None:
        self.first_seed = first_seed
        self.scenes = scenes
        self.optical_share = optical_share

    def __len__(self) -> int:
        return self.scenes

    def __getitem__(self, index: int) -> Row:
        drawn = map(simulate_scene, count(self.first_seed + SEEDS_PER_ITEM * index))
        scene = next(scene for scene in drawn if scene.targets)
        label = scene.targets[0].label
        image = draw(scene, self.optical_share)
        return {
            "image": image,
            **conversation("detect", prompt("detect", label, index), answer(scene, "detect", label)),
            **vars(dense_targets(scene_picture(scene, image))),
        }


def pointing_rows(folder: Path) -> datasets.Dataset:
    """The detection questions about objects that are there, of the drawn pictures of `trl_recipes.small.rows`.

    Raises:
        InputError: none of them in the folder.
    """
    files = sorted(str(path) for path in folder.glob("train-drawn-*.parquet"))
    if files:
        rows = load_dataset("parquet", data_files=files, split="train")
        rows = rows.filter(_names_boxes, input_columns=["task", "completion"])
        if len(rows):
            return rows
    raise InputError(
        f"{folder}: no detection questions about drawn pictures; python -m trl_recipes.small.rows questions "
        f"--out {folder} writes them"
    )


def _names_boxes(task: str, completion: list[Message]) -> bool:
    return task == "detect" and bool(parse_boxes(completion[-1]["content"]).value)


class PointingRows(Dataset[Row]):
    """Stored rows, each as often as `items` has it, with dense targets of where objects are; cover is not known."""

    def __init__(self, rows: datasets.Dataset, items: int) -> None:
        self.rows = rows
        self.items = items

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> Row:
        row = cast(dict[str, Any], self.rows[index % len(self.rows)])
        boxes = np.array([item["bbox_2d"] for item in row["objects"]], float).reshape(-1, 4)
        labels = tuple(str(item["label"]) for item in row["objects"])
        unseen = np.full((row["image_height"], row["image_width"]), UNKNOWN, np.uint8)
        return {**row, **vars(dense_targets(Picture(unseen, boxes, labels, unseen)))}


class PointingCollator:
    """Conversations as in every later stage, their answers up to the first boxes; dense targets stacked.

    What comes after the first `boxes` carries no loss and is cut off: a sequence costs what it is long.
    """

    def __init__(
        self, processor: FusarGptProcessor, size: SmallModel, boxes: int, features: FeatureCache | None = None
    ) -> None:
        self.conversations = TripletCollator(processor, prior=False, features=features)
        self.numbers = torch.tensor(number_ids(processor, size))
        self.coordinates = 4 * boxes

    def __call__(self, items: list[Row]) -> Batch:
        return self.first_boxes(self.conversations(items)) | stack_targets(items)

    def first_boxes(self, batch: Batch) -> Batch:
        """The batch without what comes after the first boxes of its answers."""
        labels: Tensor = batch["labels"]
        is_number = torch.isin(labels, self.numbers)
        named = is_number.cumsum(1)
        within = (named < self.coordinates) | (is_number & (named == self.coordinates))
        is_whole = named[:, -1:] <= self.coordinates  # so that it ends as it does
        labels = labels.masked_fill(~(within | is_whole), IGNORED_LABEL)
        length = int((labels != IGNORED_LABEL).any(0).nonzero().max()) + 1
        sequences = {name: batch[name][:, :length] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
        return {**batch, **sequences, "labels": labels[:, :length]}
