"""How an item of a benchmark is put to one entry after another."""

from collections.abc import Callable, Sequence

from datasets import Dataset

from fusargpt.evaluation.answer_forms import classes, example, grammars, with_form
from fusargpt.evaluation.entries import Entry
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.priors import WITHOUT_IMAGE
from fusargpt.geo.blank import blank
from fusargpt.inference.questions import Answerer, Question
from fusargpt.inference.rows import SharedReading


class Reading:
    """Makes questions of the items of a benchmark.

    Args:
        rows: the dataset.
        items: what is asked.
        constrained: hold answers to the form of their task, where the model can be held.
    """

    def __init__(self, rows: Dataset, items: Sequence[KnownItem], constrained: bool) -> None:
        self._rows = rows
        self._classes, self._label = classes(items), example(items)
        self._forms = grammars(items) if constrained else {}
        self._shared = SharedReading()

    def of(self, entry: Entry, answerer: Answerer, given: dict[str, int | None]) -> Callable[[KnownItem], Question]:
        """What reads an item for an entry.

        Args:
            entry: who is asked.
            answerer: its model.
            given: by the items' ids, the row whose prior each gets, or None.
        """

        def read(item: KnownItem) -> Question:
            image = self._shared.picture(self._rows[item.row])
            if entry.prior == WITHOUT_IMAGE:
                image = blank(image)
            row = given[item.id]
            prior = None if row is None else self._shared.prior(self._rows[row])
            text = item.question
            if entry.with_form:
                text = with_form(item, answerer.seen_size(image), self._classes, self._label, entry.in_thousandths)
            return Question(item, image, text, prior, self._forms.get(item.task))

        return read
