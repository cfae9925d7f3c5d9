"""A layer of the cache from which rows leave, and in which others join them."""

from typing import cast

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

_ROOM = 64
"""Tokens for which there is room when a layer is made larger."""


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
        keys, values = self._show(rows, self._first, past + new)
        keys[:, :, past:], values[:, :, past:] = key_states, value_states
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows only; those that stay where they are are not copied."""
        count = len(indices)
        places = torch.arange(count, device=indices.device)
        moved = indices != places
        for held in self.held:
            held[places[moved]] = held[indices[moved]]
        self._show(count, self._first, self.get_seq_length())

    def give_up(self, columns: int) -> None:
        """The last ones."""
        self._show(len(self.held[0]), self._first, self.get_seq_length() - columns)

    def join(self, other: DynamicLayer, unused: int) -> None:
        """Take in the rows of another layer, the last token of all in one column.

        Args:
            other: behind whose rows' beginnings there may be columns of this one, which hold nothing of theirs.
            unused: columns at the beginning that are given up.
        """
        keys, values = cast(Tensor, other.keys), cast(Tensor, other.values)
        rows, past, theirs = len(self.held[0]), self.get_seq_length() - unused, keys.shape[2]
        self._show(rows, self._first + unused, past)
        length = max(past, theirs)
        if rows + len(keys) > len(self._room[0]) or self._first + past < length:
            self._move(rows + len(keys), length - past, 0)
        of_all = self._show(rows + len(keys), self._first + past - length, length)
        for held, joining in zip(of_all, (keys, values), strict=True):
            held[rows:, :, length - theirs :] = joining

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """Keys and values [rows, heads, tokens, width]."""
        return cast(Tensor, self.keys), cast(Tensor, self.values)

    def _show(self, rows: int, first: int, length: int) -> tuple[Tensor, Tensor]:
        """The part of the room that is in use."""
        self._first = first
        self.keys, self.values = (room[:rows, :, first : first + length] for room in self._room)
        return self.held

    def _move(self, rows: int, first: int, new: int) -> None:
        """Into another room for so many rows, from column `first` on, where `new` tokens and more follow."""
        before = self.held
        there, heads, length, width = before[0].shape
        # What nothing was written to is masked, and must be numbers all the same.
        keys, values = (old.new_zeros(rows, heads, first + length + new + _ROOM, width) for old in before)
        self._room = keys, values
        for held, old in zip(self._show(there, first, length), before, strict=True):
            held[:] = old
