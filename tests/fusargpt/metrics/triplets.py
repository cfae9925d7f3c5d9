"""Small datasets of triplet records, written as `load_dataset` finds them, and models that answer about them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from fusargpt.geo.embeddings import quantize
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation
from fusargpt.triplets.features import RECORD_FEATURES
from tests.tiny import Backbone, plain_backbone, random_image, random_prior, stir_tlm, tiny_model, tiny_processor

ANSWERS = {
    "describe": ("Mostly water. Two ships on the water.", "Crops and trees. No targets.", "Built area beside water."),
    "count": ("2", "0", "1"),
    "localize": ("1, 5", "None", "9"),
    "classify": ("ship", "None", "aircraft"),
    "detect": (
        '[{"bbox_2d": [0, 0, 16, 8], "label": "ship"}, {"bbox_2d": [20, 4, 30, 20], "label": "ship"}]',
        "None",
        '[{"bbox_2d": [8, 8, 24, 24], "label": "ship"}]',
    ),
}


def rows(tasks: Sequence[str] = tuple(ANSWERS), anchors: int = 4, first: int = 0) -> list[dict[str, Any]]:
    """A row for each of three images and each task; images differ in size, priors by image."""
    made = []
    for image, (height, width) in enumerate(((32, 48), (48, 32), (32, 48))):
        prior = random_prior(anchors, seed=first + image)
        for task in tasks:
            fields = dict.fromkeys(RECORD_FEATURES)
            fields |= {
                "id": f"chip-{first + image}-{task}",
                "image": random_image(height, width, seed=first + image),
                "prior_embeddings": quantize(prior["prior_embeddings"]),
                "prior_positions": prior["prior_positions"],
                **conversation(task, prompt(task, wording=image), ANSWERS[task][image]),
            }
            made.append(fields)
    return made


SPOILT = (
    "row 1: id: found None; expected a text",
    "row 3: id: 'chip-0-describe' is that of row 0 already",
    "chip-0-localize: task: found 'counting'; expected one of describe",
    "chip-0-detect: task: found None; expected one of describe",
    "chip-1-describe: prompt: expected one message, of the user",
    "chip-1-count: prompt: expected one message, of the user",
    "chip-1-localize: image: ",
    "chip-1-classify: ",
)
"""What is said of the rows that `spoil` alters."""


def spoil(made: list[dict[str, Any]]) -> None:
    """Make rows that cannot be asked, of the first two images, each in another way."""
    made[1]["id"] = None
    made[3]["id"] = made[0]["id"]
    made[2]["task"] = "counting"
    made[4]["task"] = None
    made[5]["prompt"] = None
    made[6]["prompt"] = made[6]["prompt"] * 2
    made[7]["image"] = None
    made[8]["image"] = {"bytes": b"no image", "path": None}


def write(folder: Path, change: Callable[[list[dict[str, Any]]], Any] | None = None) -> str:
    """A dataset of `rows` with the splits train and test; `change` alters the rows of the test split."""
    folder.mkdir(exist_ok=True)
    test = rows()
    if change is not None:
        change(test)
    for split, made in (("train", rows(first=10)), ("test", test)):
        columns = {name: [row[name] for row in made] for name in RECORD_FEATURES}
        Dataset.from_dict(columns, features=RECORD_FEATURES).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def write_model(folder: Path) -> str:
    """A tiny FUSAR-GPT whose answers depend on the prior."""
    model = tiny_model()
    stir_tlm(model)
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return str(folder)


def write_backbone(folder: Path, backbone: Backbone = "qwen2_5") -> str:
    """A tiny Qwen-VL without a TLM, with files as the Hub has them."""
    plain_backbone(tiny_model(seed=1, backbone=backbone)).save_pretrained(folder)
    processor = tiny_processor()
    processor.image_processor.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    return str(folder)


def read_results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())
