"""Adapter folders as peft and TRL's trainer write them: they load, merge and are saved again as peft's own model is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from fusargpt.conversion.merge import merge
from fusargpt.errors import InputError
from fusargpt.evaluation.entries import enter
from fusargpt.inference.loading import load
from modeling_fusargpt.artefacts import ArtefactError
from tests.modeling_fusargpt.chain import load_any, write_backbone, write_stage1
from tests.tiny import stir_tlm, tiny_inputs, tiny_model, tiny_processor

INPUTS = tiny_inputs(tiny_processor())
TARGETS: dict[str, dict[str, Any]] = {
    "layers": {"target_modules": ["q_proj"]},
    "head": {"target_modules": ["q_proj", "lm_head"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "both": {"target_modules": ["embed_tokens", "lm_head"]},
    "both as one": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "head whole": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embeddings whole": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 5, 81]}},
    "bias": {"target_modules": ["q_proj"], "bias": "lora_only"},
    "tower": {"target_modules": r".*visual.*\.(qkv|proj)"},
}
# What transformers would leave out of an adapter that stays apart; tokens where embeddings and head are one.
MERGED_ALONE = {("dora", True), ("dora", False), ("tokens", True)}


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    # peft ties a head's adapter to that of the embeddings as a transposed view; read from a file it is laid out by
    # rows, and on some processors a product's last bits depend on that.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return model(**INPUTS).logits


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model, whose head is its embeddings or has weights of its own."""
    folder = tmp_path_factory.mktemp("base") / ("tied" if request.param else "untied")
    model = tiny_model(tie_word_embeddings=request.param)
    stir_tlm(model)
    model.save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def adapted(base: Path, out: Path, **settings: Any) -> torch.Tensor:
    """Writes an adapter that says something, by peft alone; returns the logits of peft's model in memory."""
    torch.manual_seed(1)
    options = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", init_lora_weights=False, **settings)
    model: Any = get_peft_model(load_any(str(base)), options)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad and "lora_" not in name:
                value.add_(0.3 * torch.randn(value.shape))
    model.save_pretrained(str(out))
    return logits(model.eval())


@pytest.mark.parametrize("name", TARGETS)
def test_an_adapter_answers_as_in_memory_apart_merged_and_saved_again(base: Path, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    expected = adapted(base, folder, **TARGETS[name])
    assert not (folder / "config.json").exists()
    assert (expected - logits(load_any(str(base)))).abs().max() > 1e-3

    within = 1e-6 * max(1.0, float(expected.abs().max()))
    merged = load_any(str(folder), merge_adapter=True)
    torch.testing.assert_close(logits(merged), expected, atol=within, rtol=0)
    merged.save_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(load_any(str(tmp_path / "whole"))), expected, atol=within, rtol=0)
    # Other programs go by the configuration.
    saved = load_file(tmp_path / "whole" / "model.safetensors")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    has_head = "lm_head.weight" in saved
    assert config["tie_word_embeddings"] == (not has_head)
    assert not (has_head and config["text_config"]["tie_word_embeddings"])

    if (name, base.name == "tied") in MERGED_ALONE:
        with pytest.raises(
            ArtefactError, match=r"which transformers does not load .*; load it with merge_adapter=True"
        ):
            load_any(str(folder))
        return
    apart = load_any(str(folder))
    torch.testing.assert_close(logits(apart), expected, atol=0, rtol=0)
    apart.save_pretrained(tmp_path / "elsewhere" / "again")
    again = tmp_path / "elsewhere" / "again"
    assert not (again / "model.safetensors").exists()
    torch.testing.assert_close(logits(AutoModelForImageTextToText.from_pretrained(again)), expected, atol=0, rtol=0)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(load_any(str(base)), again).eval()), expected)


def test_what_cannot_be_merged_says_why(base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "adapter", target_modules=["o_proj"], lora_bias=True)
    with pytest.raises(ArtefactError, match=r"adapter: the adapter cannot be merged: .*`lora_bias=True`"):
        load_any(str(tmp_path / "adapter"), merge_adapter=True)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_type": "LOHA"}))
    with pytest.raises(ArtefactError, match=r"peft_type: found .*LOHA, expected LORA"):
        load_any(str(tmp_path / "adapter"), merge_adapter=True)


def test_an_adapter_is_not_pushed_before_it_is_saved(base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "adapter", **TARGETS["layers"])
    model = load_any(str(tmp_path / "adapter"))
    with pytest.raises(ArtefactError, match="push_to_hub: found True, expected False; save the adapter"):
        model.save_pretrained(tmp_path / "again", push_to_hub=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """backbone/ as published, stage1/ (a TLM on it), and adapters that peft alone has written on each."""
    place = tmp_path_factory.mktemp("place")
    write_backbone(place / "backbone")
    write_stage1(place / "stage1", place / "backbone")
    for base in ("backbone", "stage1"):
        adapted(place / base, place / f"on {base}", **TARGETS["layers"])
    return place


@pytest.mark.parametrize("base", ["backbone", "stage1"])
def test_every_command_takes_a_folder_that_peft_has_written(place: Path, base: str, tmp_path: Path) -> None:
    folder = place / f"on {base}"
    assert {path.name for path in folder.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    expected = logits(AutoModelForImageTextToText.from_pretrained(folder)) if base == "stage1" else None
    model = load(folder, device="cpu")
    if expected is not None:
        torch.testing.assert_close(logits(model.model), expected, atol=1e-6, rtol=0)
    # The processor is that of the base.
    assert model.processor.image_processor.patch_size == tiny_processor().image_processor.patch_size
    (entry, *_) = enter([str(folder)], ["true"], "auto")
    assert entry.model_type == ("qwen2_5_vl" if base == "backbone" else "fusargpt")
    merge(folder, tmp_path / "whole")
    torch.testing.assert_close(logits(load(tmp_path / "whole", device="cpu").model), logits(model.model))


def test_its_own_processor_goes_before_that_of_its_base(place: Path, tmp_path: Path) -> None:
    adapted(place / "stage1", tmp_path / "adapter", **TARGETS["layers"])
    processor = tiny_processor()
    processor.image_size = 48
    processor.save_pretrained(tmp_path / "adapter")
    assert load(tmp_path / "adapter", device="cpu").processor.image_size == 48


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"found notes.txt; expected a model folder with config.json or adapter_conf"):
        load(tmp_path)


def test_a_base_that_is_not_there_is_named(place: Path, tmp_path: Path) -> None:
    adapted(place / "stage1", tmp_path / "adapter", **TARGETS["layers"])
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "/gone/model"}))
    for take in (lambda: load(tmp_path / "adapter"), lambda: enter([str(tmp_path / "adapter")], ["true"], "auto")):
        with pytest.raises(InputError, match=r"base_model_name_or_path: found /gone/model, but there is no folder"):
            take()
