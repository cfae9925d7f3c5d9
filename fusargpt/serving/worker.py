"""What asks the items of a batch, in this process or as an actor of a Ray cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from fusargpt.serving.batch_inputs import Item, Source
from fusargpt.serving.engines import Failure, answer_batch, load_engine
from fusargpt.serving.parts import Parts


@dataclass(frozen=True)
class Asking:
    """All that a worker needs; can be pickled."""

    engine: str
    model: str
    source: Source
    parts: Parts
    max_new_tokens: int

    def load(self) -> "Worker":
        return Worker(self)


class Worker:
    """A loaded model that asks one batch after another and writes a part of each."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._model = load_engine(asking.engine, asking.model)

    def ask(self, items: Sequence[Item]) -> list[Failure]:
        answers, failures = answer_batch(self._model, self._asking.source, items, self._asking.max_new_tokens)
        self._asking.parts.write(answers)
        return failures
