"""The rows that are decoded together: what each has, the step that reads them, and how they leave and join."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.cache_utils import Cache

from fusargpt.inference.counts import ALTERNATIVES, STEPS
from fusargpt.inference.drafts import Context, Drafts
from fusargpt.inference.growing_layer import GrowingLayer
from modeling_fusargpt import AnyFusarGpt


class Held(Protocol):
    """An answer that is held to a form, as `fusargpt.inference.constrained.ConstrainedAnswer`."""

    def take(self, token: int) -> None: ...


@dataclass(eq=False)
class RunningRow:
    """One answer as it is decoded.

    Attributes:
        number: of its question.
        task: of `fusargpt.tasks.prompts.TASKS`; None of a free question.
        held: the form that it is held to; None decodes it freely.
        tell: is told of each token.
        tokens: with the one that ends it, unless it was cut.
        log_probabilities: of each, as they are where nothing is restricted.
        alternatives: of each of the first `STEPS` tokens of a count the most probable ones, with their
            log-probabilities.
        context: the task and the tokens, as `Drafts` keeps them.
        questioned: columns of the question, from its first token on.
        ended: whether nothing follows.
    """

    number: int
    task: str | None = None
    held: Held | None = None
    tell: Callable[[int], object] = lambda token: None
    tokens: list[int] = field(default_factory=list[int])
    log_probabilities: list[float] = field(default_factory=list[float])
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list[list[tuple[int, float]]])
    context: Context = field(default_factory=Context)
    questioned: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.context.append(self.task)


Choose = Callable[[Tensor, Sequence[RunningRow]], Tensor]
"""The next token [rows] of each row, by scores [rows, vocabulary]."""


def best(scores: Tensor, rows: Sequence[RunningRow]) -> Tensor:
    """The token with the highest score."""
    return scores.argmax(-1)


@dataclass(eq=False)
class RunningBatch:
    """Rows that are decoded together, in the midst of it.

    Rows of all lengths end in the last columns of the cache. Between the tokens of one there may be columns that are
    masked, where others took more of their drafts; positions tell their order.

    Attributes:
        model: that decodes them.
        rows: the answers.
        most: tokens that an answer may have.
        ids: [rows, tokens] of questions and answers, whole; in place of padding stands what a row begins with.
        mask: [rows, columns], whether the cache holds a token of the row there; None where it does everywhere.
        positions: [axes, rows, 1] of the last token, which the model has not read yet.
        caches: one, by the name that the model has for it.
        logits_processor, stopping_criteria: of all rows.
        choose: of the tokens.
        drafts: of the tokens to come; None where there are none.
        alone: whether no rows may join these, and none of their tokens is drafted.
    """

    model: AnyFusarGpt
    rows: list[RunningRow]
    most: int
    ids: Tensor
    mask: Tensor | None
    positions: Tensor
    caches: dict[str, Cache]
    logits_processor: LogitsProcessorList
    stopping_criteria: StoppingCriteriaList
    choose: Choose
    drafts: Drafts | None
    alone: bool

    def step(self) -> None:
        """One more token of each row, and those of its draft that the model would have written too."""
        drafts = self._drafted()
        fed = 1 + max(map(len, drafts))
        tokens = self.ids[:, -1:]
        if fed > 1:
            filled_up = [[*draft, *[0] * (fed - 1 - len(draft))] for draft in drafts]
            tokens = torch.cat([tokens, torch.tensor(filled_up, device=tokens.device)], dim=1)
            self.mask = torch.ones_like(self.ids[:, 1:]) if self.mask is None else self.mask
        if self.mask is not None:
            self.mask = pad(self.mask, (0, fed), value=1)
        places = torch.arange(fed, device=tokens.device)
        outputs = cast(Any, self.model)(
            input_ids=tokens,
            attention_mask=self.mask,
            position_ids=self.positions + places,
            use_cache=True,
            return_dict=True,
            **self.caches,
        )
        taken = self.take(outputs.logits, drafts)
        if fed > 1:
            counts = torch.tensor(taken, device=tokens.device)[:, None]
            self.positions = self.positions + counts
            # What was not taken stays in the cache where another row has taken more, and is never looked at.
            self._give_up(fed - max(taken))
            self.mask = cast(Tensor, self.mask)
            self.mask[:, self.mask.shape[1] - max(taken) :] = (places[: max(taken)] < counts).to(self.mask.dtype)
        else:
            self.positions = self.positions + 1

    def _drafted(self) -> list[list[int]]:
        """Of each row."""
        most = 0 if self.drafts is None or self.alone else self.drafts.most(len(self.rows))
        if self.drafts is None or most == 0:
            return [[] for _ in self.rows]
        return [self.drafts.draft(row.context, min(most, self.most - len(row.tokens) - 1)) for row in self.rows]

    def _give_up(self, columns: int) -> None:
        """The last ones, which are nobody's."""
        if columns:
            self.mask = None if self.mask is None else self.mask[:, :-columns]
            for cache in self.caches.values():
                for layer in cache.layers:
                    cast(GrowingLayer, layer).give_up(columns)

    def take(self, logits: Tensor, drafts: Sequence[Sequence[int]]) -> list[int]:
        """Each row goes on with the tokens that are chosen, as long as they are those of its draft, and the one behind.

        Args:
            logits: [rows, columns, vocabulary], behind the last token and behind each of the draft.
            drafts: of each row, `columns` - 1 tokens at most.

        Returns:
            How many tokens each row has got.
        """
        before, ids, places = [len(row.tokens) for row in self.rows], self.ids, list(range(len(self.rows)))
        for column in range(logits.shape[1]):
            rows = [self.rows[place] for place in places]
            of_rows = logits[:, column] if len(rows) == len(logits) else logits[places, column]
            scores = self.logits_processor(cast(Any, ids), cast(Any, of_rows.float()))
            tokens = self.choose(scores, rows)
            ids = torch.cat([ids, tokens[:, None]], dim=1)
            self._note(rows, tokens, scores, self.stopping_criteria(cast(Any, ids), cast(Any, None)))
            agree = [
                number
                for number, (row, place) in enumerate(zip(rows, places, strict=True))
                if not row.ended and drafts[place][column : column + 1] == row.tokens[-1:]
            ]
            if not agree:
                break
            ids, places = ids[agree], [places[number] for number in agree]
        taken = [len(row.tokens) - count for row, count in zip(self.rows, before, strict=True)]
        most = max(taken)
        new = [[*row.tokens[-count:], *[0] * (most - count)] for row, count in zip(self.rows, taken, strict=True)]
        self.ids = torch.cat([self.ids, torch.tensor(new, device=ids.device)], dim=1)
        if min(taken) < most:
            # To the right.
            columns = torch.arange(self.ids.shape[1], device=ids.device)
            moved = torch.tensor([most - count for count in taken], device=ids.device)
            self.ids = self.ids.gather(1, (columns - moved[:, None]).clamp(min=0))
        return taken

    def _note(self, rows: Sequence[RunningRow], tokens: Tensor, scores: Tensor, at_end: Tensor) -> None:
        """The token that each row goes on with, and how probable it and others were."""
        total = scores.logsumexp(-1, keepdim=True)
        chosen = (scores.gather(1, tokens[:, None]) - total)[:, 0].tolist()
        counting = [place for place, row in enumerate(rows) if row.task == "count" and len(row.tokens) < STEPS]
        if counting:
            others = scores[counting].topk(min(ALTERNATIVES, scores.shape[1]))
            values = (others.values - total[counting]).tolist()
            for place, *of_row in zip(counting, others.indices.tolist(), values, strict=True):
                rows[place].alternatives.append(list(zip(*of_row, strict=True)))
        for row, token, probability, ended in zip(rows, tokens.tolist(), chosen, at_end.tolist(), strict=True):
            row.tokens.append(token)
            row.log_probabilities.append(probability)
            row.ended = ended or len(row.tokens) >= self.most
            row.tell(token)
            if row.held is not None:
                row.held.take(token)
            if self.drafts is not None:
                self.drafts.learn(row.context, token, ended)

    def leave(self) -> list[RunningRow]:
        """Take out the rows that have ended, and return them."""
        ended = [row for row in self.rows if row.ended]
        if not ended:
            return []
        places = _close_ranks([not row.ended for row in self.rows])
        self.rows = [self.rows[place] for place in places]
        if places:
            kept = torch.tensor(places, device=self.ids.device)
            self.ids, self.positions = self.ids[kept], self.positions[:, kept]
            self.mask = None if self.mask is None else self.mask[kept]
            for cache in self.caches.values():
                cache.batch_select_indices(kept)
        return ended

    def join(self, new: "RunningBatch") -> "RunningBatch":
        """These rows and those of another batch, whose last columns stand below each other."""
        masks = [torch.ones_like(batch.ids[:, 1:]) if batch.mask is None else batch.mask for batch in (self, new)]
        # Columns of rows that have left.
        unused = int(masks[0].any(0).int().argmax())
        for cache, other in zip(self.caches.values(), new.caches.values(), strict=True):
            for layer, further in zip(cache.layers, other.layers, strict=True):
                cast(GrowingLayer, layer).join(cast(GrowingLayer, further), unused)
        self.mask = _below(masks[0][:, unused:], masks[1], 0)
        longest = max(row.questioned + len(row.tokens) for row in self.rows)
        self.ids = _below(self.ids[:, -longest:], new.ids, None)
        self.positions = torch.cat([self.positions, new.positions], dim=1)
        self.rows += new.rows
        return self


def _below(above: Tensor, below: Tensor, fill: int | None) -> Tensor:
    """Rows of both, which end in one column; before them stands `fill`, or what they begin with."""
    columns = max(above.shape[1], below.shape[1])
    filled: list[Tensor] = []
    for rows in (above, below):
        before = rows[:, :1].expand(-1, columns - rows.shape[1])
        filled.append(torch.cat([before if fill is None else torch.full_like(before, fill), rows], dim=1))
    return torch.cat(filled)


def _close_ranks(stays: Sequence[bool]) -> list[int]:
    """The rows that stay, the last of them in the places of those that leave, so that few have to move."""
    count = sum(stays)
    last = iter([place for place in range(count, len(stays)) if stays[place]])
    return [place if stays[place] else next(last) for place in range(count)]
