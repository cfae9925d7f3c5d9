"""The typed fields of a FUSAR-KLIP recipe, beside those of transformers' ``TrainingArguments``, and their parser."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments

from fusargpt.errors import InputError
from trl_recipes.field_checks import Decided
from trl_recipes.klip.image_arguments import DECIDED_FOR_IMAGES, ImageArguments, check_evaluations
from trl_recipes.recipe_parser import parse_recipe

System = Literal["fusar-klip"]
Frozen = Literal["none", "below_geography", "tower"]
Texts = Literal["parts", "caption"]
Contrastive = Literal["softmax", "sigmoid"]

_LOGICAL = "a contrast knows no accumulation: set logical_batch_size, which is one batch however it is computed"
DECIDED_HERE: Decided = {
    **DECIDED_FOR_IMAGES,
    "gradient_accumulation_steps": ((1,), _LOGICAL),
    "auto_find_batch_size": ((False,), "it would change the contrast; set per_device_train_batch_size"),
}
LOSSES = ("itc", "itm", "mlm", "lm", "mim")


@dataclass(kw_only=True)
class KlipArguments(ImageArguments):
    """What a phase starts from, what it learns by, and what moves. Every field is checked; none is guessed."""

    system: System = field(metadata={"help": "fusar-klip: what a recipe is for; those of FUSAR-GPT do not say it."})
    itc: float = field(default=1.0, metadata={"help": "Weight of the contrast of images and texts; 0 for none."})
    itm: float = field(default=0.0, metadata={"help": "Weight of matching; 0 for none."})
    mlm: float = field(default=0.0, metadata={"help": "Weight of the reconstruction of masked words; 0 for none."})
    lm: float = field(default=0.0, metadata={"help": "Weight of captioning; 0 for none."})
    word_share: float = field(
        default=1.0, metadata={"help": "Share of a batch whose words are reconstructed (mlm) and said in turn (lm)."}
    )
    mim: float = field(default=0.0, metadata={"help": "Weight of masked image modelling; 0 for none."})
    contrastive: Contrastive = field(
        default="softmax", metadata={"help": "softmax: against the whole batch. sigmoid: each pair by itself."}
    )
    match_share: float = field(default=1.0, metadata={"help": "Share of a batch that is matched (itm)."})
    hard_negatives: float = field(
        default=1.0,
        metadata={
            "help": "Share of the false pairs (itm) that are drawn by their likeness; the others are any that are "
            "false. Below 1 where matching begins at random: of hard ones alone it learns nothing."
        },
    )
    counterfactuals: bool = field(
        default=True,
        metadata={"help": "Texts with one fact exchanged for a false one are negatives too (itm, texts: parts)."},
    )
    frozen: Frozen = field(
        default="none",
        metadata={
            "help": "What stands still. none: nothing. below_geography: the layers of the image tower below "
            "geography_layer, and its patch embedding. tower: the whole image tower; TLM and acquisition move."
        },
    )
    logical_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Pairs that are contrasted at once in a process, computed per_device_train_batch_size at a time in "
            "two passes; default: per_device_train_batch_size, in one."
        },
    )
    texts: Texts = field(
        default="parts",
        metadata={
            "help": "parts: two to eight parts of both descriptions, drawn anew in every epoch, with their facts. "
            "caption: the text of caption_column."
        },
    )
    caption_column: str = field(default="caption", metadata={"help": "Column of the texts (texts: caption)."})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices({"system": System, "frozen": Frozen, "texts": Texts, "contrastive": Contrastive})
        self.check_shares(("hard_negatives",))
        for name in LOSSES:
            if not vars(self)[name] >= 0:
                raise InputError(f"{name}: found {vars(self)[name]}, expected 0 or a positive weight")
        if not any(vars(self)[name] for name in LOSSES):
            raise InputError(f"{', '.join(LOSSES)}: found 0 for each; expected one loss at least")
        for name in ("match_share", "word_share"):
            if not 0 < vars(self)[name] <= 1:
                raise InputError(f"{name}: found {vars(self)[name]}, expected a share above 0, up to 1")
        for does, names, needs in (
            (self.itc > 0, ("contrastive", "logical_batch_size"), "itc above 0"),
            (self.itm > 0, ("match_share", "hard_negatives"), "itm above 0"),
            (self.mlm > 0 or self.lm > 0, ("word_share",), "mlm or lm above 0"),
            (self.itm > 0 and self.texts == "parts", ("counterfactuals",), "itm above 0 and texts: parts"),
            (self.texts == "caption", ("caption_column",), "texts: caption"),
        ):
            self.check_effect(does, names, needs)
        self.check_frozen(self.frozen)
        if self.feature_cache is not None and self.mim > 0:
            raise InputError(
                f"mim: found {self.mim} with feature_cache, expected 0: masked image modelling needs the pixels"
            )

    @property
    def uses_texts(self) -> bool:
        """Whether texts are read beside the image: matched, reconstructed or written."""
        return self.itm > 0 or self.mlm > 0 or self.lm > 0


def parse(arguments: Sequence[str] | None = None) -> tuple[KlipArguments, TrainingArguments]:
    """Read `recipe.yaml` and the ``--key value`` pairs after it, which override it (``sys.argv`` when None).

    Raises:
        InputError: for no recipe, one that cannot be read or is not YAML, a key that no field has, or a value that a
            field does not allow.
    """
    recipe, config = parse_recipe(
        arguments, KlipArguments, TrainingArguments, DECIDED_HERE, "trl_recipes.klip.train", "trl_recipes/klip/p0.yaml"
    )
    size, logical = config.per_device_train_batch_size, recipe.logical_batch_size
    if logical is not None and (type(logical) is not int or logical < size or logical % size):
        raise InputError(
            f"logical_batch_size: found {logical!r}, expected a multiple of per_device_train_batch_size, {size}"
        )
    check_evaluations(recipe, config)
    return recipe, config
