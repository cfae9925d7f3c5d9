"""What asks the items of a batch, in this process or as an actor of a Ray cluster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusargpt.inference.asking import Asking
from fusargpt.inference.journal import new_journal
from fusargpt.inference.questions import Failure, FusarGptAnswerer, Item, Question
from fusargpt.serving.batch_inputs import Source
from fusargpt.serving.engines import load_engine

RUN = "a batch"
"""What writes the journals, for messages."""


@dataclass(frozen=True)
class Work:
    """All that a worker needs; can be pickled.

    Attributes:
        engine: "transformers" or "vllm".
        model: folder, or name on the Hub.
        source: of the items.
        journals: folder in which each worker keeps a journal of its own.
        conditions: what the answers depend on.
        batch_size: items that are asked together.
        max_new_tokens: where an answer is cut.
    """

    engine: str
    model: str
    source: Source
    journals: Path
    conditions: dict[str, object]
    batch_size: int
    max_new_tokens: int


class Worker:
    """A loaded model that asks items of a batch."""

    def __init__(self, work: Work, advance: Callable[[int], object] = lambda count: None) -> None:
        self._source = work.source
        self._asking = Asking(
            FusarGptAnswerer(load_engine(work.engine, work.model)),
            self._read,
            new_journal(work.journals, work.conditions, RUN),
            batch_size=work.batch_size,
            max_new_tokens=work.max_new_tokens,
            advance=advance,
        )

    def ask(self, items: Sequence[Item]) -> list[Failure]:
        """As `Asking.run`."""
        return self._asking.run(items, "image")

    def _read(self, item: Item) -> Question:
        image, prior, read_as = self._source.read(item)
        return Question(item, image, item.question, prior, read_as=read_as)
