"""Greedy decoding of a batch whose rows leave it as their answers end.

`generate` keeps every row until the longest answer of the batch has ended, and "None" stays beside a list of forty
boxes. Here a row that has ended costs nothing any more, and an image that several rows ask about is read once. What
surrounds the loop, caches, positions, logits processors and stopping criteria, is `generate`'s: pass `decode` as its
`custom_generate`.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.cache_utils import Cache, DynamicLayer
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import CausalLMOutputWithPast

from fusargpt.private_names import after_step
from modeling_fusargpt import AnyFusarGpt

NO_TOKEN = -1


class Restriction(Protocol):
    """What may be decoded, as `fusargpt.inference.constrained.Masks`."""

    def choose(self, scores: Tensor) -> Tensor: ...

    def take(self, tokens: list[int], kept: list[int]) -> None: ...


def decode(
    model: AnyFusarGpt,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    image_of_row: Tensor,
    shared: int,
    streamer: BaseStreamer | None = None,
    restriction: Restriction | None = None,
    log_probabilities: Tensor | None = None,
    alternatives: tuple[Tensor, Tensor] | None = None,
    **model_kwargs: object,
) -> Tensor:
    """Called by `generate`.

    Args:
        model: whose `generate` calls this.
        input_ids: [rows, L]: up to column `shared` the image and what stands before it, then what is asked, each
            padded on the left.
        logits_processor, stopping_criteria, generation_config, model_kwargs: as `generate` prepares them.
        image_of_row: [rows], which of the images in `mm_encoder_outputs` each row asks about; rows about the same one
            are equal up to `shared`.
        shared: columns.
        streamer: receives the tokens of every step.
        restriction: of the tokens; None decodes freely.
        log_probabilities: float32 [rows, most steps] in which those of the chosen tokens are written, as they are where
            nothing is restricted; None writes none.
        alternatives: int64 and float32 [rows, steps, k] in which the most probable tokens of the first steps and their
            log-probabilities are written likewise; None writes none.

    Returns:
        [rows, L + steps], the questions and the answers, with `NO_TOKEN` behind the end of each. (A model may
        well say the padding token in the middle of an answer.)
    """
    parent: Any = model
    rows, length = input_ids.shape
    limit = cast(int, generation_config.max_length) - length
    whole = torch.cat([input_ids, input_ids.new_full((rows, limit), NO_TOKEN)], dim=1)
    present = torch.arange(rows, device=input_ids.device)
    outputs = _read_questions(model, input_ids, image_of_row, shared, model_kwargs)
    for cache in model_kwargs.values():
        if isinstance(cache, Cache):
            cache.layers = [GrowingLayer(layer) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    # Positions are known, and images are in the cache.
    model_kwargs = {name: value for name, value in model_kwargs.items() if name not in _OF_THE_FIRST_STEP}
    while True:
        model_kwargs = after_step(model, outputs, model_kwargs)
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        tokens = scores.argmax(-1) if restriction is None else restriction.choose(scores)
        if log_probabilities is not None:
            chosen = scores.gather(1, tokens[:, None])[:, 0] - scores.logsumexp(-1)
            log_probabilities[present, input_ids.shape[1] - length] = chosen
        if alternatives is not None and (step := input_ids.shape[1] - length) < alternatives[0].shape[1]:
            best = scores.topk(alternatives[0].shape[2])
            alternatives[0][present, step] = best.indices
            alternatives[1][present, step] = best.values - scores.logsumexp(-1, keepdim=True)
        if streamer is not None:
            streamer.put(tokens.cpu())
        input_ids = torch.cat([input_ids, tokens[:, None]], dim=1)
        whole[present, input_ids.shape[1] - 1] = tokens
        kept = _close_ranks(~stopping_criteria(input_ids, cast(Any, None)))
        if restriction is not None:
            restriction.take(tokens.tolist(), kept.tolist())
        if len(kept) == 0:
            break
        if len(kept) < len(tokens):
            input_ids, present = input_ids[kept], present[kept]
            model_kwargs = _select(model_kwargs, kept)
        outputs = model(
            **parent.prepare_inputs_for_generation(input_ids, next_sequence_length=1, **model_kwargs), return_dict=True
        )
    if streamer is not None:
        streamer.end()
    return whole[:, : input_ids.shape[1]]


class GrowingLayer(DynamicLayer):
    """A cache layer with room for tokens to come, so that not every token copies all that were before it.

    Args:
        layer: as the first step has left it.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        keys, values = cast(Tensor, layer.keys), cast(Tensor, layer.values)
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._room: tuple[Tensor, Tensor] = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, heads, tokens, width] with the new ones behind them."""
        past = self.get_seq_length()
        length = past + key_states.shape[2]
        if length > self._room[0].shape[2]:
            rows, heads, _, width = key_states.shape
            keys, values = (old.new_empty(rows, heads, length + _ROOM, width) for old in self._room)
            keys[:, :, :past], values[:, :, :past] = (old[:, :, :past] for old in self._room)
            self._room = keys, values
        self._room[0][:, :, past:length], self._room[1][:, :, past:length] = key_states, value_states
        self.keys, self.values = (room[:, :, :length] for room in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only; those that stay where they are are not copied."""
        length, count = self.get_seq_length(), len(indices)
        places = torch.arange(count, device=indices.device)
        moved = indices != places
        for room in self._room:
            room[places[moved], :, :length] = room[indices[moved], :, :length]
        self._room = self._room[0][:count], self._room[1][:count]
        self.keys, self.values = (room[:, :, :length] for room in self._room)


def _close_ranks(stays: Tensor) -> Tensor:
    """The rows that stay, the last of them in the places of those that leave, so that few have to move."""
    count = int(stays.sum())
    kept = torch.arange(count, device=stays.device)
    kept[~stays[:count]] = stays[count:].nonzero()[:, 0] + count
    return kept


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


_ROOM = 64
_OF_THE_FIRST_STEP = ("mm_token_type_ids", "mm_encoder_outputs", "image_grid_thw")


def _select(model_kwargs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """What belongs to the rows that stay, in the cache too."""
    selected = dict(model_kwargs)
    for name, value in model_kwargs.items():
        if isinstance(value, Cache):
            value.batch_select_indices(rows)
        elif isinstance(value, Tensor):
            # Positions are [axes, rows, L].
            selected[name] = value[:, rows] if name == "position_ids" else value[rows]
    return selected
