"""The typed fields of a recipe that fine-tunes FUSAR-KLIP to classes, and their parser."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments

from fusargpt.errors import InputError
from trl_recipes.field_checks import Decided
from trl_recipes.klip.image_arguments import DECIDED_FOR_IMAGES, ImageArguments, Prior, check_evaluations
from trl_recipes.recipe_parser import parse_recipe

CLASSIFIER = "fusar-klip-classifier"
"""What `system` says in these recipes."""
METRICS = ("accuracy", "macro_f1")

System = Literal["fusar-klip-classifier"]
Frozen = Literal["none", "below_geography", "tower", "all_but_head"]
ClassWeights = Literal["none", "balanced"]

_DECIDED: Decided = {
    **DECIDED_FOR_IMAGES,
    "auto_find_batch_size": ((False,), "a run would not repeat itself; set per_device_train_batch_size"),
}


@dataclass(kw_only=True)
class ClassifierArguments(ImageArguments):
    """What a classifier starts from, the classes that it learns, and what moves. Every field is checked."""

    system: System = field(metadata={"help": "fusar-klip-classifier: what a recipe is for."})
    label_column: str = field(
        default="label",
        metadata={"help": "Column of the classes: numbers with names (ClassLabel), or texts."},
    )
    class_weights: ClassWeights = field(
        default="none",
        metadata={
            "help": "none: every row counts alike. balanced: every class counts alike in the loss, however many rows "
            "it has."
        },
    )
    frozen: Frozen = field(
        default="below_geography",
        metadata={
            "help": "What stands still. none: nothing. below_geography: the layers of the image tower below "
            "geography_layer, and its patch embedding. tower: the whole image tower; TLM, acquisition and the head "
            "move. all_but_head: the head alone moves, a linear probe by gradient."
        },
    )
    # Chips come without either more often than with it.
    prior: Prior = field(
        default="none", metadata={"help": "true: the TLM sees the prior of the rows that have one. none: never."}
    )
    acquisition: bool = field(
        default=False,
        metadata={"help": "Whether the model is told resolution, sensor, polarization and month where rows say."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"system": System, "class_weights": ClassWeights, "frozen": Frozen})
        self.check_frozen(self.frozen)
        moves = self.prior == "true" and self.frozen != "all_but_head"
        self.check_effect(moves, ("prior_learning_rate_ratio",), "prior: true and a TLM that moves (frozen)")


def parse(arguments: Sequence[str] | None = None) -> tuple[ClassifierArguments, TrainingArguments]:
    """As `trl_recipes.klip.arguments.parse`, of a recipe for classes.

    Raises:
        InputError: likewise.
    """
    recipe, config = parse_recipe(
        arguments,
        ClassifierArguments,
        TrainingArguments,
        _DECIDED,
        "trl_recipes.klip.train",
        "trl_recipes/klip/nano/classify.yaml",
    )
    check_evaluations(recipe, config)
    chosen = config.metric_for_best_model
    if chosen is not None and chosen.removeprefix("eval_") not in (*METRICS, "loss"):
        raise InputError(f"metric_for_best_model: found {chosen!r}, expected one of {', '.join((*METRICS, 'loss'))}")
    return recipe, config
