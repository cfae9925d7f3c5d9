"""`fusargpt train RECIPE.yaml [--key value]`: one stage of training."""

from collections.abc import Sequence

from fusargpt.errors import InputError

_EXTRA = ("trl", "peft", "datasets", "accelerate", "yaml", "sacrebleu", "rouge_score")
_USAGE = """usage: fusargpt train RECIPE.yaml [--key value ...]

Run the stage that a recipe describes. Every field of the recipe can be overridden; a key that no field has is an error.

examples:
  fusargpt train trl_recipes/nano/stage2.yaml --max_steps 100
  accelerate launch --config_file trl_recipes/accelerate/ddp.yaml -m trl_recipes.sft trl_recipes/stage1.yaml

`python -m trl_recipes.sft --help` lists the fields; `fusargpt plan RECIPE.yaml` says what a stage will cost."""


def main(arguments: Sequence[str]) -> None:
    """Run the stage that the recipe describes and leave its result in the recipe's `output_dir`.

    Raises:
        InputError: the training extra is not installed, no recipe or a wrong one, or an output that is in the way.
    """
    if list(arguments) in (["--help"], ["-h"]):
        print(_USAGE)
        return
    try:
        from trl_recipes.arguments import parse
        from trl_recipes.sft import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise InputError(f"training needs {package}; pip install 'fusargpt[train]' brings it") from error
    try:
        run(*parse(arguments))
    except (FileExistsError, FileNotFoundError) as error:
        raise InputError(str(error)) from error
