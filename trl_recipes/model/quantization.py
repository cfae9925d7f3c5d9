"""The language model's linear layers in 4 bits (QLoRA, arXiv 2305.14314); what trains, trains on top of them."""

import re
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from fusargpt.errors import InputError
from fusargpt.inference.quantization import in_4_bits
from fusargpt.installation import command_for
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.model.parameters import LANGUAGE_LINEAR_LAYERS


def quantize(model: AnyFusarGpt, double: bool, compute_type: torch.dtype, device: torch.device) -> None:
    """Replace the linear layers that LoRA adapts by NF4 ones, layer by layer and on `device`.

    Vision tower, merger, TLM, embeddings and lm_head stay as they are. On the meta device nothing is computed.

    Args:
        model: with its weights as they were loaded; changed in place.
        double: whether the scales of blocks are quantized themselves, which saves 0.37 bits a weight.
        compute_type: in which products are computed.
        device: on which the quantized weights lie.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    adapted = re.compile(LANGUAGE_LINEAR_LAYERS)
    try:
        for name, layer in list(model.named_modules()):
            if adapted.fullmatch(name):
                assert isinstance(layer, nn.Linear)
                model.set_submodule(name, in_4_bits(layer, double, compute_type, device))
    except ModuleNotFoundError as error:
        raise InputError(f"quantization: nf4 needs bitsandbytes; this brings it: {command_for('qlora')}") from error


def adapt_quantized(model: AnyFusarGpt, adapter: LoraConfig) -> PeftModel:
    """LoRA on a quantized model, in float32."""
    # peft chooses its layers by this mark. Left there, TRL would bring all that trains to bfloat16, in which updates of
    # a learning rate of 1e-5 round away.
    marked: Any = model
    marked.is_loaded_in_4bit = True
    adapted = get_peft_model(model, adapter)
    del marked.is_loaded_in_4bit
    assert isinstance(adapted, PeftModel)
    return adapted
