"""QLoRA: a step for real on the CPU, the 7B on the meta device, and what a plan says of it."""

import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from peft import PeftModel
from safetensors.torch import load_file

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptForConditionalGeneration
from tests.tiny import tiny_config
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import write_triplets
from trl_recipes.arguments import RecipeArguments, parse
from trl_recipes.model.checkpoint import load_model, save_stage
from trl_recipes.model.parameters import freeze, lora_config, parameter_table, part_of
from trl_recipes.model.quantization import adapt_quantized, quantize
from trl_recipes.planning.flops import Shape, Stage
from trl_recipes.planning.memory import Run, memory_per_gpu
from trl_recipes.planning.sizes import QWEN_7B_SIZES, qwen_7b_config, sizes_of
from trl_recipes.sft import make_trainer

CPU, META = torch.device("cpu"), torch.device("meta")
LORA = RecipeArguments("model", ["data"], "lora", save="trained", quantization="nf4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """A tiny model in base/, whose TLM is not the identity, and triplets in data/."""
    folder = tmp_path_factory.mktemp("quantized")
    write_base(folder)
    write_triplets(folder / "data")
    return folder


def quantized_layers(model: torch.nn.Module) -> dict[str, Linear4bit]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


@pytest.mark.parametrize("train", ["lora", "tlm+lora", "tlm"])
def test_weights_in_4_bits_stay_and_what_trains_on_them_moves(folder: Path, tmp_path: Path, train: str):
    fields = {"train": train, "save": "trained", "quantization": "nf4", "bf16": True, "activation_checkpointing": True}
    recipe, config = parse(arguments(folder, tmp_path / "out", **fields))
    trainer = make_trainer(recipe, config)
    layers = quantized_layers(trainer.model)
    assert len(layers) == 2 * 7 and all("language_model.layers" in name for name in layers)
    assert {layer.weight.dtype for layer in layers.values()} == {torch.uint8}
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    assert trained and {parameter.dtype for parameter in trained} == {torch.float32}
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}

    trainer.train()

    after = trainer.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == {"lora": {"LoRA"}, "tlm": {"TLM"}, "tlm+lora": {"LoRA", "TLM"}}[train]
    save_stage(cast(Any, trainer.model), trainer.processing_class, recipe, str(tmp_path / "out"))
    (path,) = (tmp_path / "out").glob("*.safetensors")
    assert all("lora_" in name or "tlm" in name for name in load_file(path))
    # What is left goes onto the weights that it names, which 4 bits have not rounded.
    base, result = load_model(str(folder / "base")), load_model(str(tmp_path / "out"))
    moved = {
        part_of(name)
        for (name, value), other in zip(base.named_parameters(), result.parameters(), strict=True)
        if not torch.equal(value, other)
    }
    assert moved == {"lora": {"language model"}, "tlm": {"TLM"}, "tlm+lora": {"language model", "TLM"}}[train]


def test_the_7b_is_built_with_every_adapted_layer_in_4_bits_and_counted_whole():
    with META:
        model = FusarGptForConditionalGeneration(qwen_7b_config())
        freeze(model, LORA)
        quantize(model, double=True, compute_type=torch.bfloat16, device=META)
        adapter = lora_config(LORA)
        assert adapter is not None
        adapted = adapt_quantized(model, adapter)
    assert isinstance(adapted, PeftModel) and len(quantized_layers(adapted)) == 28 * 7
    rows = {line[:16].strip(): line[16:].split() for line in parameter_table(adapted).splitlines()[1:]}
    counts = {**QWEN_7B_SIZES.parameters(), "LoRA": QWEN_7B_SIZES.lora(8)}
    expected = {part: [f"{count:,}", "frozen"] for part, count in counts.items()}
    expected["LoRA"][1] = expected["LoRA"][0]
    expected["all"] = [f"{sum(counts.values()):,}", f"{counts['LoRA']:,}"]
    assert rows == expected


@pytest.mark.parametrize("double", [True, False])
def test_a_plan_s_weights_in_4_bits_are_those_that_are_held(double: bool):
    tiny: dict[str, Any] = tiny_config().to_dict()
    text = tiny["text_config"] | {"hidden_size": 256, "intermediate_size": 768}
    vision = tiny["vision_config"] | {"out_hidden_size": 256}
    text["rope_parameters"]["mrope_section"] = [8, 12, 12]
    config = tiny_config(text_config=text, vision_config=vision, tlm_config={"fusion": "none"})
    model = FusarGptForConditionalGeneration(config)
    freeze(model, LORA)
    quantize(model, double=double, compute_type=torch.float32, device=CPU)
    layers = quantized_layers(model)
    packed = {id(layer.weight) for layer in layers.values()}
    held = sum(parameter.nbytes for parameter in model.parameters() if id(parameter) not in packed)
    for layer in layers.values():
        state = cast(Any, layer.weight).quant_state
        scales = [state.absmax] + ([state.state2.absmax] if double else [])
        held += layer.weight.nbytes + sum(tensor.nbytes for tensor in scales)
    run = Run(Stage("lora", 8, False, False), 4, 4, "sdpa", 8, sequences=1, gpus=1, double_quantization=double)
    planned = memory_per_gpu(sizes_of(config.to_dict()), Shape(8, 8, 16, 15, None), run, "qlora").weights
    assert planned - 4 * sizes_of(config.to_dict()).lora(8) == pytest.approx(held, rel=0.005)


def test_without_bitsandbytes_the_user_learns_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn.modules", None)
    model = FusarGptForConditionalGeneration(tiny_config())
    with pytest.raises(InputError, match=r"pip install --editable '.*\[qlora\]'"):
        quantize(model, double=True, compute_type=torch.float32, device=CPU)
