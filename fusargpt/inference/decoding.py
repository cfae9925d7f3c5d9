"""Greedy decoding of rows that leave as their answers end, and whose places others take.

`generate` keeps every row until the longest answer of the batch has ended, and "None" stays beside a list of forty
boxes. Here a row that has ended costs nothing any more, the next questions are read as soon as there is room for them,
and an image that several rows ask about is read once. What surrounds the loop, caches, positions, logits processors
and stopping criteria, is `generate`'s: pass `begin` as its `custom_generate`, and what it returns to `decode`.

Which rows stand together, and how many tokens of each one pass reads, is nothing to an answer but for rounding: sums
are taken in another order, so that probabilities differ in about the sixth digit (in float32), and a token may where
the two best ones are as close. The token is always the best one by the scores of the pass that decides.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
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

from fusargpt.inference.drafts import Drafts
from fusargpt.inference.growing_layer import GrowingLayer
from fusargpt.inference.running_batch import Choose, RunningBatch, RunningRow, best
from modeling_fusargpt import AnyFusarGpt


def decode(read: Callable[[int], RunningBatch | None], places: int) -> Iterator[list[RunningRow]]:
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
    drafts: Drafts | None = None,
    **model_kwargs: object,
) -> RunningBatch:
    """Read questions, and decode the first token of each answer. Called by `generate`.

    Args:
        model: whose `generate` calls this.
        input_ids: [rows, L]: up to column `shared` the image and what stands before it, then what is asked, each
            padded on the left.
        logits_processor: as `generate` prepares it, and so are the next two, and all that has no name here.
        stopping_criteria: ends answers.
        generation_config: says how long they may be.
        rows: the answers, which get the tokens.
        image_of_row: [rows], which of the images in `mm_encoder_outputs` each row asks about; rows about the same one
            are equal up to `shared`.
        shared: columns.
        choose: of the tokens.
        drafts: of the tokens to come; None decodes one token a pass.
    """
    outputs = _read_questions(model, input_ids, image_of_row, shared, model_kwargs)
    # It is `cache` or, up to transformers 5.23, `past_key_values`.
    caches = {name: value for name, value in model_kwargs.items() if isinstance(value, Cache)}
    for cache in caches.values():
        cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    # It counts the columns of a batch, not the tokens of an answer.
    criteria = StoppingCriteriaList(one for one in stopping_criteria if not isinstance(one, MaxLengthCriteria))
    mask = cast("Tensor | None", model_kwargs["attention_mask"])
    first = torch.zeros_like(input_ids[:, :1]) if mask is None else mask.int().argmax(1, keepdim=True)
    for row, column in zip(rows, first[:, 0].tolist(), strict=True):
        row.questioned = input_ids.shape[1] - column
    if mask is not None:
        # Padding becomes a token that is in the row anyway: `_of_rows` does not tell it from others.
        input_ids = torch.where(mask.bool(), input_ids, input_ids.gather(1, first))
    batch = RunningBatch(
        model,
        list(rows),
        cast(int, generation_config.max_length) - input_ids.shape[1],
        input_ids,
        mask,
        cast(Tensor, model_kwargs["position_ids"])[..., -1:] + 1,
        caches,
        _of_rows(logits_processor),
        criteria,
        choose,
        drafts,
        alone=any(type(one) not in _BY_ROW for one in (*logits_processor, *criteria))
        or any(type(layer) is not GrowingLayer for cache in caches.values() for layer in cache.layers),
    )
    batch.take(cast(Tensor, outputs.logits)[:, -1:], [[]] * len(rows))
    return batch


_BY_ROW = (EosTokenCriteria, RepetitionPenaltyLogitsProcessor, SuppressTokensLogitsProcessor)
"""What looks at the tokens of each row alone. Others may count columns or seconds from the beginning of a batch."""


def _of_rows(processors: LogitsProcessorList) -> LogitsProcessorList:
    """The same for rows that come and go: the penalty for repetition knows by place what is padding."""
    return LogitsProcessorList(
        RepetitionPenaltyLogitsProcessor(one.penalty) if isinstance(one, RepetitionPenaltyLogitsProcessor) else one
        for one in processors
    )


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
