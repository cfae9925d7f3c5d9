"""What a stage trains: freezing, LoRA, and the table that shows both."""

from typing import cast

import torch
from peft import LoraConfig, PeftModel
from torch import nn

from fusargpt.errors import InputError
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.arguments import RecipeArguments

# Every linear layer of the language model's blocks; neither the vision tower, the merger, the TLM nor lm_head. Without
# "model." they are those of the model without its head, so that AutoModel takes the adapter as well.
LANGUAGE_LINEAR_LAYERS = r"(model\.)?language_model\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"

# Order matters: a parameter belongs to the first part whose name it contains. Qwen3-VL has several mergers.
PARTS = {
    "LoRA": "lora_",
    "TLM": ".tlm.",
    "merger": "merger",
    "vision tower": ".visual.",
    "language model": ".language_model.",
    "lm_head": "lm_head.",
}


def without_adapters(model: nn.Module) -> AnyFusarGpt:
    """The model itself, where adapters of peft stand around it."""
    return cast(AnyFusarGpt, model.get_base_model() if isinstance(model, PeftModel) else model)


def part_of(name: str) -> str:
    """The part of the model (a key of ``PARTS``) that the parameter ``name`` belongs to; KeyError if to none."""
    for part, mark in PARTS.items():
        if mark in name:
            return part
    raise KeyError(f"parameter {name} belongs to none of {', '.join(PARTS)}")


def freeze(model: AnyFusarGpt, recipe: RecipeArguments) -> None:
    """Leave gradients to exactly the parameters that ``recipe.train`` moves; LoRA comes later, on the frozen model.

    With ``all`` the TLM stays frozen too: the backbone is pre-trained without the prior, so the TLM is not called.
    A frozen vision tower runs without autograd from here on. Under activation checkpointing transformers asks the
    gradient of every embedding, that of the patches too, and the tower would be gone through backwards for nothing.
    """
    moving = {
        "tlm": ("TLM",),
        "tlm+lora": (),  # peft freezes everything and thaws its own copy of the TLM
        "lora": (),
        "language": ("language model", "lm_head"),
        "all": ("merger", "vision tower", "language model", "lm_head"),
    }[recipe.train]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in moving)
    if "vision tower" not in moving:
        tower = model.model.visual
        tower.forward = torch.no_grad()(tower.forward)
    if recipe.trains_tlm:
        # The TLM is small; in bfloat16 most of its updates would round away.
        model.model.tlm.float()


def lora_config(recipe: RecipeArguments) -> LoraConfig | None:
    """The peft adapter of ``train: lora`` and ``tlm+lora`` (the TLM in ``modules_to_save``); None otherwise."""
    if not recipe.trains_lora:
        return None
    return LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=LANGUAGE_LINEAR_LAYERS,
        modules_to_save=["tlm"] if recipe.trains_tlm else None,
        task_type="CAUSAL_LM",
    )


def check_prior_has_effect(model: AnyFusarGpt, recipe: RecipeArguments) -> None:
    """Raise InputError when a frozen TLM is still the identity, so that the priors of the rows would change nothing.

    ``fusion: none`` is the ablation without a fusion and passes.
    """
    tlm = model.model.tlm
    if recipe.prior == "none" or recipe.trains_tlm or tlm.config.fusion == "none":
        return
    with torch.no_grad():
        # One token with one anchor in its middle.
        tokens = torch.ones(1, model.lm_head.in_features, dtype=model.dtype)
        embeddings = nn.functional.normalize(torch.ones(1, 1, tlm.config.prior_size), dim=-1)
        positions, mask = torch.full((1, 1, 2), 0.5), torch.ones(1, 1, dtype=torch.bool)
        modulated = tlm(tokens, [(tlm.merge_size, tlm.merge_size)], embeddings, positions, mask)
    if torch.equal(modulated, tokens):
        raise InputError(
            f"train: {recipe.train} freezes the TLM, but the TLM is still the identity: it would ignore the prior. "
            "Start from the output of stage 1 (train: tlm or tlm+lora), or set prior: none"
        )


def parameter_table(model: nn.Module) -> str:
    """Text table with a line for each part of the model: its parameters, and how many of them are trained."""
    totals = dict.fromkeys(PARTS, 0)
    trained = dict.fromkeys(PARTS, 0)
    counted: set[int] = set()
    for name, module in model.named_modules():
        # peft keeps the original of a module that it trains a copy of: not a weight of the model being trained.
        if ".original_module" in name:
            continue
        for kind, parameter in module.named_parameters(recurse=False):
            if id(parameter) in counted:  # a head that is tied to the embeddings
                continue
            counted.add(id(parameter))
            # Weights in 4 bits are packed, in a shape of their own.
            size = parameter.numel()
            if isinstance(module, nn.Linear) and kind == "weight":
                size = module.in_features * module.out_features
            part = part_of(f"{name}.{kind}")
            totals[part] += size
            trained[part] += size if parameter.requires_grad else 0
    rows = [(part, totals[part], trained[part]) for part in reversed(PARTS) if totals[part]]
    rows.append(("all", sum(totals.values()), sum(trained.values())))
    lines = [f"{'part':<16}{'parameters':>16}{'trained':>16}"]
    lines += [f"{part:<16}{total:>16,}{moved or 'frozen':>16{',' if moved else ''}}" for part, total, moved in rows]
    return "\n".join(lines)
