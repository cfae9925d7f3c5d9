"""Answers of the model in training to questions of the test split, scored by the project's metrics."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from fusargpt.errors import InputError
from fusargpt.inference.faces import Generates
from fusargpt.metrics.scores import TALLIES, task_scores
from modeling_fusargpt import AnyFusarGpt
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.row_tasks import TASK_COLUMN
from trl_recipes.data.rows import Batch


def choose_rows(tasks: Sequence[str | None], count: int) -> list[int]:
    """Up to `count` rows whose task has a metric, as many of each task as there are, in rising order.

    The same rows in every run, drawn with a fixed seed.
    """
    times: dict[str, int] = {}
    turns: list[tuple[int, int]] = []
    for row in np.random.default_rng(0).permutation(len(tasks)).tolist():
        task = tasks[row]
        if task in TALLIES:
            times[task] = times.get(task, 0) + 1
            turns.append((times[task], row))
    # Stable, so that within a turn the tasks stay in the order drawn.
    return sorted(row for _, row in sorted(turns, key=lambda place: place[0])[:count])


class AnswerScores:
    """Questions of a test split, to be answered and scored again and again.

    Every process of a distributed run holds the whole model and answers its share.

    Args:
        collator: of the run, for the form in which the model takes images and priors.
        rows: with `prompt`, `completion` and `task`, one question each, and what else `collator` reads.
        count: questions to answer at most.
        max_new_tokens: where an answer is cut that has not ended by itself.
        batch_size: questions answered at once.

    Raises:
        InputError: for a row whose completion is not in its task's form.
    """

    def __init__(
        self, collator: TripletCollator, rows: Dataset, count: int, max_new_tokens: int, batch_size: int
    ) -> None:
        self.collator = collator
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.rows = rows.select(choose_rows(list(rows[TASK_COLUMN]), count))
        self.tasks = list(self.rows[TASK_COLUMN])
        self.references = [
            reference
            for places in self._batches(range(len(self.rows)))
            for reference in collator.seen_answers([self.rows[place] for place in places])
        ]
        try:
            self._scores(self.references)  # before the first step, not at the first evaluation
        except InputError as error:
            raise InputError(f"eval_answers: the test split: completion: {error}") from error

    def __call__(self, model: AnyFusarGpt, prepare: Callable[[Batch], Batch]) -> dict[str, float]:
        """Scores by `TASK_METRIC`, as `metrics` names them: shares from 0 to 1, NaN where there is nothing to score.

        Args:
            model: in evaluation mode; adapters may be in place.
            prepare: moves a batch to the model's device.
        """
        state = PartialState()
        own = range(state.process_index, len(self.rows), state.num_processes)
        answers: list[tuple[int, str]] = []
        for batch in self._batches(own):
            texts = self._answers(model, prepare(self.collator.questions([self.rows[place] for place in batch])))
            answers += zip(batch, texts, strict=True)
        every: list[tuple[int, str]] = gather_object(answers)
        return self._scores([answer for _, answer in sorted(every)])

    def _batches(self, places: range) -> list[range]:
        return [places[start : start + self.batch_size] for start in range(0, len(places), self.batch_size)]

    @torch.no_grad()
    def _answers(self, model: AnyFusarGpt, inputs: Batch) -> list[str]:
        tokens = cast(Generates, model).generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            use_cache=True,
            do_sample=False,
            # Published generation configurations carry these, and greedy decoding warns about them.
            temperature=None,
            top_p=None,
            top_k=None,
        )
        new_tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = self.collator.processor.batch_decode(new_tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _scores(self, answers: Sequence[str]) -> dict[str, float]:
        scores: dict[str, float] = {}
        for task in sorted(set(self.tasks)):
            own = [place for place, found in enumerate(self.tasks) if found == task]
            found = task_scores(task, [answers[place] for place in own], [self.references[place] for place in own])
            scores |= {f"{task}_{name}": score.value for name, score in found.items()}
        return scores
