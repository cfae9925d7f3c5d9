"""What of FUSAR-KLIP a phase trains, and how fast."""

from torch import nn

from modeling_fusarklip.modeling_fusarklip import FusarKlipForImageClassification, FusarKlipModel
from trl_recipes.klip.arguments import KlipArguments
from trl_recipes.klip.classifier_arguments import ClassifierArguments

AnyFusarKlip = FusarKlipModel | FusarKlipForImageClassification

# Order matters: a parameter belongs to the first part with whose names it begins.
PARTS: dict[str, tuple[str, ...]] = {
    "TLM": ("vision_model.tlm.",),
    "acquisition": ("vision_model.acquisition.",),
    "image tower": ("vision_model.", "mim_head."),
    "text tower": ("text_encoder.", "word_head."),
    "projections": ("vision_proj.", "text_proj.", "temperature", "bias"),
    "matching": ("itm_head.",),
    "momentum": ("momentum_towers.",),
    "head": ("classifier.",),
}
TOWER = "image tower"
TLM = "TLM"
HEAD = "head"


def part_of(name: str) -> str:
    """The part of the model (a key of ``PARTS``) that the parameter ``name`` belongs to; KeyError if to none."""
    for part, beginnings in PARTS.items():
        if name.startswith(beginnings):
            return part
    raise KeyError(f"parameter {name} belongs to none of {', '.join(PARTS)}")


def freeze(model: AnyFusarKlip, recipe: KlipArguments | ClassifierArguments) -> None:
    """Leave gradients to exactly what ``recipe`` moves.

    What no loss of the recipe reaches stands still as well: heads that are not asked, the TLM without a prior. Weight
    decay would else shrink what is not in use.
    """
    layers = tuple(f"vision_model.encoder.layers.{index}." for index in range(model.config.geography_layer))
    below = ("vision_model.embeddings.", *layers)
    unused = _unused(model, recipe) if isinstance(recipe, KlipArguments) else ("vision_model.mask_token",)
    if recipe.prior == "none":
        unused += ("vision_model.tlm.",)
    if not recipe.acquisition:
        unused += ("vision_model.acquisition.",)
    for name, parameter in model.named_parameters():
        moves = not name.startswith(unused)
        if recipe.frozen == "below_geography":
            moves &= not name.startswith(below)
        elif recipe.frozen == "tower":
            moves &= part_of(name) != TOWER
        elif recipe.frozen == "all_but_head":
            moves &= part_of(name) == HEAD
        parameter.requires_grad_(moves)


def _unused(model: AnyFusarKlip, recipe: KlipArguments) -> tuple[str, ...]:
    """Beginnings of what no loss of a phase reaches."""
    unused: tuple[str, ...] = ("momentum_towers.",)
    if not recipe.itm:
        unused += ("itm_head.",)
    if not recipe.mlm and not recipe.lm:
        unused += ("word_head.",)
    if not recipe.itc and not recipe.uses_texts:
        unused += ("text_encoder.",)
    if not recipe.uses_texts:
        unused += tuple(name for name, _ in model.named_parameters() if ".crossattention." in name)
    if not recipe.itc:
        unused += ("vision_proj.", "text_proj.", "temperature", "bias")
    if not recipe.mim:
        unused += ("mim_head.", "vision_model.mask_token")
    return unused


def parameter_table(model: nn.Module) -> str:
    """Text table with a line for each part of the model: its parameters, and how many of them are trained."""
    totals = dict.fromkeys(PARTS, 0)
    trained = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():  # tied ones once
        totals[part_of(name)] += parameter.numel()
        trained[part_of(name)] += parameter.numel() if parameter.requires_grad else 0
    rows = [(part, totals[part], trained[part]) for part in PARTS if totals[part]]
    rows.append(("all", sum(totals.values()), sum(trained.values())))
    lines = [f"{'part':<16}{'parameters':>16}{'trained':>16}"]
    lines += [f"{part:<16}{total:>16,}{moved or 'frozen':>16{',' if moved else ''}}" for part, total, moved in rows]
    return "\n".join(lines)
