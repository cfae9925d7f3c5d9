"""Run one stage of training: ``python -m trl_recipes.sft trl_recipes/nano/stage1.yaml [--key value]``."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from datasets import config as datasets_config
from peft import LoraConfig, PeftModel
from transformers import set_seed
from trl.trainer.sft_config import SFTConfig

from fusargpt.errors import InputError, naming, one_line
from fusargpt.files import watching_disk
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.inference.backbones import read_processor
from fusargpt.inference.chat_template import check_template
from fusargpt.tasks.facts import DOUBTED_COLUMN
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor
from modeling_fusargpt.prepared import BatchPreparation
from trl_recipes.arguments import RecipeArguments, parse
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.doubted import check_doubted_column
from trl_recipes.data.pairs import check_pairs, hide_other_pairs, pair_rows
from trl_recipes.data.parts import check_columns, read_part
from trl_recipes.data.row_checks import LeftOut, UsedRows, keep_readable, used_rows, write_left_out
from trl_recipes.data.row_tasks import TASK_COLUMN, check_task_column, task_names
from trl_recipes.data.trained_targets import trained_targets
from trl_recipes.data.visual_tokens import cache_visual_tokens
from trl_recipes.model.attention import SDPA_FLOAT32, WINDOWS_FLOAT32, register_sdpa_float32
from trl_recipes.model.checkpoint import load_model, save_stage
from trl_recipes.model.parameters import check_prior_has_effect, freeze, lora_config, parameter_table
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.model.quantization import adapt_quantized, quantize
from trl_recipes.model.sharding import whole_model
from trl_recipes.running.answer_scores import AnswerScores
from trl_recipes.running.atomic_runs import RESULT, STATE, checkpoint_to_resume, holding, publish, refuse_finished
from trl_recipes.running.clock import Clock
from trl_recipes.running.precision import computes_in_bfloat16
from trl_recipes.running.processes import end_process_group
from trl_recipes.running.stage_card import NAMED, Run, write_stage_cards
from trl_recipes.running.trainer import StageFiles, StageTrainer
from trl_recipes.stage_config import StageConfig


class Stage(NamedTuple):
    """All that the trainer of a stage is made of, but for the form in which it takes the rows."""

    model: AnyFusarGpt | PeftModel
    adapter: LoraConfig | None
    """That the trainer puts around the model; None where it is there already, or none is trained."""
    processor: FusarGptProcessor
    collator: TripletCollator
    splits: list[Dataset]
    """The training split and, with evaluations, the test split: one question a row."""
    answers: AnswerScores | None
    left_out: list[LeftOut]
    used: list[UsedRows]


def load_split(recipe: RecipeArguments, split: str) -> Dataset:
    """The recipe's datasets, concatenated, as `load_parts` returns them."""
    return concatenate_datasets([part for _, part in load_parts(recipe, split)])


def load_parts(recipe: RecipeArguments, split: str) -> list[tuple[str, Dataset]]:
    """The recipe's datasets by name, with the columns that training reads, ``task`` and ``doubted`` where there are.

    Raises InputError for a dataset that cannot be loaded, has no image, no conversation, or (with ``prior: true``) no
    prior column, and for a column ``task`` or ``doubted`` of another type.
    """
    parts = []
    for name in recipe.dataset_name:
        part = read_part(name, recipe.dataset_config, split)
        conversation = ["messages"] if "messages" in part.column_names else ["prompt", "completion"]
        columns = ["image", *conversation, *(PRIOR_COLUMNS if recipe.prior == "true" else ())]
        expected = "image, messages (or prompt and completion), and both prior columns unless `prior: none`"
        check_columns(name, part, columns, expected)
        if TASK_COLUMN in part.column_names:
            check_task_column(name, part)
            columns.append(TASK_COLUMN)
        if DOUBTED_COLUMN in part.column_names and "completion" in columns:
            check_doubted_column(name, part)
            columns.append(DOUBTED_COLUMN)
        parts.append((name, part.select_columns(columns)))
    return parts


def prepare_data(
    recipe: RecipeArguments,
    config: StageConfig,
    model: AnyFusarGpt,
    processor: FusarGptProcessor,
    splits: Sequence[Dataset],
) -> tuple[TripletCollator, list[Dataset]]:
    """The collator, and the splits with visual tokens computed, one question a row still.

    Raises InputError for images that cannot be read, tokens that do not fit, and pairs that cannot be hidden.
    """
    if recipe.pairs_per_sequence > 1:
        for split in splits:
            check_pairs(split, recipe.pairs_per_sequence)
    if recipe.hides_earlier_answers:
        hide_other_pairs(model)
    features = None
    if recipe.feature_cache is not None:
        limit = int(recipe.feature_cache_gib * 2**30)
        folder, processes = Path(recipe.feature_cache), config.dataset_num_proc
        features, splits = cache_visual_tokens(model, processor, folder, limit, config, splits, processes)
    collator = TripletCollator(
        processor,
        prior=recipe.prior == "true",
        features=features,
        hide_earlier_answers=recipe.hides_earlier_answers,
        tasks=task_names(splits),
        prepare=BatchPreparation(model.model.visual.config, processor.image_token_id),
    )
    return collator, list(splits)


