"""Which classes of targets a model knows once it is trained: those that it knew, and those of the answers."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from datasets import Dataset

from fusargpt.errors import InputError
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.prompts import NONE_ANSWER
from fusargpt.tasks.target_names import check_target, in_order
from trl_recipes.data.row_tasks import TASK_COLUMN

_COMPLETION = "completion"


def trained_targets(known: Sequence[str] | None, rows: Dataset) -> list[str] | None:
    """The classes that a processor names after a stage, those that it named before first.

    Args:
        known: what the base's processor names; None where it does not say.
        rows: of the training split; classes are the labels of boxes in answers to "detect" and the answers to
            "classify". Rows without tasks, and `messages`, teach none that is known here.

    Returns:
        None where neither names any.
    """
    found: set[str] = set()
    if {TASK_COLUMN, _COMPLETION} <= set(rows.column_names):
        for row in rows.select_columns([TASK_COLUMN, _COMPLETION]):
            found |= _classes(cast(Mapping[str, Any], row))
    new = [name for name in in_order(found) if name not in (known or ()) and _can_be_asked(name)]
    return [*(known or ()), *new] or None


def _classes(row: Mapping[str, Any]) -> set[str]:
    answer = "".join(turn["content"] or "" for turn in row[_COMPLETION] or ())
    if row[TASK_COLUMN] == "detect":
        return {label for _, label in parse_boxes(answer).value}
    return {answer} - {NONE_ANSWER} if row[TASK_COLUMN] == "classify" else set()


def _can_be_asked(name: str) -> bool:
    try:
        check_target(name)
    except InputError:
        return False
    return True
