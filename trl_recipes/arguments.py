"""The typed fields of a recipe, beside those of TRL's ``SFTConfig``, and the strict parser of both."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast, get_args

from fusargpt.checkpoints import shipped
from fusargpt.errors import InputError
from trl_recipes.field_checks import DECIDED_FOR_ALL, Decided, check_effect

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig

    from trl_recipes.stage_config import StageConfig

Train = Literal["tlm", "tlm+lora", "lora", "all", "language"]
Prior = Literal["true", "none"]
Save = Literal["full", "trained"]
Dtype = Literal["float32", "bfloat16"]
Quantization = Literal["none", "nf4"]
EarlierAnswers = Literal["hidden", "visible"]
Bf16OnCpu = Literal["always", "where_faster"]
OnFullDisk = Literal["stop", "continue"]
Unreadable = Literal["raise", "skip"]
AnswerWeight = Literal["tokens", "square_root", "answers"]

# Fields of SFTConfig that this script or its collator decides, or that nothing here reads: the values that each may
# have, and what to use instead.
_NOT_PACKED = "images are not packed"
_ON_ANSWERS = "loss always falls on the answers alone"
_PROCESSORS = "the processor brings its"
DECIDED_HERE: Decided = {
    **DECIDED_FOR_ALL,
    "max_length": ((None,), "cutting a sequence can cut image tokens away from their pixels"),
    "truncation_mode": (("keep_start",), "nothing is cut"),
    "remove_unused_columns": ((False,), "the prior columns would be dropped"),
    "packing": ((False,), _NOT_PACKED),
    "packing_strategy": (("bfd",), _NOT_PACKED),
    "eval_packing": ((None, False), _NOT_PACKED),
    "padding_free": ((False,), _NOT_PACKED),
    "assistant_only_loss": ((False,), _ON_ANSWERS),
    "completion_only_loss": ((None,), _ON_ANSWERS),
    "shuffle_dataset": ((False,), "rows are drawn anew in every epoch, see train_sampling_strategy and data_seed"),
    "dataset_text_field": (("text",), "rows hold messages, or prompt and completion"),
    "dataset_kwargs": ((None,), "images are prepared batch by batch"),
    "pad_to_multiple_of": ((None,), "batches are padded to their longest row"),
    "chat_template_path": ((None,), f"{_PROCESSORS} chat template"),
    "eos_token": ((None,), f"{_PROCESSORS} tokens"),
    "pad_token": ((None,), f"{_PROCESSORS} tokens"),
    "model_init_kwargs": ((None,), "use dtype, attn_implementation and model_revision"),
    "trust_remote_code": ((False,), "models are loaded by this package's own code"),
    "router_aux_loss_coef": ((None,), "the model has no experts"),
    "include_for_metrics": (([],), "answers are scored by eval_answers"),
    "batch_eval_metrics": ((False,), "answers are scored by eval_answers"),
    "do_predict": ((False,), "answer the test split with `fusargpt evaluate`"),
}


@dataclass
class RecipeArguments:
    """What a stage starts from, what it moves, and what it leaves behind. Every field is checked; none is guessed."""

    model_name_or_path: str = field(
        metadata={"help": "Model to start from: a Hub id, a model folder, or the output_dir of the stage before."}
    )
    dataset_name: list[str] = field(
        metadata={"help": "Folders of Parquet shards (or Hub datasets), read by load_dataset and concatenated."}
    )
    train: Train = field(
        metadata={
            "help": "What moves. tlm: the TLM alone. tlm+lora: the TLM, and LoRA on every linear layer of the language "
            "model. lora: LoRA alone, the TLM frozen. language: the language model alone, vision tower and TLM frozen. "
            "all: the whole backbone (vision tower, merger, language model), for its pre-training; the TLM is frozen."
        }
    )
    prior: Prior = field(
        default="true",
        metadata={"help": "true: rows carry the prior and the TLM sees it. none: train without, as in pre-training."},
    )
    save: Save = field(
        default="full",
        metadata={
            "help": "What output_dir holds at the end. full: a whole model, LoRA merged (the adapter beside it, in "
            "adapter/). trained: only what was trained, naming its base: tlm.safetensors, or a peft adapter."
        },
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Go on from the last complete checkpoint in output_dir; start afresh if there is none."},
    )
    unreadable: Unreadable = field(
        default="raise",
        metadata={
            "help": "What to do about rows whose image does not decode, or whose prior or conversation the collator "
            "cannot take; all are looked at before the first step. raise: end with the first one's name and reason. "
            "skip: leave them out, and say which at the end."
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
    train_minutes: float | None = field(
        default=None,
        metadata={
            "help": "Minutes of training after which the stage ends, whatever its steps; its learning rate then "
            "follows the clock on a cosine. Makes what takes a lent machine's time fit it; a resumed run begins anew."
        },
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    dtype: Dtype = field(default="float32", metadata={"help": "Type of the frozen weights; trained ones are float32."})
    quantization: Quantization = field(
        default="none",
        metadata={
            "help": "nf4: the frozen linear layers of the language model are held in 4 bits, quantized when the model "
            "is loaded (QLoRA; needs bitsandbytes, and save: trained). none: in dtype."
        },
    )
    double_quantization: bool = field(
        default=True,  # QLoRA, arXiv 2305.14314, section 3
        metadata={"help": "Quantize the scales of 4-bit blocks too (quantization: nf4)."},
    )
    bf16_on_cpu: Bf16OnCpu = field(
        default="always",
        metadata={
            "help": "What bf16: true means on a CPU. always: bfloat16. where_faster: bfloat16 where the processor "
            "multiplies faster in it, which is timed, else float32; a resumed run keeps what it began with."
        },
    )
    attn_implementation: str = field(
        default="default",
        metadata={
            "help": "default: sdpa, and the windows of the vision tower in one call; sdpa, eager, flash_attention_2 "
            "(GPU): each as transformers has it; sdpa_float32 (fast on a CPU): default, in float32."
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Config of the dataset, as its card names it."})
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str = field(default="validation", metadata={"help": "Split of the evaluations, if any."})
    lora_r: int = field(default=8, metadata={"help": "LoRA rank (train: lora, tlm+lora)."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA alpha (train: lora, tlm+lora)."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before LoRA (train: lora, tlm+lora)."})
    image_size: int | None = field(
        default=None,
        metadata={
            "help": "Side in pixels of the square that every image is squeezed to, here and by the processor that the "
            "stage leaves; default: as the base does."
        },
    )
    vision_learning_rate_ratio: float = field(
        default=1.0,
        metadata={"help": "Learning rate of the vision tower, as a share of learning_rate (train: all)."},
    )
    matrix_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the matrices of the language model's layers, which Muon moves then instead of "
            "AdamW (train: language, on one process); the root mean square of their steps is AdamW's at this rate."
        },
    )
    pointed_attention: float = field(
        default=0.0,
        metadata={
            "help": "Weight of a loss that teaches two heads of two layers of the language model to look at the object "
            "whose box is said (train: language, or with LoRA); the tokenizer needs a token for each number."
        },
    )
    answer_weight: AnswerWeight = field(
        default="tokens",
        metadata={
            "help": "What an answer of n tokens weighs in the loss of training. tokens: n. square_root: its square "
            "root, so that a number is heard beside many boxes. answers: 1. Losses of evaluations are of tokens."
        },
    )
    feature_cache: str | None = field(
        default=None,
        metadata={
            "help": "Folder of visual tokens: those of the frozen tower are computed once before the first step, and "
            "images are not read again. Any number of runs share it."
        },
    )
    feature_cache_gib: float = field(default=20.0, metadata={"help": "GiB that feature_cache may take on disk."})
    pairs_per_sequence: int = field(
        default=1,
        metadata={"help": "Rows of prompt and completion about one image that train in one sequence, at most."},
    )
    earlier_answers: EarlierAnswers = field(
        default="hidden",
        metadata={
            "help": "hidden: each pair of a sequence sees the image and itself, and its loss is its own. visible: the "
            "pairs are one conversation, later ones in sight of earlier ones."
        },
    )
    eval_answers: int = field(
        default=64,
        metadata={
            "help": "Questions of the test split that every evaluation has answered and scores, at most; 0 for none. "
            "Rows need a column task; as many of each task are asked as there are, the same in every run."
        },
    )
    eval_answer_tokens: int = field(default=256, metadata={"help": "Tokens after which such an answer is cut."})

    def __post_init__(self) -> None:
        # YAML reads an unquoted true as a boolean, and one dataset as a string.
        if cast(object, self.prior) is True:
            self.prior = "true"
        if isinstance(self.dataset_name, str):
            self.dataset_name = [self.dataset_name]
        self.model_name_or_path = shipped(self.model_name_or_path)
        self.dataset_name = [shipped(name) for name in self.dataset_name]
        # argparse checks choices on the command line only, not those that come from YAML.
        checked = {
            "train": Train,
            "prior": Prior,
            "save": Save,
            "dtype": Dtype,
            "bf16_on_cpu": Bf16OnCpu,
            "quantization": Quantization,
            "earlier_answers": EarlierAnswers,
            "unreadable": Unreadable,
            "answer_weight": AnswerWeight,
            "on_full_disk": OnFullDisk,
        }
        for name, choices in checked.items():
            value = vars(self)[name]
            if value not in get_args(choices):
                raise ValueError(f"{name}: found {value!r}, expected one of {', '.join(get_args(choices))}")
        if self.trains_tlm and self.prior == "none":
            raise ValueError(
                f"train: {self.train} with prior: none would train a TLM that is never called; set prior: true, or "
                "train: lora, language or all"
            )
        if self.save == "trained" and self.train in ("all", "language"):
            raise ValueError(
                f"save: trained needs train: tlm, tlm+lora or lora; with train: {self.train}, set save: full"
            )
        if self.vision_learning_rate_ratio != 1.0 and self.train != "all":
            raise ValueError(
                f"vision_learning_rate_ratio: found {self.vision_learning_rate_ratio}, expected 1.0 with train: "
                f"{self.train}, which freezes the vision tower"
            )
        if self.matrix_learning_rate is not None and (self.train != "language" or self.matrix_learning_rate <= 0):
            raise InputError(
                f"matrix_learning_rate: found {self.matrix_learning_rate} with train: {self.train}, expected more than "
                "0, with train: language; without it AdamW moves all"
            )
        if self.pointed_attention < 0 or (self.pointed_attention and self.train in ("tlm", "all")):
            raise InputError(
                f"pointed_attention: found {self.pointed_attention} with train: {self.train}, expected 0, or more with "
                "train: language, lora or tlm+lora"
            )
        if not 0 <= self.unreadable_share <= 1:
            raise InputError(f"unreadable_share: found {self.unreadable_share}, expected a share from 0 to 1")
        if self.train_minutes is not None and self.train_minutes <= 0:
            raise InputError(f"train_minutes: found {self.train_minutes}, expected more than 0")
        self._check_effect()
        self._check_feature_cache_and_pairs()
        self._check_quantization()
        for name, least in (("eval_answers", 0), ("eval_answer_tokens", 1)):
            value = vars(self)[name]
            if type(value) is not int or value < least:
                raise InputError(f"{name}: found {value!r}, expected a whole number from {least} on")
        if self.dtype == "bfloat16" and self.train in ("all", "language"):
            raise ValueError(
                f"dtype: found bfloat16, expected float32 with train: {self.train}: small updates of bfloat16 weights "
                "round away; set bf16: true to compute in bfloat16"
            )

    def _check_effect(self) -> None:
        """Raises InputError for fields that say something about what the stage does not do."""
        for does, names, needs in (
            (self.trains_lora, ("lora_r", "lora_alpha", "lora_dropout"), "train: lora or tlm+lora"),
            (self.quantization != "none", ("double_quantization",), "quantization: nf4"),
            (self.feature_cache is not None, ("feature_cache_gib",), "feature_cache"),
            (self.pairs_per_sequence != 1, ("earlier_answers",), "pairs_per_sequence above 1"),
            (self.unreadable == "skip", ("unreadable_share",), "unreadable: skip"),
        ):
            check_effect(self, {name: self.__dataclass_fields__[name].default for name in names}, does, needs)

    def _check_feature_cache_and_pairs(self) -> None:
        if self.feature_cache is not None and self.train == "all":
            raise InputError(
                f"feature_cache: found {self.feature_cache} with train: all, expected a vision tower that stays as it "
                "is; leave feature_cache out, or set another train"
            )
        if self.feature_cache_gib <= 0:
            raise InputError(f"feature_cache_gib: found {self.feature_cache_gib}, expected more than 0")
        if type(self.pairs_per_sequence) is not int or self.pairs_per_sequence < 1:
            raise InputError(
                f"pairs_per_sequence: found {self.pairs_per_sequence!r}, expected a whole number from 1 on"
            )

    def _check_quantization(self) -> None:
        if self.quantization == "none":
            return
        if self.train in ("all", "language"):
            raise InputError(
                f"quantization: found {self.quantization} with train: {self.train}, expected a language model that "
                "stays as it is; set train: lora, tlm+lora or tlm, or leave quantization out"
            )
        if self.save == "full":
            raise InputError(
                f"quantization: found {self.quantization} with save: full, expected save: trained: an adapter merged "
                "into 4 bits is rounded with them; `fusargpt merge` puts it into the weights that it names afterwards"
            )

    @property
    def hides_earlier_answers(self) -> bool:
        return self.pairs_per_sequence > 1 and self.earlier_answers == "hidden"

    @property
    def trains_tlm(self) -> bool:
        return self.train in ("tlm", "tlm+lora")

    @property
    def trains_lora(self) -> bool:
        return self.train in ("lora", "tlm+lora")


def parse(arguments: Sequence[str] | None = None) -> tuple[RecipeArguments, "SFTConfig"]:
    """Read `recipe.yaml` and the ``--key value`` pairs after it, which override it (``sys.argv`` when None).

    Raises:
        InputError: for no recipe, one that cannot be read or is not YAML, a key that no field has, or a value that a
            field does not allow.
    """
    # A plan reads the fields above without torch, which these two import.
    from trl.trainer.sft_config import SFTConfig

    from trl_recipes.recipe_parser import parse_recipe

    recipe, config = parse_recipe(
        arguments, RecipeArguments, SFTConfig, DECIDED_HERE, "trl_recipes.sft", "trl_recipes/stage1.yaml"
    )
    metric = config.metric_for_best_model
    # The Trainer takes every metric whose name does not end in "loss" for one that grows.
    if metric and config.greater_is_better and (metric.endswith("_mae") or "loss_" in metric):
        raise InputError(
            f"greater_is_better: found true with metric_for_best_model: {metric}, which is better when it is smaller; "
            "set greater_is_better: false"
        )
    check_evaluation(recipe, config)
    return recipe, config


def check_evaluation(recipe: RecipeArguments, config: "StageConfig") -> None:
    """Raises InputError for fields of evaluations in a recipe that has none."""
    if config.eval_strategy != "no":
        return
    defaults = RecipeArguments.__dataclass_fields__
    for name in ("eval_answers", "eval_answer_tokens", "dataset_test_split"):
        if vars(recipe)[name] != defaults[name].default:
            raise InputError(f"{name}: found {vars(recipe)[name]!r} without evaluations; set eval_strategy too")
    for name in ("do_eval", "eval_on_start", "load_best_model_at_end"):
        if vars(config)[name]:
            raise InputError(f"{name}: found true without evaluations; set eval_strategy too")
