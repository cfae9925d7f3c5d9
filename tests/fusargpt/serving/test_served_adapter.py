"""Adapters that vLLM would answer wrongly with are known by their files, without vLLM and without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fusargpt.errors import InputError
from fusargpt.serving.served_adapter import check_served_adapter

LANGUAGE = "base_model.model.model.language_model.layers.0.self_attn.q_proj"


def adapter(folder: Path, *layers: str) -> Path:
    folder.mkdir()
    halves = [f"{layer}.lora_{half}.weight" for layer in layers for half in "AB"]
    save_file({name: np.zeros((1, 1), np.float32) for name in halves}, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize(
    "layer",
    [
        "base_model.model.model.visual.blocks.1.attn.qkv",
        "base_model.model.model.visual.merger.mlp.0",
        "base_model.model.visual.blocks.1.attn.qkv",  # as before Qwen2.5-VL's parts moved into `model`
        "base_model.model.model.visual.deepstack_merger_list.0.linear_fc1",
    ],
)
def test_lora_in_tower_or_merger_is_refused_by_name(tmp_path: Path, layer: str) -> None:
    folder = adapter(tmp_path / "ships", LANGUAGE, layer)
    with pytest.raises(InputError) as error:
        check_served_adapter(folder)
    name = layer.removeprefix("base_model.model.").removeprefix("model.")
    assert str(error.value) == (
        f"{folder}/adapter_model.safetensors: found weights for {name} (1 layers of the vision tower or its merger), "
        "which vLLM leaves out; it applies adapters to the language model alone. Merge it with its base, and serve "
        f"that: fusargpt merge {folder} --out WHOLE"
    )


def test_adapters_of_the_language_model_pass(tmp_path: Path) -> None:
    check_served_adapter(adapter(tmp_path / "ships", LANGUAGE, "base_model.model.lm_head"))
    (tmp_path / "nothing").mkdir()
    check_served_adapter(tmp_path / "nothing")  # vLLM says what it misses


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"adapter_model.safetensors: cannot be read as safetensors"):
        check_served_adapter(tmp_path)


def test_it_takes_no_torch() -> None:
    code = "import sys, fusargpt.serving.served_adapter; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
