"""Tiny stages for the tests that train: a model to start from, a recipe's arguments, and what a stage has left."""

import json
from pathlib import Path
from typing import Any

import torch

from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.tiny import stir_tlm, tiny_model, tiny_processor


def write_base(folder: Path) -> None:
    """A tiny model in base/, whose TLM is not the identity."""
    model = tiny_model()
    stir_tlm(model)
    model.save_pretrained(folder / "base")
    tiny_processor().save_pretrained(folder / "base")


def arguments(folder: Path, output_dir: Path, **fields: object) -> list[str]:
    """Those of a short stage from base/ on data/ of `folder`; `fields` of the recipe replace or join these."""
    settings = {
        "model_name_or_path": folder / "base",
        "dataset_name": folder / "data",
        "output_dir": output_dir,
        "learning_rate": 1e-2,
        "max_steps": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "disable_tqdm": True,
    } | fields
    path = output_dir.with_suffix(".json")
    path.write_text(json.dumps(settings | {"max_length": None}, default=str))
    return [str(path)]  # JSON is YAML


def result(output_dir: Path) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Logged steps and the trained TLM."""
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    model = FusarGptForConditionalGeneration.from_pretrained(output_dir, dtype="float32")
    return [entry for entry in history if "loss" in entry], model.model.tlm.state_dict()
