"""The fields that every recipe of FUSAR-KLIP has: where it starts, what is told of an image, how a run goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from transformers import TrainingArguments

from fusargpt.checkpoints import shipped
from fusargpt.errors import InputError
from trl_recipes.arguments import OnFullDisk, Unreadable
from trl_recipes.field_checks import DECIDED_FOR_ALL, Decided, check_effect

SaveDtype = Literal["float32", "bfloat16"]
Prior = Literal["true", "none"]

_NO_LABELS = "the losses are the model's own"
_SCORED_LATER = "score the result with `fusargpt evaluate --suite foundation`"
DECIDED_FOR_IMAGES: Decided = {
    **DECIDED_FOR_ALL,
    "remove_unused_columns": ((False,), "batches are made from columns that the model does not know"),
    "train_sampling_strategy": (("random",), "rows are drawn anew in every epoch, by data_seed"),
    "label_names": ((None, []), _NO_LABELS),
    "label_smoothing_factor": ((0.0, 0), _NO_LABELS),
    "neftune_noise_alpha": ((None,), _NO_LABELS),
    "include_for_metrics": (([],), _SCORED_LATER),
    "batch_eval_metrics": ((False,), _SCORED_LATER),
    "do_predict": ((False,), _SCORED_LATER),
}
_SHARES = ("prior_dropout", "acquisition_field_dropout", "acquisition_dropout", "unreadable_share")


@dataclass(kw_only=True)
class ImageArguments:
    """What recipes have in common. Every field is checked; none is guessed."""

    model_name_or_path: str = field(
        metadata={
            "help": "Model to start from: a folder of FUSAR-KLIP, the output_dir of the phase before, or a Hub id; a "
            "BLIP for retrieval too, whose prior and acquisition are then new."
        }
    )
    dataset_name: list[str] = field(
        metadata={"help": "Folders of Parquet shards (or Hub datasets), read by load_dataset and concatenated."}
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
        self.check_choices(
            {"prior": Prior, "save_dtype": SaveDtype, "unreadable": Unreadable, "on_full_disk": OnFullDisk}
        )
        self.check_shares(_SHARES)
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
        if self.feature_cache_gib <= 0:
            raise InputError(f"feature_cache_gib: found {self.feature_cache_gib}, expected more than 0")
        self.check_effect(self.prior == "true", ("prior_learning_rate_ratio", "prior_dropout"), "prior: true")
        self.check_effect(self.acquisition, ("acquisition_field_dropout", "acquisition_dropout"), "acquisition: true")
        self.check_effect(self.feature_cache is not None, ("feature_cache_gib",), "feature_cache")
        self.check_effect(self.unreadable == "skip", ("unreadable_share",), "unreadable: skip")

    def check_choices(self, checked: Mapping[str, Any]) -> None:
        """Raises InputError for a field that is none of its `Literal`: argparse checks those of the command line only,
        not those that come from YAML."""
        for name, choices in checked.items():
            value = vars(self)[name]
            if value not in get_args(choices):
                raise InputError(f"{name}: found {value!r}, expected one of {', '.join(get_args(choices))}")

    def check_shares(self, names: tuple[str, ...]) -> None:
        """Raises InputError for a field that is no share."""
        for name in names:
            if not 0 <= vars(self)[name] <= 1:
                raise InputError(f"{name}: found {vars(self)[name]}, expected a share from 0 to 1")

    def check_effect(self, does: bool, names: tuple[str, ...], needs: str) -> None:
        """As `trl_recipes.field_checks.check_effect`, against the fields' defaults."""
        check_effect(self, {name: self.__dataclass_fields__[name].default for name in names}, does, needs)

    def check_frozen(self, frozen: str) -> None:
        """Raises InputError for fields that say something about what does not move, or not stand still."""
        moves = frozen in ("none", "below_geography")
        self.check_effect(moves, ("vision_learning_rate_ratio",), "a tower that moves (frozen)")
        if self.feature_cache is not None and frozen == "none":
            raise InputError(
                f"feature_cache: found {self.feature_cache} with frozen: none, expected layers that stay as they are; "
                "leave feature_cache out, or set frozen: below_geography"
            )


def check_evaluations(recipe: ImageArguments, config: TrainingArguments) -> None:
    """Raises InputError for fields of evaluations where there are none."""
    if config.eval_strategy == "no":
        split = recipe.dataset_test_split
        if split != recipe.__dataclass_fields__["dataset_test_split"].default:
            raise InputError(f"dataset_test_split: found {split!r} without evaluations; set eval_strategy too")
        for name in ("do_eval", "eval_on_start", "load_best_model_at_end"):
            if vars(config)[name]:
                raise InputError(f"{name}: found true without evaluations; set eval_strategy too")
