"""Small triplet datasets for the tests of the recipes."""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

TURN = {"role": Value("string"), "content": Value("string")}
PRIOR_FEATURES = {"prior_embeddings": List(List(Value("int8"))), "prior_positions": List(List(Value("float32")))}
QUESTIONS = ("How many ships are there in this image?", "Describe this image.")
ANSWERS = ("3", "A harbour with ships.")
TASKS = ("count", "describe")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def triplet(seed: int, kind: str = "prompt", anchors: int = 4) -> dict[str, Any]:
    """A row with a noise image of 56x56 px and a random prior; ``kind`` is "prompt" or "messages"."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(anchors, 64))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    row: dict[str, Any] = {
        "image": Pillow.fromarray(generator.integers(0, 256, (56, 56, 3), dtype=np.uint8)),
        "prior_embeddings": np.round(np.sign(directions) * np.abs(directions) ** 0.5 * 127.5).astype(int).tolist(),
        "prior_positions": generator.random((anchors, 2), dtype=np.float32).tolist(),
    }
    if kind == "messages":
        row["messages"] = [
            turn
            for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
            for turn in (user(question), assistant(answer))
        ]
    else:
        row["prompt"] = [user(QUESTIONS[seed % 2])]
        row["completion"] = [assistant(ANSWERS[seed % 2])]
    return row


def write_triplets(
    folder: Path, rows: int = 8, kind: str = "prompt", without: tuple[str, ...] = (), tasks: bool = False
) -> Path:
    """A folder with one Parquet shard (split train) of ``rows`` triplets.

    ``without`` names columns to leave out; with ``tasks`` each row says its own.
    """
    conversation = {"messages": List(TURN)} if kind == "messages" else {"prompt": List(TURN), "completion": List(TURN)}
    features = Features({"id": Value("string"), "image": Image(), **PRIOR_FEATURES, **conversation})
    records = [{"id": str(seed), **triplet(seed, kind, anchors=2 + seed % 3)} for seed in range(rows)]
    if tasks:
        features["task"] = Value("string")
        records = [{**record, "task": TASKS[seed % 2]} for seed, record in enumerate(records)]
    folder.mkdir(parents=True)
    shard = Dataset.from_list(records, features=features).remove_columns(list(without))
    shard.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder
