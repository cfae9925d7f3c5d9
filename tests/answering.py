"""Stand-ins for a model that answers."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from fusargpt.inference.beginning import Asked


def by_batches(answers: Callable[..., list[str]]) -> Callable[..., Iterator[list[tuple[int, str]]]]:
    """`FusarGpt.in_turn` of a model whose answers to a whole batch come at once, by what is called as
    `FusarGpt.answers`."""

    def in_turn(
        self: Any, asked: Iterable[Asked], max_new_tokens: int, batch_size: int
    ) -> Iterator[list[tuple[int, str]]]:
        left, first = iter(asked), 0
        while batch := list(islice(left, batch_size)):
            images, questions, priors, forms, tasks = map(list, zip(*batch, strict=True))
            found = answers(self, images, questions, priors, max_new_tokens, len(batch), forms, tasks)
            yield list(enumerate(found, first))
            first += len(batch)

    return in_turn
