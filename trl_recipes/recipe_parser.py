"""The strict parser of recipes: a YAML file and ``--key value`` pairs, to a recipe's own fields and its trainer's."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn, TypeVar, get_type_hints

from transformers import TrainingArguments
from trl.scripts.utils import TrlParser

from fusargpt.errors import InputError, one_line
from fusargpt.installation import command_for
from fusargpt.private_names import parsed_types
from trl_recipes.field_checks import Decided, check_decided, check_values
from trl_recipes.recipe_file import check_recipe, recipe_path

Recipe = TypeVar("Recipe")
Config = TypeVar("Config", bound=TrainingArguments)

REPORTERS = ("tensorboard", "trackio")  # extras of this package; others are the Trainer's own


class _RecipeParser(TrlParser):
    def error(self, message: str) -> NoReturn:
        # argparse would print several hundred fields before what is wrong.
        raise InputError(message)


def parse_recipe(
    arguments: Sequence[str] | None,
    recipe_type: type[Recipe],
    config_type: type[Config],
    decided: Decided,
    program: str,
    example: str,
) -> tuple[Recipe, Config]:
    """Read `recipe.yaml` and the ``--key value`` pairs after it, which override it (``sys.argv`` when None).

    Args:
        arguments: the path of the recipe first.
        recipe_type: data class of the recipe's own fields.
        config_type: data class of its trainer's.
        decided: those of the latter that have one value.
        program: as ``--help`` names it.
        example: of a recipe, for who gives none.

    Raises:
        InputError: for no recipe, one that cannot be read or is not YAML, a key that no field has, or a value that a
            field does not allow.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Without allow_abbrev=False, argparse takes `--train_` or `--learning` for the first field that starts so.
    parser = _RecipeParser(
        parsed_types(recipe_type, config_type),
        prog=program,
        usage="%(prog)s RECIPE.yaml [--key value ...]",
        allow_abbrev=False,
    )
    if given[:1] not in (["--help"], ["-h"]):
        if not given or given[0].startswith("-"):
            raise InputError(
                f"no recipe: found {given[0] if given else 'no arguments'}, expected a YAML file first, for example "
                f"{example}, and what overrides it after"
            )
        given[:1] = ["--config", recipe_path(given[0])]
    try:
        if given[0] == "--config":
            hints = get_type_hints(config_type) | get_type_hints(recipe_type)
            # Fields that are decided here have one value, whatever their type would take.
            check_recipe(given[1], {name: hint for name, hint in hints.items() if name not in decided})
        recipe, config = parser.parse_args_and_config(given)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); expected a recipe") from error
    except ValueError as error:
        raise InputError(" ".join(str(error).split())) from error
    except ImportError as error:
        raise InputError(f"a field needs a package that is not installed: {one_line(error)}") from error
    # What TRL, transformers and accelerate raise on values that are not what they should be: of every type.
    except Exception as error:
        raise InputError(f"the recipe cannot be used: {type(error).__name__}: {one_line(error)}") from error
    check_values(vars(recipe) | vars(config))
    for name in config.report_to:
        if name in REPORTERS and find_spec(name) is None:
            raise InputError(f"report_to: {name} is not installed; this brings it: {command_for(name)}")
    check_decided(vars(config), decided)
    return recipe, config
