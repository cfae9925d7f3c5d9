"""What is asked of the values of a recipe's fields, whichever parser has read them. No torch here."""

import math
from collections.abc import Mapping

from fusargpt.errors import InputError, check_characters

Decided = dict[str, tuple[tuple[object, ...], str]]
"""Fields that a script decides, or that nothing reads: the values that each may have, and what to use instead."""

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


def check_values(values: Mapping[str, object]) -> None:
    """Raises InputError for numbers that are not finite or too large, and texts with characters that no field takes."""
    for name, value in values.items():
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


def check_decided(values: Mapping[str, object], decided: Decided) -> None:
    """Raises InputError for a field of `decided` that is given, and has another value than it may have."""
    for name, (allowed, instead) in decided.items():
        if name not in values:
            continue
        value = values[name]
        # 0 is no false here.
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            raise InputError(f"{name}: found {value!r}, expected {_in_yaml(allowed[0])}: {instead}")


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


def _in_yaml(value: object) -> str:
    return "null" if value is None else "false" if value is False else str(value)
