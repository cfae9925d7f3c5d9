"""The typed fields of a FUSAR-KLIP recipe, beside those of transformers' ``TrainingArguments``, and their parser."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from transformers import TrainingArguments

from fusargpt.checkpoints import shipped
from fusargpt.errors import InputError
from trl_recipes.arguments import OnFullDisk, Unreadable
from trl_recipes.recipe_parser import DECIDED_FOR_ALL, Decided, check_effect, parse_recipe

System = Literal["fusar-klip"]
SaveDtype = Literal["float32", "bfloat16"]
Frozen = Literal["none", "below_geography", "tower"]
Texts = Literal["parts", "caption"]
Prior = Literal["true", "none"]
Contrastive = Literal["softmax", "sigmoid"]

_LOGICAL = "a contrast knows no accumulation: set logical_batch_size, which is one batch however it is computed"
_NO_LABELS = "the losses are the model's own"
_SCORED_LATER = "score the result with `fusargpt evaluate --suite foundation`"
DECIDED_HERE: Decided = {
    **DECIDED_FOR_ALL,
    "remove_unused_columns": ((False,), "batches are made from columns that the model does not know"),
    "gradient_accumulation_steps": ((1,), _LOGICAL),
    "train_sampling_strategy": (("random",), "rows are drawn anew in every epoch, by data_seed"),
    "label_names": ((None, []), _NO_LABELS),
    "label_smoothing_factor": ((0.0, 0), _NO_LABELS),
    "neftune_noise_alpha": ((None,), _NO_LABELS),
    "include_for_metrics": (([],), _SCORED_LATER),
    "batch_eval_metrics": ((False,), _SCORED_LATER),
    "do_predict": ((False,), _SCORED_LATER),
    "auto_find_batch_size": ((False,), "it would change the contrast; set per_device_train_batch_size"),
}
_LOSSES = ("itc", "itm", "mlm", "lm", "mim")
_SHARES = ("hard_negatives", "prior_dropout", "acquisition_field_dropout", "acquisition_dropout", "unreadable_share")


@dataclass
class KlipArguments:
    """What a phase starts from, what it learns by, and what moves. Every field is checked; none is guessed."""

    system: System = field(metadata={"help": "fusar-klip: what a recipe is for; those of FUSAR-GPT do not say it."})
    model_name_or_path: str = field(
        metadata={
            "help": "Model to start from: a folder of FUSAR-KLIP, the output_dir of the phase before, or a Hub id; a "
            "BLIP for retrieval too, whose prior and acquisition are then new."
        }
    )
    dataset_name: list[str] = field(
        metadata={"help": "Folders of Parquet shards (or Hub datasets), read by load_dataset and concatenated."}
    )
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
    vision_learning_rate_ratio: float = field(
        default=1.0,
        metadata={"help": "Learning rate of what moves of the image tower, as a share of learning_rate."},
    )
    prior_learning_rate_ratio: float = field(
        default=1.0,
        metadata={
            "help": "Learning rate of the TLM, as a share of learning_rate. Above 1 in a short phase: what the TLM "
            "makes of unit vectors begins at zero and stays small for long."
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
    prior: Prior = field(
        default="true", metadata={"help": "true: the TLM sees the prior of the rows that have one. none: never."}
    )
    prior_dropout: float = field(
        default=0.3,
        metadata={"help": "Share of images whose prior is left out, so that the model works without it too."},
    )
    acquisition: bool = field(
        default=True,
        metadata={"help": "Whether the model is told resolution, sensor, polarization and month where rows say."},
    )
    acquisition_field_dropout: float = field(
        default=0.3, metadata={"help": "Share of the known fields of an acquisition that are left out, each by itself."}
    )
    acquisition_dropout: float = field(
        default=0.2, metadata={"help": "Share of images of whose acquisition nothing is told."}
    )
    save_dtype: SaveDtype = field(
        default="float32",
        metadata={"help": "Type of the weights that output_dir holds at the end."},
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Go on from the last complete checkpoint in output_dir; start afresh if there is none."},
    )
    unreadable: Unreadable = field(
        default="raise",
        metadata={
            "help": "What to do about rows whose image does not decode, or whose prior or texts cannot be taken; all "
            "are looked at before the first step. raise: end with the first one's name and reason. skip: leave them "
            "out, and say which at the end."
        },
    )
    unreadable_share: float = field(
        default=0.01, metadata={"help": "Share of a dataset's rows that may be unreadable (unreadable: skip)."}
    )
    on_full_disk: OnFullDisk = field(
        default="stop",
        metadata={
            "help": "When there is no room for a checkpoint. stop: end with one line; the same command goes on from "
            "the checkpoint before. continue: train on without this one."
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    dataset_config: str | None = field(default=None, metadata={"help": "Config of the dataset, as its card names it."})
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str = field(default="validation", metadata={"help": "Split of the evaluations, if any."})
    feature_cache: str | None = field(
        default=None,
        metadata={
            "help": "Folder of what the frozen layers below geography_layer give: computed once before the first "
            "step, and images are not read again. Any number of runs share it."
        },
    )
    feature_cache_gib: float = field(default=20.0, metadata={"help": "GiB that feature_cache may take on disk."})

    def __post_init__(self) -> None:
        # YAML reads an unquoted true as a boolean, and one dataset as a string.
        if self.prior is True:  # pyright: ignore[reportUnnecessaryComparison]
            self.prior = "true"
        if isinstance(self.dataset_name, str):
            self.dataset_name = [self.dataset_name]
        self.model_name_or_path = shipped(self.model_name_or_path)
        self.dataset_name = [shipped(name) for name in self.dataset_name]
        # argparse checks choices on the command line only, not those that come from YAML.
        checked = {
            "system": System,
            "frozen": Frozen,
            "texts": Texts,
            "prior": Prior,
            "contrastive": Contrastive,
            "save_dtype": SaveDtype,
            "unreadable": Unreadable,
            "on_full_disk": OnFullDisk,
        }
        for name, choices in checked.items():
            value = vars(self)[name]
            if value not in get_args(choices):
                raise InputError(f"{name}: found {value!r}, expected one of {', '.join(get_args(choices))}")
        for name in _SHARES:
            if not 0 <= vars(self)[name] <= 1:
                raise InputError(f"{name}: found {vars(self)[name]}, expected a share from 0 to 1")
        for name in _LOSSES:
            if not vars(self)[name] >= 0:
                raise InputError(f"{name}: found {vars(self)[name]}, expected 0 or a positive weight")
        if not any(vars(self)[name] for name in _LOSSES):
            raise InputError(f"{', '.join(_LOSSES)}: found 0 for each; expected one loss at least")
        for name in ("match_share", "word_share"):
            if not 0 < vars(self)[name] <= 1:
                raise InputError(f"{name}: found {vars(self)[name]}, expected a share above 0, up to 1")
        if not self.vision_learning_rate_ratio > 0:
            raise InputError(
                f"vision_learning_rate_ratio: found {self.vision_learning_rate_ratio}, expected more than 0; "
                "frozen: tower keeps the tower as it is"
            )
        if not self.prior_learning_rate_ratio > 0:
            raise InputError(
                f"prior_learning_rate_ratio: found {self.prior_learning_rate_ratio}, expected more than 0; "
                "prior: none leaves the TLM as it is"
            )
        self._check_effect()
        self._check_feature_cache()

    @property
    def uses_texts(self) -> bool:
        """Whether texts are read beside the image: matched, reconstructed or written."""
        return self.itm > 0 or self.mlm > 0 or self.lm > 0

    def _check_effect(self) -> None:
        for does, names, needs in (
            (self.itc > 0, ("contrastive",), "itc above 0"),
            (self.itc > 0, ("logical_batch_size",), "itc above 0"),
            (self.itm > 0, ("match_share", "hard_negatives"), "itm above 0"),
            (self.mlm > 0 or self.lm > 0, ("word_share",), "mlm or lm above 0"),
            (self.itm > 0 and self.texts == "parts", ("counterfactuals",), "itm above 0 and texts: parts"),
            (self.frozen != "tower", ("vision_learning_rate_ratio",), "a tower that moves (frozen)"),
            (self.prior == "true", ("prior_learning_rate_ratio",), "prior: true"),
            (self.texts == "caption", ("caption_column",), "texts: caption"),
            (self.prior == "true", ("prior_dropout",), "prior: true"),
            (self.acquisition, ("acquisition_field_dropout", "acquisition_dropout"), "acquisition: true"),
            (self.feature_cache is not None, ("feature_cache_gib",), "feature_cache"),
            (self.unreadable == "skip", ("unreadable_share",), "unreadable: skip"),
        ):
            check_effect(self, {name: self.__dataclass_fields__[name].default for name in names}, does, needs)

    def _check_feature_cache(self) -> None:
        if self.feature_cache_gib <= 0:
            raise InputError(f"feature_cache_gib: found {self.feature_cache_gib}, expected more than 0")
        if self.feature_cache is None:
            return
        if self.frozen == "none":
            raise InputError(
                f"feature_cache: found {self.feature_cache} with frozen: none, expected layers that stay as they are; "
                "leave feature_cache out, or set frozen: below_geography"
            )
        if self.mim > 0:
            raise InputError(
                f"mim: found {self.mim} with feature_cache, expected 0: masked image modelling needs the pixels"
            )


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
    if config.eval_strategy == "no":
        split = recipe.dataset_test_split
        if split != recipe.__dataclass_fields__["dataset_test_split"].default:
            raise InputError(f"dataset_test_split: found {split!r} without evaluations; set eval_strategy too")
        for name in ("do_eval", "eval_on_start", "load_best_model_at_end"):
            if vars(config)[name]:
                raise InputError(f"{name}: found true without evaluations; set eval_strategy too")
    return recipe, config
