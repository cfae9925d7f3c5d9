"""The strict parser of recipes: a YAML file and ``--key value`` pairs, to a recipe's own fields and its trainer's."""

import math
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import NoReturn, TypeVar, get_type_hints

from transformers import TrainingArguments
from trl.scripts.utils import TrlParser

from fusargpt.errors import InputError, check_characters, one_line
from fusargpt.installation import command_for
from fusargpt.private_names import parsed_types
from trl_recipes.recipe_file import check_recipe, recipe_path

Recipe = TypeVar("Recipe")
Config = TypeVar("Config", bound=TrainingArguments)
Decided = dict[str, tuple[tuple[object, ...], str]]
"""Fields that a script decides, or that nothing reads: the values that each may have, and what to use instead."""

REPORTERS = ("tensorboard", "trackio")  # extras of this package; others are the Trainer's own
_NOT_PUSHED = "push output_dir when the stage is done"
DECIDED_FOR_ALL: Decided = {
    "resume_from_checkpoint": ((None,), "use resume: true"),
    "push_to_hub": ((False,), _NOT_PUSHED),
    "hub_model_id": ((None,), _NOT_PUSHED),
    "hub_strategy": (("every_save",), _NOT_PUSHED),
    "hub_private_repo": ((None,), _NOT_PUSHED),
    "hub_always_push": ((False,), _NOT_PUSHED),
    "hub_revision": ((None,), _NOT_PUSHED),
}
LARGEST = 2**63
"""Whole numbers of a recipe lie below: steps and bytes are counted in them, and divided."""
SEEDS = ("seed", "data_seed")
LARGEST_SEED = 2**32 - 1  # numpy's generators take no larger one


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
    for name, value in (vars(recipe) | vars(config)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name}: found {value}, expected a finite number")
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise InputError(f"{name}: found a number of {value.bit_length():,} bits, expected one below 2^63")
        if name in SEEDS and isinstance(value, int) and not 0 <= value <= LARGEST_SEED:
            raise InputError(f"{name}: found {value}, expected a number between 0 and {LARGEST_SEED}")
        if isinstance(value, str):
            check_characters(value, name)
            if "\x00" in value:
                raise InputError(f"{name}: found {value!r}, expected a text without the character 0")
    for name in config.report_to:
        if name in REPORTERS and find_spec(name) is None:
            raise InputError(f"report_to: {name} is not installed; this brings it: {command_for(name)}")
    _check_decided(config, decided)
    return recipe, config


def check_effect(recipe: object, defaults: Mapping[str, object], does: bool, needs: str) -> None:
    """Raises InputError for fields that say something about what the recipe does not do.

    Args:
        recipe: whose fields are looked at.
        defaults: the fields and what they are where nothing is said.
        does: whether the recipe does what they are about.
        needs: what it takes for them to have an effect.
    """
    for name, default in {} if does else defaults.items():
        value = vars(recipe)[name]
        if value != default:
            raise InputError(
                f"{name}: found {value!r}, which has no effect without {needs}; set that too, or leave it out"
            )


def _check_decided(config: TrainingArguments, decided: Decided) -> None:
    for name, (allowed, instead) in decided.items():
        value = vars(config)[name]
        # 0 is no false here.
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            raise InputError(f"{name}: found {value!r}, expected {_in_yaml(allowed[0])}: {instead}")


def _in_yaml(value: object) -> str:
    return "null" if value is None else "false" if value is False else str(value)
