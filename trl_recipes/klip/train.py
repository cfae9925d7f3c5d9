"""Run one phase of FUSAR-KLIP: ``python -m trl_recipes.klip.train trl_recipes/klip/nano/p0.yaml [--key value]``."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from accelerate import PartialState
from datasets import config as datasets_config
from transformers import TrainingArguments, set_seed

from fusargpt.errors import InputError
from fusargpt.files import watching_disk
from trl_recipes.data.row_checks import keep_rows, used_rows, write_left_out
from trl_recipes.klip.arguments import LOSSES, KlipArguments, parse
from trl_recipes.klip.checkpoint import load_model, load_processor, save_result
from trl_recipes.klip.collator import KlipCollator
from trl_recipes.klip.image_states import cache_image_states
from trl_recipes.klip.parameters import freeze, parameter_table
from trl_recipes.klip.row_checks import find_problems
from trl_recipes.klip.rows import load_parts, text_columns
from trl_recipes.klip.texts import TextEncoder
from trl_recipes.klip.trainer import KlipTrainer
from trl_recipes.running.atomic_runs import RESULT, STATE, checkpoint_to_resume, holding, publish, refuse_finished
from trl_recipes.running.curves import draw_stage
from trl_recipes.running.processes import end_process_group
from trl_recipes.running.stage_card import Run, write_phase_card


def make_trainer(recipe: KlipArguments, config: TrainingArguments) -> KlipTrainer:
    """Model, processor and data of a phase, in a trainer that is ready to run."""
    set_seed(config.seed)
    processor = load_processor(recipe)
    model = load_model(recipe, processor)
    freeze(model, recipe)
    encoder = TextEncoder(processor.tokenizer, model.config.max_text_tokens)
    names = [recipe.dataset_train_split, *([recipe.dataset_test_split] if config.eval_strategy != "no" else [])]
    rows_cache = Path(datasets_config.HF_DATASETS_CACHE)
    remedy = "free some space, or set HF_DATASETS_CACHE to another folder"
    with (
        config.main_process_first(desc="checking rows"),
        watching_disk(rows_cache, "datasets: the rows as datasets keeps them", None, remedy),
    ):
        parts = [load_parts(recipe, split) for split in names]
        read = [
            keep_rows(
                some,
                split,
                lambda name, rows: find_problems(rows, processor, encoder, tuple(text_columns(recipe)), name),
                recipe.unreadable,
                recipe.unreadable_share,
            )
            for some, split in zip(parts, names, strict=True)
        ]
    splits = [rows for rows, _ in read]
    states = None
    if recipe.feature_cache is not None:
        limit = int(recipe.feature_cache_gib * 2**30)
        states, splits = cache_image_states(model, processor, Path(recipe.feature_cache), limit, config, splits)
    seed = config.seed if config.data_seed is None else config.data_seed
    collators = [
        KlipCollator(recipe, processor, encoder, rows, states, seed, training=place == 0)
        for place, rows in enumerate(splits)
    ]
    return KlipTrainer(
        recipe=recipe,
        left_out=[some for _, left_out in read for some in left_out],
        used=used_rows(names, parts, [left_out for _, left_out in read]),
        model=model,
        args=config,
        collator=collators[0],
        eval_collator=collators[1] if len(collators) == 2 else None,
        processing_class=processor,
    )


def run(recipe: KlipArguments, config: TrainingArguments) -> None:
    """Train one phase and leave its result in ``config.output_dir``, where no other run may be at work."""
    output_dir = Path(str(config.output_dir))
    refuse_finished(output_dir)
    with holding(output_dir) if config.should_save else nullcontext():
        PartialState().wait_for_everyone()
        refuse_finished(output_dir)
        _train(recipe, config, output_dir)


def _train(recipe: KlipArguments, config: TrainingArguments, output_dir: Path) -> None:
    checkpoint = checkpoint_to_resume(output_dir, recipe.resume)
    if checkpoint is not None:
        config.eval_on_start = False  # it is in the log
    trainer = make_trainer(recipe, config)
    trainer.accelerator.print(parameter_table(trainer.model))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if config.should_save:
        partial = output_dir / RESULT
        remedy = "free some space and run the same command with `resume: true`, which goes on from the last checkpoint"
        with watching_disk(output_dir, "output_dir: the phase's result", None, remedy):
            partial.mkdir()
            trainer.state.save_to_json(str(partial / STATE))  # with the losses of the whole run
            if trainer.left_out:
                write_left_out(trainer.left_out, partial)
            save_result(trainer.accelerator.unwrap_model(trainer.model), trainer.processing_class, recipe, partial)
            about = Run(recipe, config, trainer.state, trainer.used, recipe.save_dtype, ("prior", *LOSSES))
            write_phase_card(partial, output_dir, about)
            publish(output_dir)
            draw_stage(output_dir)
    for left_out in trainer.left_out:
        trainer.accelerator.print(left_out)


def run_recipe(arguments: Sequence[str] | None = None) -> None:
    """Run what a recipe and the arguments after it say; those of the command line when None."""
    run(*parse(arguments))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ``arguments`` are those of the command line when None."""
    run_recipe(arguments)
    end_process_group()


if __name__ == "__main__":
    try:
        main()
    except (InputError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"trl_recipes.klip.train: error: {error}")
