"""Which task each row, and each token that carries loss, belongs to."""

from collections.abc import Sequence

import torch
from datasets import Dataset, Value
from torch import Tensor

from fusargpt.errors import InputError

TASK_COLUMN = "task"
NO_TASK = -1


def task_names(splits: Sequence[Dataset]) -> tuple[str, ...]:
    """The tasks that rows of `splits` name, sorted; none where there is no column `task`."""
    named = [split.unique(TASK_COLUMN) for split in splits if TASK_COLUMN in split.column_names]
    return tuple(sorted({name for names in named for name in names if name is not None}))


def answers_begun(labels: Tensor, ignored: int) -> Tensor:
    """How many answers of its row have begun up to every token: int64 [batch, tokens].

    Args:
        labels: [batch, tokens]; a run of labels other than `ignored` is one answer.
        ignored: the label without loss.
    """
    carries_loss = labels != ignored
    begins = carries_loss.clone()
    begins[:, 1:] &= ~carries_loss[:, :-1]
    return begins.cumsum(1)


def answer_tasks(labels: Tensor, tasks: Sequence[Sequence[int]], ignored: int) -> Tensor:
    """The task of every token that carries loss, `NO_TASK` elsewhere: int64 [batch, tokens].

    Args:
        labels: [batch, tokens]; a run of labels other than `ignored` is one answer.
        tasks: for every row, the task of each of its answers, in their order.
        ignored: the label without loss.
    """
    carries_loss = labels != ignored
    begun = answers_begun(labels, ignored)
    result = torch.full_like(labels, NO_TASK)
    for row, own in enumerate(tasks):
        answer = begun[row, carries_loss[row]] - 1
        result[row, carries_loss[row]] = torch.tensor(own, dtype=labels.dtype)[answer]
    return result


def check_task_column(name: str, rows: Dataset) -> None:
    """Raises InputError when the column `task` of the data set `name` holds anything but texts."""
    feature = rows.features[TASK_COLUMN]
    if not isinstance(feature, Value) or feature.dtype not in ("string", "large_string"):
        raise InputError(
            f"dataset {name}: column task: found {feature}, expected the task's name as a text; "
            "cast the column, or leave it out"
        )
