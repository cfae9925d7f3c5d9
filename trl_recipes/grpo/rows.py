"""Which questions are asked, which true answers are replayed, and what answers earn."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset, interleave_datasets
from torch.utils.data import Sampler

from fusargpt.errors import InputError
from fusargpt.metrics.rewards import in_form, reward
from trl_recipes.data.row_tasks import TASK_COLUMN
from trl_recipes.data.rows import Row

NUMBER = "number"
"""Column by which answers to one question are known to be that."""
REFERENCE = "reference"
Reward = Callable[..., list[float | None]]


def questions(rows: Dataset, tasks: Sequence[str], seed: int) -> Dataset:
    """Rows of `tasks`, each task as often as it stands there, until all rows of all have been asked; numbered.

    Raises:
        InputError: rows without tasks or of `messages`, a task that no row has, or a true answer that cannot be read.
    """
    missing = [name for name in (TASK_COLUMN, "prompt") if name not in rows.column_names]
    if missing:
        raise InputError(
            f"dataset_name: rows have no column {missing[0]}; reinforcement needs questions and their tasks"
        )
    found = np.array([name or "" for name in rows[TASK_COLUMN]])
    numbered = rows.add_column(NUMBER, list(range(len(rows))))  # pyright: ignore[reportCallIssue]  # as documented
    parts, shares = [], []
    for task in dict.fromkeys(tasks):
        own = np.flatnonzero(found == task)
        if not len(own):
            raise InputError(f"tasks: found {task}, of which dataset_name has no row")
        parts.append(numbered.select(own))
        shares.append(tasks.count(task) / len(tasks))
        _check_references(task, parts[-1])
    # With one part there is nothing to draw.
    if len(parts) == 1:
        return parts[0]
    return interleave_datasets(parts, probabilities=shares, seed=seed, stopping_strategy="all_exhausted")


def _check_references(task: str, rows: Dataset) -> None:
    for answer in {turns[-1]["content"] for turns in rows["completion"]}:
        try:
            reward(task, answer, answer)
        except InputError as error:
            raise InputError(f"dataset_name: a completion of {task}: {error}") from error


class QuestionSampler(Sampler[int]):
    """TRL's sampler, whose order in an epoch depends on seed and epoch alone: a resumed run asks what it would have.

    Args:
        sampler: as TRL makes it, which goes on in every epoch from where it was.
        seed: of the run.
    """

    def __init__(self, sampler: Any, seed: int) -> None:
        self.sampler = sampler
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before it begins an epoch."""
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.seed + epoch)


def replayed(rows: Dataset, tasks: Sequence[str] | None) -> Dataset:
    """Rows of `tasks`; all where it is None.

    Raises:
        InputError: a task that no row has.
    """
    if tasks is None:
        return rows
    found = rows[TASK_COLUMN]
    missing = set(tasks) - set(found)
    if missing:
        raise InputError(f"replay_tasks: found {sorted(missing)[0]}, of which dataset_name has no row")
    return rows.select([place for place, task in enumerate(found) if task in tasks])


class Replay:
    """Rows of true answers, drawn by seed and number of the batch alone.

    Args:
        rows: sequences, as the collator takes them.
        size: rows of a batch.
        seed: of the run.
    """

    def __init__(self, rows: Dataset, size: int, seed: int) -> None:
        self.rows = rows
        self.size = size
        self.seed = seed

    def batch(self, number: int, process: int) -> list[Row]:
        """The rows of the batch with this number in this process."""
        places = np.random.default_rng([self.seed, number, process]).integers(len(self.rows), size=self.size)
        return [self.rows[place] for place in places.tolist()]


def reward_functions(tasks: Sequence[str], end_tokens: Callable[[], Sequence[int]]) -> list[Reward]:
    """A function for each of `tasks`, as TRL calls it, by whose name its rewards are logged; None for other rows."""
    return [_reward_function(task, end_tokens) for task in dict.fromkeys(tasks)]


def _reward_function(task: str, end_tokens: Callable[[], Sequence[int]]) -> Reward:
    def earned(
        completions: Sequence[list[Row]],
        completion_ids: Sequence[Sequence[int]],
        task_of: Sequence[str],
        reference: Sequence[str],
        log_metric: Callable[[str, float], None],
    ) -> Iterator[float | None]:
        ends = set(end_tokens())
        for turns, tokens, own, true in zip(completions, completion_ids, task_of, reference, strict=True):
            if own != task:
                yield None
                continue
            answer, ended = turns[-1]["content"], tokens[-1] in ends
            log_metric(f"form/{task}", float(ended and in_form(task, answer)))
            yield reward(task, answer, true, ended)

    def function(completions: Any, completion_ids: Any, log_metric: Any, **columns: Any) -> list[float | None]:
        return list(earned(completions, completion_ids, columns[TASK_COLUMN], columns[REFERENCE], log_metric))

    function.__name__ = task
    return function


def grouped(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """Each question once, and of every row the place of its question among them."""
    places: dict[int, int] = {}
    unique: list[Row] = []
    for row in rows:
        if row[NUMBER] not in places:
            places[row[NUMBER]] = len(unique)
            unique.append(row)
    return unique, [places[row[NUMBER]] for row in rows]


def informative(inputs: dict[str, Any], advantages: torch.Tensor) -> dict[str, Any]:
    """A batch without the answers whose advantage is 0, one at least."""
    kept = advantages.nonzero()[:, 0]
    kept = kept if len(kept) else torch.zeros(1, dtype=torch.long, device=advantages.device)
    places = kept.tolist()

    def of(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[kept] if value.ndim else value
        return [value[place] for place in places]

    return {name: of(value) for name, value in inputs.items()}
