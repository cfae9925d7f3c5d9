"""The option `--target` of verbs that ask a task's own question."""

import argparse
from collections.abc import Callable
from typing import Any

from fusargpt.checkpoints import DEFAULT, name_of, targets_of
from fusargpt.errors import InputError
from fusargpt.tasks.target_names import TARGETS, check_known, check_target


def add_target(add: Callable[..., Any]) -> None:
    """Add it by `add_argument` of a parser or group."""
    add(
        "--target",
        metavar="CLASS",
        type=_target,
        help=f"what the task's own question is about, as the model's dataset calls it; {DEFAULT.name} knows "
        f"{' and '.join(TARGETS)} (default: {TARGETS[0]})",
    )


def check_answered(model: str | None, target: str | None) -> None:
    """Raises InputError for a class that a model folder says it does not know, before the seconds of an import.

    Args:
        model: folder, or name on the Hub, which is looked at when it is loaded; None is the default.
        target: None is the default.
    """
    model = str(DEFAULT) if model is None else model
    check_known(target or TARGETS[0], targets_of(model), name_of(model))


def _target(text: str) -> str:
    try:
        check_target(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("target: ")) from error
    return text
