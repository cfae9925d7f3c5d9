"""Greedy decoding of rows that leave as their answers end, and whose places others take.

`generate` keeps every row until the longest answer of the batch has ended, and "None" stays beside a list of forty
boxes. Here a row that has ended costs nothing any more, the next questions are read as soon as there is room for them,
and an image that several rows ask about is read once. What surrounds the loop, caches, positions, logits processors
and stopping criteria, is `generate`'s: pass `begin` as its `custom_generate`, and what it returns to `decode`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    LogitsProcessorList,
    MaxLengthCriteria,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteriaList,
    SuppressTokensLogitsProcessor,
)
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

from fusargpt.inference.counts import ALTERNATIVES, STEPS
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
    """

    number: int
    task: str | None = None
    held: Held | None = None
    tell: Callable[[int], object] = lambda token: None
    tokens: list[int] = field(default_factory=list[int])
    log_probabilities: list[float] = field(default_factory=list[float])
    alternatives: list[list[tuple[int, float]]] = field(default_factory=list[list[tuple[int, float]]])


Choose = Callable[[Tensor, Sequence[RunningRow]], Tensor]
"""The next token [rows] of each row, by scores [rows, vocabulary]."""


def best(scores: Tensor, rows: Sequence[RunningRow]) -> Tensor:
    """The token with the highest score."""
    return scores.argmax(-1)


