"""A backbone, a TLM alone and a LoRA adapter on it as two stages leave them, side by side in one folder."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from fusargpt.conversion.write_artefacts import complete_adapter, write_tlm
from fusargpt.inference.backbones import model_class, read_config
from modeling_fusargpt import AnyFusarGpt
from tests.tiny import Backbone, plain_backbone, stir_tlm, tiny_model, tiny_processor
from trl_recipes.model.parameters import LANGUAGE_LINEAR_LAYERS


def write_backbone(folder: Path, backbone: Backbone = "qwen2_5") -> None:
    """A tiny model as published."""
    plain_backbone(tiny_model(backbone=backbone)).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)


def load_any(name: str, **options: Any) -> AnyFusarGpt:
    """The model with head in a folder, on either backbone."""
    return model_class(read_config(name)[0]).from_pretrained(name, **options)


def write_stage1(folder: Path, base: Path | str, read: Path | None = None, seed: int = 0) -> AnyFusarGpt:
    """A TLM alone in `folder` that names `base`, whose files are in `read`; returns the model in memory."""
    model = load_any(str(read or base))
    stir_tlm(model, seed)
    write_tlm(folder, model.config, model.model.tlm.state_dict(), str(base))
    tiny_processor().save_pretrained(folder)
    return model.eval()


def write_stage2(
    folder: Path,
    base: Path | str,
    read: Path | None = None,
    *,
    revision: str = "main",
    with_tlm: bool = False,
    seed: int = 1,
) -> Any:
    """A LoRA adapter in `folder` that names `base`, whose files are in `read`; returns peft's model in memory."""
    model = load_any(str(read or base), merge_adapter=True)
    config = model.config
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=LANGUAGE_LINEAR_LAYERS,
        modules_to_save=["tlm"] if with_tlm else None,
        task_type="CAUSAL_LM",
        init_lora_weights=False,
    )
    adapted = get_peft_model(model, settings)
    if with_tlm:
        stir_tlm(model, seed)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    complete_adapter(folder, config, str(base), revision)
    tiny_processor().save_pretrained(folder)
    return adapted.eval()
