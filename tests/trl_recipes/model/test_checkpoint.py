"""What a stage writes at its end: how large it is at 7B, and in which type."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file

from fusargpt.inference.backbones import read_processor
from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.paths import RECIPES
from tests.tiny import tiny_model, tiny_processor
from trl_recipes.arguments import RecipeArguments, Train, parse
from trl_recipes.model.checkpoint import load_model, save_stage
from trl_recipes.model.parameters import lora_config
from trl_recipes.planning.sizes import qwen_7b_config

# The tokenizer of Qwen2.5-VL (tokenizer.json and the files beside it), configurations and code.
OTHER_FILES = 15e6


@pytest.fixture(scope="module")
def model() -> FusarGptForConditionalGeneration:
    """The 7B model without its weights."""
    with torch.device("meta"):
        return FusarGptForConditionalGeneration(qwen_7b_config())


def size(model: FusarGptForConditionalGeneration, recipe: RecipeArguments) -> float:
    """Bytes of the folder that the stage leaves."""
    settings = lora_config(recipe)
    if settings is None:
        weights = model.model.tlm.state_dict()
    else:
        with torch.device("meta"):
            adapted = get_peft_model(model, settings)
        weights = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        adapted.unload()
    return sum(tensor.numel() for tensor in weights.values()) * getattr(torch, recipe.dtype).itemsize + OTHER_FILES


@pytest.mark.parametrize(
    ("name", "overrides", "limit"),
    [
        ("stage1.yaml", [], 0.25e9),
        ("stage2.yaml", [], 0.35e9),
        ("stage1.yaml", ["--train", "tlm+lora"], 0.35e9),
    ],
)
def test_artefacts_of_7b_are_small(model: FusarGptForConditionalGeneration, name: str, overrides: Any, limit: float):
    overrides = [*overrides, "--bf16", "false", "--activation_checkpointing", "false", "--use_cpu", "true"]
    recipe, _ = parse([str(RECIPES / name), *overrides])
    assert recipe.save == "trained"
    assert 0.04e9 < size(model, recipe) < limit


@pytest.mark.parametrize("train", ["tlm", "lora", "tlm+lora"])
def test_artefacts_are_written_in_the_dtype_of_the_recipe(tmp_path: Path, train: Train):
    tiny_model().save_pretrained(tmp_path / "base")
    recipe = RecipeArguments(str(tmp_path / "base"), ["data"], train, save="trained", dtype="bfloat16")
    trained = load_model(recipe.model_name_or_path, dtype=torch.bfloat16)
    trained.model.tlm.float()
    settings, processor = lora_config(recipe), tiny_processor()
    processor.calibration = {"count": {"temperature": 2.0, "offset": 0.0}}
    save_stage(
        trained if settings is None else get_peft_model(trained, settings), processor, recipe, str(tmp_path / "out")
    )
    # It was of the weights before.
    assert read_processor(str(tmp_path / "out")).calibration is None
    (path,) = (tmp_path / "out").glob("*.safetensors")
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.bfloat16}
    assert load_model(str(tmp_path / "out"), dtype=torch.bfloat16).dtype == torch.bfloat16
