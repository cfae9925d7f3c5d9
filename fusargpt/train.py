"""`fusargpt train --config RECIPE.yaml [--key value]`: one stage of training."""

from collections.abc import Sequence

from fusar_geo.errors import InputError

_EXTRA = ("trl", "peft", "datasets", "accelerate", "yaml")


def main(arguments: Sequence[str]) -> None:
    """Run the stage that the recipe describes and leave its result in the recipe's `output_dir`.

    Raises:
        InputError: the training extra is not installed, no recipe or a wrong one, or an output that is in the way.
    """
    if not arguments:
        raise InputError("no recipe; give one with --config, for example trl_recipes/stage1.yaml")
    try:
        from yaml import YAMLError

        from trl_recipes.arguments import parse
        from trl_recipes.sft import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise InputError(f"training needs {package}; pip install 'fusargpt[train]' brings it") from error
    try:
        recipe, config = parse(arguments)
    except YAMLError as error:
        raise InputError(f"the recipe is not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    try:
        run(recipe, config)
    except (FileExistsError, FileNotFoundError) as error:
        raise InputError(str(error)) from error