def decode(read: Callable[[int], "RunningBatch | None"], places: int) -> Iterator[list[RunningRow]]:
    """Decode rows until there are no more.

    Args:
        read: begins more rows, as many as the number of places at most; None where the next ones need more, or there
            are none left. With all places it gives none only at the end.
        places: rows that are decoded together.

    Returns:
        After each step the rows that have ended in it, which may be none.
    """
    batch: RunningBatch | None = None
    # Rows that come alone cost a pass each to be read.
    enough = -(-places // 4)
    while True:
        free = places - (0 if batch is None else len(batch.rows))
        may_join = batch is None or (free >= enough and not batch.alone)
        if may_join and (new := read(free)) is not None:
            yield new.leave()
            if new.rows:
                batch = new if batch is None else batch.join(new)
        elif batch is None:
            return
        else:
            batch.step()
            yield batch.leave()
        if batch is not None and not batch.rows:
            batch = None


def begin(
    model: AnyFusarGpt,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    rows: Sequence[RunningRow],
    image_of_row: Tensor,
    shared: int,
    choose: Choose = best,
    **model_kwargs: object,
) -> "RunningBatch":
    """Read questions, and decode the first token of each answer. Called by `generate`.

    Args:
        model: whose `generate` calls this.
        input_ids: [rows, L]: up to column `shared` the image and what stands before it, then what is asked, each
            padded on the left.
        logits_processor, stopping_criteria, generation_config, model_kwargs: as `generate` prepares them.
        rows: the answers, which get the tokens.
        image_of_row: [rows], which of the images in `mm_encoder_outputs` each row asks about; rows about the same one
            are equal up to `shared`.
        shared: columns.
        choose: of the tokens.
    """
    outputs = _read_questions(model, input_ids, image_of_row, shared, model_kwargs)
    # It is `cache` or, up to transformers 5.23, `past_key_values`.
    caches = {name: value for name, value in model_kwargs.items() if isinstance(value, Cache)}
    for cache in caches.values():
        cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    # It counts the columns of a batch, not the tokens of an answer.
    criteria = StoppingCriteriaList(one for one in stopping_criteria if not isinstance(one, MaxLengthCriteria))
    batch = RunningBatch(
        model,
        list(rows),
        cast(int, generation_config.max_length) - input_ids.shape[1],
        input_ids,
        cast("Tensor | None", model_kwargs["attention_mask"]),
        cast(Tensor, model_kwargs["position_ids"])[..., -1:] + 1,
        caches,
        logits_processor,
        criteria,
        choose,
        alone=any(type(one) not in _BY_ROW for one in (*logits_processor, *criteria))
        or any(type(layer) is not GrowingLayer for cache in caches.values() for layer in cache.layers),
    )
    batch.take(outputs.logits[:, -1])
    return batch


_BY_ROW = (EosTokenCriteria, RepetitionPenaltyLogitsProcessor, SuppressTokensLogitsProcessor)
"""What looks at the tokens of each row alone. Others may count columns or seconds from the beginning of a batch."""


@dataclass(eq=False)
class RunningBatch:
    """Rows that are decoded together, in the midst of it. All end in the last column, whatever their lengths.

    Attributes:
        model: that decodes them.
        rows: the answers.
        most: tokens that an answer may have.
        ids: [rows, columns] tokens of questions and answers; padding on the left.
        mask: [rows, columns], whether the cache holds a token of the row there; None where it does everywhere.
        positions: [axes, rows, 1] of the last token, which the model has not read yet.
        caches: one, by the name that the model has for it.
        logits_processor, stopping_criteria: of all rows.
        choose: of the tokens.
        alone: whether no rows may join these.
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
    alone: bool

    def step(self) -> None:
        """One more token of each row."""
        if self.mask is not None:
            self.mask = pad(self.mask, (0, 1), value=1)
        outputs = cast(Any, self.model)(
            input_ids=self.ids[:, -1:],
            attention_mask=self.mask,
            position_ids=self.positions,
            use_cache=True,
            return_dict=True,
            **self.caches,
        )
        self.positions = self.positions + 1
        self.take(outputs.logits[:, -1])

    def take(self, logits: Tensor) -> None:
        """Each row goes on with the token that is chosen by `logits` [rows, vocabulary]."""
        scores = self.logits_processor(cast(Any, self.ids), cast(Any, logits.float()))
        tokens = self.choose(scores, self.rows)
        total = scores.logsumexp(-1, keepdim=True)
        chosen = (scores.gather(1, tokens[:, None]) - total)[:, 0].tolist()
        counting = [place for place, row in enumerate(self.rows) if row.task == "count" and len(row.tokens) < STEPS]
        if counting:
            others = scores[counting].topk(min(ALTERNATIVES, scores.shape[1]))
            values = (others.values - total[counting]).tolist()
            for place, *of_row in zip(counting, others.indices.tolist(), values, strict=True):
                self.rows[place].alternatives.append(list(zip(*of_row, strict=True)))
        self.ids = torch.cat([self.ids, tokens[:, None]], dim=1)
        for row, token, log_probability in zip(self.rows, tokens.tolist(), chosen, strict=True):
            row.tokens.append(token)
            row.log_probabilities.append(log_probability)
            row.tell(token)
            if row.held is not None:
                row.held.take(token)

    def leave(self) -> list[RunningRow]:
        """Take out the rows that have ended, and return them."""
        done = self.stopping_criteria(cast(Any, self.ids), cast(Any, None)).tolist()
        ended = [row for row, at_end in zip(self.rows, done, strict=True) if at_end or len(row.tokens) >= self.most]
        if not ended:
            return []
        stays = [not at_end and len(row.tokens) < self.most for row, at_end in zip(self.rows, done, strict=True)]
        places = _close_ranks(stays)
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
        masks = [
            batch.ids.new_ones(batch.ids[:, 1:].shape) if batch.mask is None else batch.mask for batch in (self, new)
        ]
        # Columns of rows that have left.
        unused = int(masks[0].any(0).int().argmax())
        for cache, other in zip(self.caches.values(), new.caches.values(), strict=True):
            for layer, further in zip(cache.layers, other.layers, strict=True):
                cast(GrowingLayer, layer).join(cast(GrowingLayer, further), unused)
        self.mask = _below(masks[0][:, unused:], masks[1], 0)
        # What a row begins with once more: a penalty for repetition looks at all that is there.
        self.ids = _below(self.ids[:, unused:], new.ids, None)
        self.positions = torch.cat([self.positions, new.positions], dim=1)
        self.rows += new.rows
        return self


class GrowingLayer(DynamicLayer):
    """A cache layer with room for tokens to come, so that not every token copies all that were before it.

    Args:
        layer: as the first step has left it.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        keys, values = cast(Tensor, layer.keys), cast(Tensor, layer.values)
        self.lazy_initialization(keys, values)
        self._room: tuple[Tensor, Tensor] = keys, values
        self._show(len(keys), 0, keys.shape[2])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, heads, tokens, width] with the new ones behind them."""
        rows, past, new = len(key_states), self.get_seq_length(), key_states.shape[2]
        if self._first + past + new > self._room[0].shape[2]:
            self._move(rows, 0, new)
        self._show(rows, self._first, past + new)
        self.keys[:, :, past:], self.values[:, :, past:] = key_states, value_states
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only; those that stay where they are are not copied."""
        count = len(indices)
        places = torch.arange(count, device=indices.device)
        moved = indices != places
        for held in (self.keys, self.values):
            held[places[moved]] = held[indices[moved]]
        self._show(count, self._first, self.get_seq_length())

    def join(self, other: DynamicLayer, unused: int) -> None:
        """Take in the rows of another layer, the last token of all in one column.

        Args:
            other: behind whose rows' beginnings there may be columns of this one, which hold nothing of theirs.
            unused: columns at the beginning that are given up.
        """
        keys, values = cast(Tensor, other.keys), cast(Tensor, other.values)
        rows, past, theirs = len(self.keys), self.get_seq_length() - unused, keys.shape[2]
        self._show(rows, self._first + unused, past)
        length = max(past, theirs)
        if rows + len(keys) > len(self._room[0]) or self._first + past < length:
            self._move(rows + len(keys), length - past, 0)
        self._show(rows + len(keys), self._first + past - length, length)
        self.keys[rows:, :, length - theirs :], self.values[rows:, :, length - theirs :] = keys, values

    def _show(self, rows: int, first: int, length: int) -> None:
        """The part of the room that is in use."""
        self._first = first
        self.keys, self.values = (room[:rows, :, first : first + length] for room in self._room)

    def _move(self, rows: int, first: int, new: int) -> None:
        """Into another room for so many rows, from column `first` on, where `new` tokens and more follow."""
        held, length = (self.keys, self.values), self.get_seq_length()
        heads, width = self.keys.shape[1], self.keys.shape[3]
        # What nothing was written to is masked, and must be numbers all the same.
        keys, values = (old.new_zeros(rows, heads, first + length + new + _ROOM, width) for old in held)
        self._room = keys, values
        self._show(len(self.keys), first, length)
        self.keys[:], self.values[:] = held