def in_sequences(recipe: RecipeArguments, config: StageConfig, splits: Sequence[Dataset]) -> list[Dataset]:
    """The splits with the pairs about an image in one row, as the recipe has it.

    Raises InputError for images that cannot be read.
    """
    if recipe.pairs_per_sequence == 1:
        return list(splits)
    with config.main_process_first(desc="grouping pairs"):
        return [pair_rows(split, recipe.pairs_per_sequence, config.dataset_num_proc) for split in splits]


def answers_to_score(
    recipe: RecipeArguments, config: StageConfig, collator: TripletCollator, tests: Sequence[Dataset]
) -> AnswerScores | None:
    """The questions of every evaluation; None without evaluations, and where rows have no task or are ``messages``.

    Raises InputError for a row whose completion is not in its task's form.
    """
    if not tests or recipe.eval_answers == 0 or not {TASK_COLUMN, "prompt"} <= set(tests[0].column_names):
        return None
    count, tokens, batch = recipe.eval_answers, recipe.eval_answer_tokens, config.per_device_eval_batch_size
    answers = AnswerScores(collator, tests[0], count, tokens, batch)
    return answers if answers.tasks else None


def load_processor(recipe: RecipeArguments) -> FusarGptProcessor:
    """The base's processor, with the recipe's ``image_size`` where it has one.

    Raises InputError for a size that the image processor would change once more, and a chat template that fails.
    """
    name = f"model_name_or_path: {recipe.model_name_or_path}"
    try:
        found = read_processor(recipe.model_name_or_path, recipe.model_revision)
    # What transformers and tokenizers raise on files that are missing or damaged: of every type.
    except Exception as error:
        raise InputError(f"{name}: the processor cannot be loaded: {one_line(error)}") from error
    with naming(name):
        check_template(found)
    if recipe.image_size is None:
        return found
    try:
        return FusarGptProcessor(
            found.image_processor,
            found.tokenizer,
            found.chat_template,
            recipe.image_size,
            found.decibel_limits,
            found.targets,
            coarsest_pixel_m=found.coarsest_pixel_m,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def prepare_stage(recipe: RecipeArguments, config: StageConfig) -> Stage:
    """Model, processor, data and collator of a stage.

    Raises InputError for a process that would spread its batches over several GPUs itself: what is in them does not
    come apart by its first axis.
    """
    if config.n_gpu > 1:
        raise InputError(
            f"accelerate: found one process with {config.n_gpu} GPUs, expected one GPU each; set "
            "CUDA_VISIBLE_DEVICES=0, or run `accelerate launch --config_file trl_recipes/accelerate/ddp.yaml -m "
            "trl_recipes.sft RECIPE.yaml`"
        )
    set_seed(config.seed)
    register_sdpa_float32()
    attention = None if recipe.attn_implementation == "default" else recipe.attn_implementation
    model = load_model(recipe.model_name_or_path, recipe.model_revision, getattr(torch, recipe.dtype), attention)
    if attention == SDPA_FLOAT32:
        model.set_attn_implementation({"vision_config": WINDOWS_FLOAT32})
    check_prior_has_effect(model, recipe)
    freeze(model, recipe)
    if recipe.quantization != "none":
        compute_type = torch.bfloat16 if config.bf16 else model.dtype
        quantize(model, recipe.double_quantization, compute_type, config.device)
    if config.use_cpu:
        use_linear_patch_embedding(model.model)
    # peft writes this name into the adapter as its base.
    model.name_or_path = recipe.model_name_or_path
    processor = load_processor(recipe)
    names = [recipe.dataset_train_split, *([recipe.dataset_test_split] if config.eval_strategy != "no" else [])]
    rows_cache = Path(datasets_config.HF_DATASETS_CACHE)
    remedy = "free some space, or set HF_DATASETS_CACHE to another folder"
    with (
        config.main_process_first(desc="checking rows"),
        watching_disk(rows_cache, "datasets: the rows as datasets keeps them", None, remedy),
    ):
        parts = [load_parts(recipe, name) for name in names]
        read = [
            keep_readable(some, name, recipe, processor, config.dataset_num_proc)
            for some, name in zip(parts, names, strict=True)
        ]
    processor.targets = trained_targets(processor.targets, read[0][0])
    collator, splits = prepare_data(recipe, config, model, processor, [rows for rows, _ in read])
    answers = answers_to_score(recipe, config, collator, splits[1:])
    adapter = lora_config(recipe)
    adapted = adapt_quantized(model, adapter) if adapter is not None and recipe.quantization != "none" else None
    return Stage(
        model if adapted is None else adapted,
        adapter if adapted is None else None,
        processor,
        collator,
        splits,
        answers,
        [some for _, left_out in read for some in left_out],
        used_rows(names, parts, [left_out for _, left_out in read]),
    )


def make_trainer(recipe: RecipeArguments, config: SFTConfig) -> StageTrainer:
    """The trainer of a stage, ready to run."""
    stage = prepare_stage(recipe, config)
    splits = in_sequences(recipe, config, stage.splits)
    # Our collator makes the batches from the rows as they are, also where these hold a key instead of an image.
    config.dataset_kwargs = {"skip_prepare_dataset": True}
    return StageTrainer(
        recipe=recipe,
        left_out=stage.left_out,
        used=stage.used,
        model=stage.model,
        args=config,
        data_collator=stage.collator,
        answers=stage.answers,
        train_dataset=splits[0],
        eval_dataset=splits[1] if len(splits) == 2 else None,
        processing_class=stage.processor,
        peft_config=stage.adapter,
    )


Read = Callable[[Sequence[str]], tuple[Any, Any]]
"""Reads a recipe's fields and its trainer's."""
Make = Callable[[Any, Any], StageFiles]
"""Makes a trainer of both, of the types that belong together."""


def run(recipe: RecipeArguments, config: StageConfig, make: Make = make_trainer) -> None:
    """Train one stage and leave its result in ``config.output_dir``, where no other run may be at work."""
    output_dir = Path(str(config.output_dir))
    refuse_finished(output_dir)
    with holding(output_dir) if config.should_save else nullcontext():
        PartialState().wait_for_everyone()
        refuse_finished(output_dir)
        _train(recipe, config, output_dir, make)


def _train(recipe: RecipeArguments, config: StageConfig, output_dir: Path, make: Make) -> None:
    checkpoint = checkpoint_to_resume(output_dir, recipe.resume)
    if checkpoint is not None:
        config.eval_on_start = False  # it is in the log
    trainer = make(recipe, config)
    if recipe.train_minutes is not None:
        trainer.add_callback(Clock(recipe.train_minutes))
    trainer.accelerator.print(parameter_table(trainer.model))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    model = whole_model(trainer.model, trainer.accelerator)
    if config.should_save and model is not None:
        partial = output_dir / RESULT
        remedy = "free some space and run the same command with `resume: true`, which goes on from the last checkpoint"
        with watching_disk(output_dir, "output_dir: the stage's result", None, remedy):
            partial.mkdir()
            trainer.state.save_to_json(str(partial / STATE))  # with the losses of the whole run
            if trainer.left_out:
                write_left_out(trainer.left_out, partial)
            save_stage(model, trainer.processing_class, recipe, str(partial), output_dir)
            asked = () if trainer.answers is None else trainer.answers.tasks
            about = Run(recipe, config, trainer.state, trainer.used, recipe.dtype, NAMED[recipe.trains_lora], asked)
            write_stage_cards(partial, output_dir, recipe, about)
            publish(output_dir)
            # It brings matplotlib, which no other process of the run needs.
            from trl_recipes.running.curves import draw_stage

            draw_stage(output_dir)
    for left_out in trainer.left_out:
        trainer.accelerator.print(left_out)
    trainer.accelerator.print(f"The stage's result: {output_dir} (fusargpt ask IMAGE QUESTION --model {output_dir})")


def run_recipe(arguments: Sequence[str] | None = None, read: Read = parse, make: Make = make_trainer) -> None:
    """Run what a recipe and the arguments after it say; those of the command line when None."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    recipe, config = read(given)
    if config.bf16 and recipe.bf16_on_cpu == "where_faster" and config.device.type == "cpu":
        # Read again, because more follows from it than the one field.
        bf16 = computes_in_bfloat16(Path(str(config.output_dir)), recipe.resume)
        recipe, config = read([*given, "--bf16", str(bf16)])
    run(recipe, config, make)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ``arguments`` are those of the command line when None."""
    run_recipe(arguments)
    end_process_group()


if __name__ == "__main__":
    try:
        main()
    except (InputError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"trl_recipes.sft: error: {error}")
