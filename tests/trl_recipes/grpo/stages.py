"""Tiny stages of reinforcement for the tests."""

import json
from pathlib import Path

from datasets import Dataset, Features, Image, List, Value

from fusargpt.tasks.prompts import format_boxes, prompt
from tests.trl_recipes.triplets import PRIOR_FEATURES, TURN, assistant, triplet, user

ANSWERS = {
    "count": "3",
    "localize": "2, 5",
    "classify": "ship",
    "detect": format_boxes([[8, 8, 24, 20]], ["ship"]),
    "describe": "A harbour with ships.",
}


def write_rows(folder: Path, rows: int = 10) -> Path:
    """A folder with one shard (split train): triplets of all five tasks in turn."""
    features = Features({"image": Image(), **PRIOR_FEATURES, "prompt": List(TURN), "completion": List(TURN)})
    features["task"] = Value("string")
    records = []
    for seed in range(rows):
        task = list(ANSWERS)[seed % len(ANSWERS)]
        about = {"task": task, "prompt": [user(prompt(task))], "completion": [assistant(ANSWERS[task])]}
        # Two rows in turn are about the same image.
        records.append({**triplet(seed // 2, anchors=2 + seed // 2 % 3), **about})
    folder.mkdir(parents=True)
    Dataset.from_list(records, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def reinforcement(folder: Path, output_dir: Path, **fields: object) -> list[str]:
    """Arguments of a short stage from base/ on rows/ of `folder`; `fields` of the recipe replace or join these."""
    settings = {
        "system": "fusar-gpt-grpo",
        "model_name_or_path": folder / "base",
        "dataset_name": folder / "rows",
        "output_dir": output_dir,
        "train": "lora",
        "tasks": ["count", "detect"],
        "learning_rate": 1e-2,
        "max_steps": 2,
        "logging_steps": 1,
        "num_generations": 4,
        "per_device_train_batch_size": 8,
        "max_completion_length": 6,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    } | fields
    path = output_dir.with_suffix(".json")
    path.write_text(json.dumps(settings, default=str))
    return [str(path)]  # JSON is YAML
