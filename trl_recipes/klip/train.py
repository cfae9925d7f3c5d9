"""Run one phase of FUSAR-KLIP, or fine-tune it to classes: ``python -m trl_recipes.klip.train RECIPE.yaml``, as with
trl_recipes/klip/nano/p0.yaml or trl_recipes/klip/nano/classify.yaml, and ``--key value`` after it."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

from accelerate import PartialState
from transformers import TrainingArguments

from fusargpt.errors import InputError
from fusargpt.files import watching_disk
from trl_recipes.data.row_checks import write_left_out
from trl_recipes.klip.arguments import LOSSES, KlipArguments, parse
from trl_recipes.klip.checkpoint import save_result
from trl_recipes.klip.classifier_arguments import CLASSIFIER
from trl_recipes.klip.classifier_arguments import parse as parse_classifier
from trl_recipes.klip.epoch_trainer import EpochTrainer
from trl_recipes.klip.make_trainer import AnyRecipe, make_trainer
from trl_recipes.klip.parameters import parameter_table
from trl_recipes.recipe_file import recipe_path, system_of
from trl_recipes.running.atomic_runs import RESULT, STATE, checkpoint_to_resume, holding, publish, refuse_finished
from trl_recipes.running.curves import draw_stage
from trl_recipes.running.processes import end_process_group
from trl_recipes.running.stage_card import Run, write_classifier_card, write_phase_card


def run(recipe: AnyRecipe, config: TrainingArguments) -> None:
    """Train what a recipe says and leave its result in ``config.output_dir``, where no other run may be at work."""
    output_dir = Path(str(config.output_dir))
    refuse_finished(output_dir)
    with holding(output_dir) if config.should_save else nullcontext():
        PartialState().wait_for_everyone()
        refuse_finished(output_dir)
        _train(recipe, config, output_dir)


def _train(recipe: AnyRecipe, config: TrainingArguments, output_dir: Path) -> None:
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
            _write_card(recipe, trainer, partial, output_dir)
            publish(output_dir)
            draw_stage(output_dir)
    for left_out in trainer.left_out:
        trainer.accelerator.print(left_out)


def _write_card(recipe: AnyRecipe, trainer: EpochTrainer, folder: Path, place: Path) -> None:
    about = (recipe, trainer.args, trainer.state, trainer.used, recipe.save_dtype)
    if isinstance(recipe, KlipArguments):
        write_phase_card(folder, place, Run(*about, ("prior", *LOSSES)))
    else:
        names = list(cast(dict[int, str], trainer.model.config.id2label).values())
        write_classifier_card(folder, place, Run(*about, ("prior", "frozen", "class_weights")), names)


def parse_any(arguments: Sequence[str] | None = None) -> tuple[AnyRecipe, TrainingArguments]:
    """The recipe that `system` says it is; raises what the parsers of both raise."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and not given[0].startswith("-") and system_of(recipe_path(given[0])) == CLASSIFIER:
        return parse_classifier(given)
    return parse(given)


def run_recipe(arguments: Sequence[str] | None = None) -> None:
    """Run what a recipe and the arguments after it say; those of the command line when None."""
    run(*parse_any(arguments))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ``arguments`` are those of the command line when None."""
    run_recipe(arguments)
    end_process_group()


if __name__ == "__main__":
    try:
        main()
    except (InputError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"trl_recipes.klip.train: error: {error}")
