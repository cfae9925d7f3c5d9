"""`fusargpt train RECIPE.yaml [--key value]`: one stage of training."""

from collections.abc import Sequence

from fusargpt.cli.extras import needs
from fusargpt.errors import InputError

_USAGE = """usage: fusargpt train RECIPE.yaml [--key value ...]

Run the stage that a recipe describes: a file, or the name of one that comes with the package, as nano/stage2. Every
field of the recipe can be overridden; a key that no field has is an error.

examples:
  fusargpt train trl_recipes/nano/stage2.yaml --max_steps 100
  fusargpt train trl_recipes/nano/stage3.yaml
  fusargpt train trl_recipes/klip/nano/p0.yaml
  accelerate launch --config_file trl_recipes/accelerate/ddp.yaml -m trl_recipes.sft trl_recipes/stage1.yaml

`python -m trl_recipes.sft --help` lists the fields, `python -m trl_recipes.grpo.train --help` those of stage 3;
`fusargpt plan RECIPE.yaml` says what a stage will cost."""


def main(arguments: Sequence[str]) -> None:
    """Run the stage that the recipe describes and leave its result in the recipe's `output_dir`.

    Raises:
        InputError: the training extra is not installed, no recipe or a wrong one, or an output that is in the way.
    """
    if list(arguments) in (["--help"], ["-h"]):
        print(_USAGE)
        return
    with needs("training needs", "train"):
        from trl_recipes.recipe_file import recipe_path, system_of

        # What is quick to check comes before the seconds that torch takes to import.
        if not arguments or arguments[0].startswith("-"):
            found = arguments[0] if arguments else "no arguments"
            raise InputError(
                f"no recipe: found {found}, expected a YAML file first, as in: fusargpt train nano/stage2.yaml"
            )
        arguments = [recipe_path(arguments[0]), *arguments[1:]]
        system = system_of(arguments[0])
        if system == "fusar-gpt-grpo":
            from trl_recipes.grpo.train import run_recipe
        elif system is not None:
            from trl_recipes.klip.train import run_recipe
        else:
            from trl_recipes.sft import run_recipe
    try:
        run_recipe(arguments)
    except (FileExistsError, FileNotFoundError) as error:
        raise InputError(str(error)) from error
