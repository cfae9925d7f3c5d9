"""The typed fields of a stage of reinforcement, beside those of TRL's ``GRPOConfig``, and their parser."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from fusargpt.errors import InputError
from fusargpt.metrics.rewards import REWARDED
from trl_recipes.arguments import RecipeArguments, check_evaluation
from trl_recipes.field_checks import DECIDED_FOR_ALL, Decided, check_effect
from trl_recipes.recipe_parser import parse_recipe
from trl_recipes.stage_config import ReinforcementConfig

SYSTEM = "fusar-gpt-grpo"
System = Literal["fusar-gpt-grpo"]

_FREELY = "answers are drawn from the very distribution whose logarithm the loss takes; use temperature"
_OWN_DECODING = "answers are drawn by this package's own decoding"
_GREEDY = "evaluations answer greedily and are scored, see eval_answers"
_LOADED_HERE = "models are loaded by this package's own code; use dtype, attn_implementation and model_revision"
_ONE_REWARD = "each row has the reward of its own task"
DECIDED_HERE: Decided = {
    **DECIDED_FOR_ALL,
    "remove_unused_columns": ((False,), "the prior columns would be dropped"),
    "top_p": ((1.0,), _FREELY),
    "top_k": ((0,), _FREELY),
    "min_p": ((None,), _FREELY),
    "repetition_penalty": ((1.0,), _FREELY),
    "generation_kwargs": ((None,), _FREELY),
    "cache_implementation": ((None,), _OWN_DECODING),
    "use_transformers_continuous_batching": ((False,), _OWN_DECODING),
    "transformers_continuous_batching_config": ((None,), _OWN_DECODING),
    "use_transformers_paged": ((False,), _OWN_DECODING),
    "ds3_gather_for_generation": ((True,), _OWN_DECODING),
    "use_vllm": ((False,), _OWN_DECODING),
    # Those of vLLM are read by nothing here.
    **{
        one.name: ((one.default,), _OWN_DECODING) for one in fields(ReinforcementConfig) if one.name.startswith("vllm_")
    },
    "num_generations_eval": ((1,), _GREEDY),
    "log_completions": ((False,), _GREEDY),
    "log_multimodal": ((True,), _GREEDY),
    "log_unique_prompts": ((False,), _GREEDY),
    "num_completions_to_print": ((None,), _GREEDY),
    "include_for_metrics": (([],), _GREEDY),
    "batch_eval_metrics": ((False,), _GREEDY),
    "do_predict": ((False,), "answer the test split with `fusargpt evaluate`"),
    "model_init_kwargs": ((None,), _LOADED_HERE),
    "trust_remote_code": ((False,), _LOADED_HERE),
    "chat_template_kwargs": ((None,), "the processor brings its chat template"),
    "pad_to_multiple_of": ((None,), "batches are padded to their longest row"),
    "router_aux_loss_coef": ((None,), "the model has no experts"),
    "cast_lm_head_to_fp32": ((False,), "answers would be drawn by another head than the loss has"),
    "max_tool_calling_iterations": ((None,), "no tools are called"),
    "reward_weights": ((None,), _ONE_REWARD),
    "multi_objective_aggregation": (("sum_then_normalize",), _ONE_REWARD),
    "mask_truncated_completions": ((False,), "an answer without an end is worth 0, and counts"),
    "use_adaptive_entropy": ((False,), "a resumed run would not know its state; use entropy_coef"),
    "sync_ref_model": ((False,), "the reference is the model without the adapter"),
}


@dataclass(kw_only=True)
class ReinforcementArguments(RecipeArguments):
    """What a stage of reinforcement asks, and what it holds on to. Every field is checked; none is guessed."""

    system: System = field(metadata={"help": "fusar-gpt-grpo: a stage of reinforcement."})
    tasks: list[str] = field(
        metadata={
            "help": f"Tasks whose questions are asked, of {', '.join(REWARDED)}; one that stands there twice is asked "
            "twice as often. Rows of other tasks are trained on by replay_weight alone."
        }
    )
    replay_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of the loss on true answers that is added to each step's, so that no task is forgotten; 0 "
            "for none."
        },
    )
    replay_tasks: list[str] | None = field(
        default=None,
        metadata={
            "help": "Tasks of such answers; default: all that the rows have. True answers hold the model to how sure "
            "it was of each token, which is what a reward is to change (replay_weight above 0)."
        },
    )
    replay_batch_size: int = field(
        default=8,
        metadata={"help": "Sequences of such rows beside each batch of answers (replay_weight above 0)."},
    )

    def __post_init__(self) -> None:
        if isinstance(self.tasks, str):
            self.tasks = [self.tasks]
        if isinstance(self.replay_tasks, str):
            self.replay_tasks = [self.replay_tasks]
        super().__post_init__()
        if self.system != SYSTEM:
            raise InputError(f"system: found {self.system!r}, expected {SYSTEM}")
        unknown = [name for name in self.tasks if name not in REWARDED]
        if unknown or not self.tasks:
            found = ", ".join(map(str, unknown)) or "none"
            raise InputError(f"tasks: found {found}, expected some of {', '.join(REWARDED)}")
        if self.replay_weight < 0:
            raise InputError(f"replay_weight: found {self.replay_weight}, expected 0 or more")
        if type(self.replay_batch_size) is not int or self.replay_batch_size < 1:
            raise InputError(f"replay_batch_size: found {self.replay_batch_size!r}, expected a whole number from 1 on")
        if self.replay_tasks is not None and not self.replay_tasks:
            raise InputError("replay_tasks: found none, expected tasks; leave it out for all, or set replay_weight: 0")
        defaults = {name: self.__dataclass_fields__[name].default for name in ("replay_batch_size", "replay_tasks")}
        check_effect(self, {**defaults, "pairs_per_sequence": 1}, self.replay_weight > 0, "replay_weight above 0")
        if self.earlier_answers != "hidden":
            raise InputError("earlier_answers: found visible, expected hidden: answers that are drawn see no others")
        if self.answer_weight != "tokens":
            raise InputError(f"answer_weight: found {self.answer_weight}, expected tokens: rewards weigh the answers")
        if self.pointed_attention:
            raise InputError(
                f"pointed_attention: found {self.pointed_attention}, expected 0: where to look is taught by true "
                "answers, in the stages before"
            )
        if self.lora_dropout:
            raise InputError(
                f"lora_dropout: found {self.lora_dropout}, expected 0: the loss is of the model that drew the answers"
            )

    @property
    def hides_earlier_answers(self) -> bool:
        return True


def parse(arguments: Sequence[str] | None = None) -> tuple[ReinforcementArguments, ReinforcementConfig]:
    """Read `recipe.yaml` and the ``--key value`` pairs after it, which override it (``sys.argv`` when None).

    Raises:
        InputError: for no recipe, one that cannot be read or is not YAML, a key that no field has, or a value that a
            field does not allow.
    """
    recipe, config = parse_recipe(
        arguments,
        ReinforcementArguments,
        ReinforcementConfig,
        DECIDED_HERE,
        "trl_recipes.grpo.train",
        "trl_recipes/stage3.yaml",
    )
    if config.beta and not recipe.trains_lora:
        raise InputError(
            f"beta: found {config.beta} with train: {recipe.train}, expected 0: the reference is the model without its "
            "adapter; set train: lora, or hold on by replay_weight"
        )
    _check_steps(config)
    check_evaluation(recipe, config)
    return recipe, config


def _check_steps(config: ReinforcementConfig) -> None:
    """Raises InputError where a checkpoint would fall between steps that share drawn answers: it does not hold them."""
    accumulated = config.gradient_accumulation_steps
    batches = (config.steps_per_generation or accumulated) * config.num_iterations
    if batches % accumulated and accumulated % batches:
        raise InputError(
            f"steps_per_generation: found {config.steps_per_generation} with num_iterations: {config.num_iterations} "
            f"and gradient_accumulation_steps: {accumulated}, expected whole optimizer steps for what is drawn at once"
        )
    steps = max(batches // accumulated, 1)
    if steps > 1 and config.save_strategy == "steps" and config.save_steps % steps:
        raise InputError(
            f"save_steps: found {config.save_steps}, expected a multiple of {steps}, the steps that share drawn "
            "answers (steps_per_generation, num_iterations); a checkpoint does not hold them"
        )