_ROOM = 64


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


def _read_questions(
    model: AnyFusarGpt, input_ids: Tensor, image_of_row: Tensor, shared: int, model_kwargs: dict[str, Any]
) -> CausalLMOutputWithPast:
    """The first step's outputs, with its cache: each image is read once, then what is asked about it."""
    prepare: Any = model.prepare_inputs_for_generation
    images = int(image_of_row.max()) + 1
    if images < len(image_of_row):
        rows = torch.arange(len(image_of_row), device=image_of_row.device)
        first = rows.new_full((images,), len(rows)).scatter_reduce(0, image_of_row, rows, "amin")
        arguments = {name: _columns(value, shared) for name, value in _select(model_kwargs, first).items()}
        model(**prepare(input_ids[first, :shared], is_first_iteration=True, **arguments))
        for cache in model_kwargs.values():
            if isinstance(cache, Cache):
                cache.batch_select_indices(image_of_row)
        input_ids, model_kwargs = input_ids[:, shared:], {**model_kwargs, "mm_encoder_outputs": None}
    return model(**prepare(input_ids, is_first_iteration=True, **model_kwargs), return_dict=True)


def _columns(value: object, count: int) -> object:
    """The first of a tensor that has as many columns as there are tokens."""
    return value[..., :count] if isinstance(value, Tensor) else value


def _select(model_kwargs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """What belongs to these rows."""
    selected = dict(model_kwargs)
    for name, value in model_kwargs.items():
        if isinstance(value, Tensor):
            # Positions are [axes, rows, L].
            selected[name] = value[:, rows] if name == "position_ids" else value[rows]
    return selected
