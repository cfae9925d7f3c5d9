"""Training with FSDP2: how its blocks compute, and the whole model again where something is saved."""

import os
from typing import cast

import torch
from accelerate import Accelerator
from peft import PeftModel, get_peft_model
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from transformers import AutoModelForImageTextToText

from fusargpt.errors import InputError
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.arguments import RecipeArguments
from trl_recipes.model.parameters import without_adapters


def check_sharding(accelerator: Accelerator, recipe: RecipeArguments) -> None:
    """Raise InputError where an accelerate config asks for FSDP and cannot have it, or would get something else."""
    if os.environ.get("ACCELERATE_USE_FSDP") != "true":
        return
    if accelerator.distributed_type != "FSDP":
        raise InputError(
            f"fsdp_config: found {accelerator.num_processes} processes on {accelerator.device.type}, expected several "
            "on GPUs, where accelerate shards; launch with the config ddp.yaml or cpu.yaml"
        )
    if not accelerator.is_fsdp2:
        raise InputError("fsdp_version: found 1, expected 2, as in trl_recipes/accelerate/fsdp2.yaml")
    if recipe.quantization != "none":
        raise InputError(
            f"quantization: found {recipe.quantization} under FSDP2, expected none: blocks of 4 bits are not divided; "
            "launch with the config ddp.yaml"
        )


def compute_in_given_types(accelerator: Accelerator) -> None:
    """Leave the types of a step to autocast, as without FSDP2.

    accelerate's own policy rounds all that enters a block to 16 bits, the positions of anchors and the angles of the
    vision tower among it, sums gradients in 16 bits, and rounds the losses of tokens.
    """
    if accelerator.mixed_precision != "no":
        policy = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        plugin = accelerator.state.fsdp_plugin
        assert plugin is not None, "accelerate has one for FSDP2"
        plugin.mixed_precision_policy = policy


def gather_head(model: AnyFusarGpt) -> None:
    """Have FSDP2 gather lm_head where TRL's loss reads it.

    The loss takes the head's weights without calling it. From weights still sharded it makes whole ones, and each
    process would keep its own gradient of its part instead of the mean of all.
    """

    def gather(*_call: object) -> None:
        head = model.get_output_embeddings()
        if isinstance(head, FSDPModule):
            head.unshard()

    model.get_submodule("model").register_forward_pre_hook(gather)


def whole_model(model: torch.nn.Module, accelerator: Accelerator) -> AnyFusarGpt | PeftModel | None:
    """The model as it is without any wrapper, on the CPU where it was sharded. Every process has to call this.

    None in all processes but the first when the model is sharded: its weights are gathered there.
    """
    plain = cast(AnyFusarGpt | PeftModel, accelerator.unwrap_model(model))
    if not accelerator.is_fsdp2:
        return plain
    state = accelerator.get_state_dict(model)
    if not accelerator.is_main_process:
        return None
    sharded = without_adapters(plain)
    with torch.device("meta"):
        base = cast(AnyFusarGpt, AutoModelForImageTextToText.from_config(sharded.config))
        whole: AnyFusarGpt | PeftModel = base
        if isinstance(plain, PeftModel):
            base.name_or_path = sharded.name_or_path
            whole = cast(PeftModel, get_peft_model(base, plain.peft_config["default"]))
    base.generation_config = sharded.generation_config
    whole.load_state_dict(state, assign=True)
    base.tie_weights()
    return whole
