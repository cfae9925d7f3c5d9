"""Run a stage of reinforcement: ``python -m trl_recipes.grpo.train trl_recipes/nano/stage3.yaml [--key value]``."""

import sys
from collections.abc import Sequence

from fusargpt.errors import InputError
from trl_recipes import sft
from trl_recipes.grpo.arguments import ReinforcementArguments, parse
from trl_recipes.grpo.rows import Replay, questions, replayed
from trl_recipes.grpo.trainer import ReinforcementTrainer
from trl_recipes.running.processes import end_process_group
from trl_recipes.sft import in_sequences, prepare_stage
from trl_recipes.stage_config import ReinforcementConfig


def make_trainer(recipe: ReinforcementArguments, config: ReinforcementConfig) -> ReinforcementTrainer:
    """The trainer of a stage of reinforcement, ready to run.

    Raises InputError for rows without tasks or with true answers that cannot be read, and for evaluations without
    questions that can be scored.
    """
    stage = prepare_stage(recipe, config)
    seed = config.seed if config.data_seed is None else config.data_seed
    replay = None
    if recipe.replay_weight > 0:
        (rows,) = in_sequences(recipe, config, [replayed(stage.splits[0], recipe.replay_tasks)])
        replay = Replay(rows, recipe.replay_batch_size, seed)
    if config.eval_strategy != "no" and stage.answers is None:
        raise InputError(
            "eval_strategy: found evaluations that answer no question, expected eval_answers above 0 and a test split "
            "whose rows have a task; a stage of reinforcement has no other loss to evaluate"
        )
    return ReinforcementTrainer(
        recipe=recipe,
        left_out=stage.left_out,
        used=stage.used,
        collator=stage.collator,
        replay=replay,
        answers=stage.answers,
        model=stage.model,
        args=config,
        train_dataset=questions(stage.splits[0], recipe.tasks, seed),
        eval_dataset=stage.splits[1] if len(stage.splits) == 2 else None,
        processing_class=stage.processor,
        peft_config=stage.adapter,
    )


def run_recipe(arguments: Sequence[str] | None = None) -> None:
    """Run what a recipe and the arguments after it say; those of the command line when None."""
    sft.run_recipe(arguments, parse, make_trainer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ``arguments`` are those of the command line when None."""
    run_recipe(arguments)
    end_process_group()


if __name__ == "__main__":
    try:
        main()
    except (InputError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"trl_recipes.grpo.train: error: {error}")
