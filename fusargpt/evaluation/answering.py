"""One entry answers its items in batches; what fails alone costs no other item."""

import sys
import time
from collections.abc import Iterator, Sequence

from datasets import Dataset
from PIL import Image
from tqdm import tqdm

from fusargpt.errors import one_line
from fusargpt.evaluation.answer_forms import classes, grammars, with_form
from fusargpt.evaluation.answerers import Answerer, Asked
from fusargpt.evaluation.entries import Entry
from fusargpt.evaluation.items import Failure, Item
from fusargpt.inference.journal import Answer, Journal
from fusargpt.inference.rows import read_picture, read_prior
from fusargpt.tasks.prompts import TASKS


def batches(items: Sequence[Item], size: int) -> Iterator[list[int]]:
    """Indices of items in batches of one task, whose answers are about as long, and of like inputs.

    The length of an input grows with the image's area and the question's letters, so that neighbours in this order need
    little padding.
    """
    for task in TASKS:
        of_task = [index for index, item in enumerate(items) if item.task == task]
        of_task.sort(key=lambda index: (items[index].width * items[index].height, len(items[index].question), index))
        for start in range(0, len(of_task), size):
            yield of_task[start : start + size]


class Answering:
    """Puts the items of a benchmark to one entry after another.

    Args:
        rows: the dataset.
        items: what is asked.
        max_new_tokens: where an answer is cut.
        batch_size: of items that a model answers together; in float32 the answers do not depend on it.
        constrained: hold answers to the form of their task, where the model can be held.
    """

    def __init__(
        self, rows: Dataset, items: Sequence[Item], max_new_tokens: int, batch_size: int, constrained: bool
    ) -> None:
        self._rows, self._items = rows, items
        self._max_new_tokens, self._batch_size = max_new_tokens, batch_size
        self._classes = classes(items)
        self._forms = grammars(items) if constrained else {}

    def run(
        self, entry: Entry, answerer: Answerer, given: Sequence[int | None], journal: Journal, progress: tqdm
    ) -> list[Failure]:
        """Answer all items that the journal does not hold, and write them there batch by batch.

        Args:
            entry: who answers.
            answerer: its model.
            given: the row whose prior each item gets, or None.
            journal: of this entry.
            progress: counts items.

        Returns:
            The items that failed; the next run tries them again.
        """
        left = [index for index, item in enumerate(self._items) if item.id not in journal.answers]
        failures: list[Failure] = []
        for batch in batches([self._items[index] for index in left], self._batch_size):
            asked = []
            for index in (left[place] for place in batch):
                try:
                    asked.append(self._prepare(entry, answerer, self._items[index], given[index]))
                # Whatever is wrong with one item, and whatever a library says to it, costs no other.
                except Exception as error:
                    failures.append(Failure(self._items[index].id, one_line(error), entry.label))
            failures += self._answer(entry, answerer, asked, journal)
            progress.update(len(batch))
        return failures

    def _prepare(self, entry: Entry, answerer: Answerer, item: Item, given: int | None) -> Asked:
        image = read_picture(self._rows[item.row])
        prior = None if given is None else read_prior(self._rows[given])
        question = item.question
        if entry.with_form:
            question = with_form(item, _frame(entry, answerer, image), self._classes, entry.in_thousandths)
        return Asked(item, image, question, prior, self._forms.get(item.task))

    def _answer(self, entry: Entry, answerer: Answerer, batch: list[Asked], journal: Journal) -> list[Failure]:
        if not batch:
            return []
        started = time.perf_counter()
        try:
            texts = answerer.answers(batch, self._max_new_tokens)
            seconds = (time.perf_counter() - started) / len(batch)
            journal.add(
                [
                    Answer(asked.item.id, asked.question, text, _frame(entry, answerer, asked.image), round(seconds, 4))
                    for asked, text in zip(batch, texts, strict=True)
                ]
            )
        except OSError:
            raise  # the journal cannot be written
        except Exception as error:
            if len(batch) == 1:
                return [Failure(batch[0].item.id, one_line(error), entry.label)]
            tqdm.write(f"A batch of {len(batch)} failed, and is asked one by one: {one_line(error)}", sys.stderr)
            return [failure for asked in batch for failure in self._answer(entry, answerer, [asked], journal)]
        return []


def _frame(entry: Entry, answerer: Answerer, image: Image.Image) -> tuple[int, int]:
    """Width and height of the image in the unit of the entry's boxes."""
    return (1000, 1000) if entry.in_thousandths else answerer.seen_size(image)
