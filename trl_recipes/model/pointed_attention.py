"""Some heads of the language model's attention, taught where to look while a coordinate is said.

An answer that names a box has to find the visual token in which that object is. The loss of the answer alone says so
late: until a head looks there, no coordinate gains by it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from fusargpt.errors import InputError
from modeling_fusargpt import FusarGptProcessor
from trl_recipes.model.attention import sdpa_float32

HEADS = 2
NAME = "pointed_sdpa_float32"
_OPENING = '"bbox_2d": ['
"""What the token before a box's first coordinate ends with."""


class PointedAttention:
    """Attention as `sdpa_float32`, which keeps queries and keys of the first `HEADS` heads of `layers`.

    Args:
        model: the language model, whose attention this becomes.
        layers: numbers of its layers.
    """

    def __init__(self, model: PreTrainedModel, layers: tuple[int, ...]) -> None:
        self.layers = layers
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        AttentionInterface.register(NAME, self)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        layer = module.layer_idx
        assert isinstance(layer, int)
        if layer in self.layers:
            self._kept[layer] = (query[:, :HEADS], key[:, :HEADS], attention_mask)
        return sdpa_float32(module, query, key, value, attention_mask, **options)

    def loss(self, rows: Tensor, positions: Tensor, looked_at: Tensor) -> Tensor:
        """Mean -log of the attention that the kept heads pay, in the last forward pass, to where they should look.

        Args:
            rows: int64 [N], of the batch.
            positions: int64 [N], in the sequence, that attend.
            looked_at: int64 [N], positions that should be attended to, which `positions` see.
        """
        losses: list[Tensor] = []
        for query, key, mask in self._kept.values():
            asked, held = query[rows, :, positions].float(), key[rows].float()
            scores = torch.einsum("nhd,nhkd->nhk", asked, held) * asked.shape[-1] ** -0.5
            if mask is None:
                hidden = torch.arange(held.shape[2], device=rows.device) > positions[:, None]
            else:
                hidden = ~mask[rows, 0, positions]
            scores = scores.masked_fill(hidden[:, None], -torch.inf)
            losses.append(functional.cross_entropy(scores.flatten(0, 1), looked_at.repeat_interleave(HEADS)))
        self._kept.clear()
        return torch.stack(losses).mean()


class BoxPlaces:
    """Where in a batch the coordinates of boxes are said, and the visual tokens that hold their objects.

    Args:
        processor: whose tokenizer has a token for each number, as those of the small models.

    Raises:
        InputError: a tokenizer that writes numbers digit by digit.
    """

    def __init__(self, processor: FusarGptProcessor) -> None:
        tokenizer, image_processor = processor.tokenizer, processor.image_processor
        if len(tokenizer("123", add_special_tokens=False)["input_ids"]) != 1:
            raise InputError(
                "pointed_attention: found a tokenizer that writes numbers digit by digit, expected a token for each "
                "number, as those of the small models; leave it out"
            )
        texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
        self._values = torch.tensor([int(text) if text.isascii() and text.isdigit() else -1 for text in texts])
        self._opens = torch.tensor([text.endswith(_OPENING) for text in texts])
        self._image_token = processor.image_token_id
        self._merge = image_processor.merge_size
        self._token_pixels = image_processor.patch_size * image_processor.merge_size

    def __call__(self, input_ids: Tensor, labels: Tensor, image_grid_thw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, positions and where they should look, int64 [4 N] each, of the N boxes of answers that carry loss.

        A position is that of the token before a coordinate, whose state says it; looked at is the visual token that
        holds the middle of the box.

        Args:
            input_ids: int64 [B, T], of sequences with one image each.
            labels: int64 [B, T], below 0 where a token carries no loss.
            image_grid_thw: int64 [B, 3], patches of each image.
        """
        values, opens = self._values.to(labels.device), self._opens.to(labels.device)
        said = torch.where(labels >= 0, values[labels.clamp(min=0)], -1)
        begins = torch.zeros_like(labels, dtype=torch.bool)
        begins[:, 1:] = (labels[:, :-1] >= 0) & opens[labels[:, :-1].clamp(min=0)] & (said[:, 1:] >= 0)
        begins[:, -6:] = False
        rows, firsts = begins.nonzero(as_tuple=True)
        # Commas stand between.
        places = firsts[:, None] + torch.tensor([0, 2, 4, 6], device=labels.device)
        boxes = said[rows[:, None], places]
        whole = (boxes >= 0).all(1)
        rows, places, boxes = rows[whole], places[whole], boxes[whole]
        middle = (boxes[:, :2] + boxes[:, 2:]) // (2 * self._token_pixels)  # column and row
        shape = image_grid_thw[rows][:, [2, 1]] // self._merge
        column, row = torch.minimum(middle, shape - 1).T
        image = (input_ids == self._image_token).int().argmax(1)[rows]
        looked_at = image + row * shape[:, 0] + column
        return rows.repeat_interleave(4), places.flatten() - 1, looked_at.repeat_interleave(4)
