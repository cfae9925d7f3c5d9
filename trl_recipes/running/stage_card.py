"""The model cards of what a stage or a phase leaves: what it started from, its rows, its recipe, its scores."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from huggingface_hub import EvalResult
from transformers import TrainerState, TrainingArguments

from fusargpt.conversion.card_origins import read_origin, shown
from fusargpt.conversion.model_card import Card, Form, Origin, table, write_card
from modeling_fusargpt.artefacts import HUB_ID
from trl_recipes.arguments import RecipeArguments
from trl_recipes.data.row_checks import UsedRows
from trl_recipes.stage_config import ReinforcementConfig

# Of a recipe's own fields, what says where things lie and how a run goes on, and nothing about the model.
_ELSEWHERE = {
    *("model_name_or_path", "model_revision", "dataset_name", "dataset_config", "dataset_train_split"),
    *("dataset_test_split", "feature_cache", "feature_cache_gib", "resume", "on_full_disk", "unreadable"),
    *("unreadable_share", "eval_answers", "eval_answer_tokens", "system", "save"),
}
# Of the trainer's: what a run is repeated with.
_TRAINERS = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type"),
    *("warmup_steps", "optim", "weight_decay", "max_grad_norm", "bf16", "seed", "data_seed"),
)
# And a stage of reinforcement.
_DRAWING = (
    *("num_generations", "max_completion_length", "temperature", "num_iterations", "loss_type", "scale_rewards"),
    *("beta", "epsilon", "entropy_coef"),
)
_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets")
_PICTURE = "curves.png"  # as trl_recipes.running.curves draws it, whose import brings matplotlib
NAMED = {False: ("prior", "dtype"), True: ("prior", "dtype", "lora_r", "lora_alpha", "lora_dropout")}
"""Fields of a stage that are always said, without LoRA and with it."""
LogEntry = Mapping[str, float]


class Recipe(Protocol):
    """What recipes of both systems say."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    model_name_or_path: str
    model_revision: str
    dataset_name: list[str]
    dataset_test_split: str
    prior: Literal["true", "none"]


class Run(NamedTuple):
    """What a card is written from.

    Args:
        recipe, config: of the run.
        state: of its trainer, at the end.
        used: its rows.
        dtype: that the weights are written in.
        named: fields of the recipe that are said at their defaults, too.
        asked: the tasks of the questions that every evaluation asked, one for each.
    """

    recipe: Recipe
    config: TrainingArguments
    state: TrainerState
    used: Sequence[UsedRows]
    dtype: str
    named: Sequence[str]
    asked: Sequence[str] = ()


def write_stage_cards(folder: Path, place: Path, recipe: RecipeArguments, run: Run) -> None:
    """The card of a stage's result in `folder`, and of the adapter beside a whole model.

    Args:
        folder: that `save_stage` has written.
        place: where it will be put.
        recipe: of the stage.
        run: what the cards say.
    """
    name, origin = place.resolve().name, read_origin(recipe.model_name_or_path, recipe.model_revision)
    if recipe.save == "full":
        _write(folder, name, name, "whole", "a whole model", origin, run)
    elif recipe.train == "tlm":
        _write(folder, name, name, "tlm", "the TLM alone", origin, run)
    adapter = "a LoRA adapter" + (" with a TLM" if recipe.trains_tlm else "")
    if recipe.trains_lora:
        alone = recipe.save == "trained"
        under = folder if alone else folder / "adapter"
        title, path = (name, name) if alone else (f"{name}-adapter", f"{name}/adapter")
        # Pictures lie beside the whole model.
        _write(under, title, path, "adapter", adapter, origin, run, picture=alone)


def write_phase_card(folder: Path, place: Path, run: Run) -> None:
    """The card of a phase of FUSAR-KLIP; arguments as of `write_stage_cards`."""
    origin = read_origin(run.recipe.model_name_or_path, run.recipe.model_revision)
    name = place.resolve().name
    _write(folder, name, name, "klip", "images of SAR and texts in one space", origin, run)


def write_classifier_card(folder: Path, place: Path, run: Run, names: Sequence[str]) -> None:
    """The card of a classifier made of FUSAR-KLIP; `names` are those of its classes, the rest as of
    `write_stage_cards`."""
    origin = read_origin(run.recipe.model_name_or_path, run.recipe.model_revision)
    name = place.resolve().name
    _write(folder, name, name, "classifier", f"tells {', '.join(names)} apart", origin, run)


def _write(
    folder: Path, title: str, path: str, form: Form, what: str, origin: Origin, run: Run, picture: bool = True
) -> None:
    recipe, step = run.recipe, _saved_step(run)
    system = "FUSAR-KLIP" if form in ("klip", "classifier") else "FUSAR-GPT"
    read = "SAR images with an AlphaEarth prior of their place" if recipe.prior == "true" else "images without a prior"
    summary = f"{system}: {what}, trained from `{origin.name}` on {read}."
    # A classifier's evaluations choose the weights, and its card says that one.
    history = run.state.log_history
    scored = _last_evaluation([entry for entry in history if form != "classifier" or entry["step"] <= step])
    why = "what training lowers; no answers were scored"
    if form == "classifier":
        why = "which chose the weights" if run.config.load_best_model_at_end else "measured while it was trained"
    data = [name for name in recipe.dataset_name if HUB_ID.fullmatch(name) and not Path(name).exists()]
    card = Card(
        title,
        form,
        summary,
        origin,
        {"Training": _training(run, step, picture), "Scores": _scores(run, scored, step, why)},
        path=path,
        tags=["alphaearth"] if recipe.prior == "true" else [],
        datasets=data,
        # Of a model in other hands, scores are those of its weights and of no others.
        results=_results(run, scored) if scored.get("step") == step else (),
    )
    write_card(folder, card)


def _training(run: Run, step: int, picture: bool) -> str:
    rows = [
        (f"`{shown(some.dataset)}`", some.split, some.use, f"{some.rows:,}", f"{some.left_out:,}") for some in run.used
    ]
    losses = [(entry["step"], entry["loss"]) for entry in run.state.log_history if "loss" in entry]
    earned = [(entry["step"], entry["reward"]) for entry in run.state.log_history if entry.get("reward") is not None]
    what, told = ("mean reward of drawn answers", earned) if earned else ("training loss", losses)
    curve = f" The {what} was {_told(told[0])} and {_told(told[-1])}." if told else ""
    parts = [
        table(("data", "split", "for", "rows", "left out as unreadable"), rows),
        f"{run.state.global_step:,} steps, {run.state.epoch or 0:.3g} epochs"
        + (f", of which the weights of step {step:,} were kept" if step != run.state.global_step else "")
        + f"; {_batch(run.config)}.{curve}",
        table(("field", "value"), [(f"`{name}`", f"`{value}`") for name, value in _recipe(run)]),
        "By " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES) + ".",
        f"![What was logged]({_PICTURE})" if picture and losses else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _told(loss: tuple[float, float]) -> str:
    return f"{loss[1]:.4g} at step {loss[0]:,}"


def _batch(config: TrainingArguments) -> str:
    count = config.per_device_train_batch_size * config.gradient_accumulation_steps * config.world_size
    processes = "1 process" if config.world_size == 1 else f"{config.world_size} processes"
    what = "drawn answers" if isinstance(config, ReinforcementConfig) else "rows"
    return f"{count:,} {what} a step in {processes}"


def _recipe(run: Run) -> Iterable[tuple[str, object]]:
    """The recipe's own fields that are not at their defaults, and those of the trainer that a run is repeated with."""
    for one in fields(run.recipe):
        value = getattr(run.recipe, one.name)
        said = one.name in run.named or one.default is MISSING or value != one.default
        if said and one.name not in _ELSEWHERE:
            yield one.name, value
    drawing = _DRAWING if isinstance(run.config, ReinforcementConfig) else ()
    for name in (*_TRAINERS, *drawing):
        value = getattr(run.config, name)
        if value is not None:
            yield name, getattr(value, "value", value)  # enumerations


def _saved_step(run: Run) -> int:
    """The step whose weights were kept."""
    best = run.state.best_global_step if run.config.load_best_model_at_end else None
    return best or run.state.global_step


def _last_evaluation(history: Sequence[LogEntry]) -> LogEntry:
    return next((entry for entry in reversed(history) if _is_evaluation(entry)), {})


def _is_evaluation(entry: LogEntry) -> bool:
    return "eval_runtime" in entry


def _answer_scores(run: Run, scored: LogEntry) -> list[tuple[str, str, float]]:
    """(task, metric, value) of the answers in an evaluation; what could not be scored is left out."""
    found = []
    for name, value in scored.items():
        for task in sorted(set(run.asked)):
            metric = name.removeprefix(f"eval_{task}_")
            if metric != name and value == value:
                found.append((task, metric, value))
    return found


def _scores(run: Run, scored: LogEntry, step: int, why: str) -> str:
    if not scored:
        return "None were measured while it was trained."
    at = int(scored["step"])
    names = " and ".join(f"`{shown(name)}`" for name in run.recipe.dataset_name)
    where = f"At step {at:,}, on the split {run.recipe.dataset_test_split} of {names}"
    later = "" if at == step else f" The weights are those of step {step:,}."
    rounded = " They were rounded to bfloat16 afterwards." if run.dtype == "bfloat16" else ""
    answers = _answer_scores(run, scored)
    if answers:
        counts = Counter(run.asked)
        rows = [(task, metric, counts[task], f"{value:.4g}") for task, metric, value in answers]
        head: tuple[str, ...] = ("task", "metric", "questions", "value")
        before = next((entry for entry in run.state.log_history if _is_evaluation(entry) and entry["step"] == 0), None)
        if before is not None and at != 0:  # eval_on_start
            head = (*head, "before the stage")
            rows = [(*row, f"{before[f'eval_{row[0]}_{row[1]}']:.4g}") for row in rows]
        of = f"{where}: {len(run.asked):,} questions."
        return f"{of}{later}{rounded}\n\n{table(head, rows)}"
    speed = re.compile(r"eval_(runtime|.*_per_second|model_preparation_time)")
    losses = [
        (name.removeprefix("eval_"), f"{value:.4g}")
        for name, value in scored.items()
        if name.startswith("eval_") and not speed.fullmatch(name)
    ]
    alone = f"{where}, {why}.{later}{rounded}"
    return f"{alone}\n\n{table(('what', 'value'), losses)}"


def _results(run: Run, scored: LogEntry) -> list[EvalResult]:
    names = [shown(name) for name in run.recipe.dataset_name]
    return [
        EvalResult(
            task_type="image-text-to-text",
            dataset_type=re.sub(r"[^\w./-]+", "-", names[0]),
            dataset_name=" and ".join(names),
            dataset_split=run.recipe.dataset_test_split,
            metric_type=metric,
            metric_name=f"{task}: {metric}",
            metric_value=round(value, 6),
        )
        for task, metric, value in _answer_scores(run, scored)
    ]


__all__ = ["NAMED", "Run", "write_classifier_card", "write_phase_card", "write_stage_cards"]
