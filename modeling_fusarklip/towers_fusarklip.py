"""The towers of FUSAR-KLIP, as a difference to BLIP's retrieval model, and what each use of them takes from them."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
import inspect
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BlipForImageTextRetrieval,
    BlipTextModel,
    DynamicCache,
    EncoderDecoderCache,
    PreTrainedModel,
    initialization,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.blip.modeling_blip_text import BlipTextOnlyMLMHead
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_fusarklip import DIMENSIONS, FusarKlipConfig
from .momentum import FactQueue, MomentumTowers
from .vision_fusarklip import FusarKlipVisionModel

PRIOR_INPUTS = ("prior_embeddings", "prior_positions", "prior_mask")
ACQUISITION_INPUTS = ("resolution_m", "sensor", "polarization", "month", "location")
IMAGE_INPUTS = ("pixel_values", "image_states", "interpolate_pos_encoding", *PRIOR_INPUTS, *ACQUISITION_INPUTS)
"""What says something of an image; the methods take each of them by keyword, as `FusarKlipVisionModel.forward`."""
# Up to 5.23 the parent's text tower takes its cache under another name.
_CACHE = "cache" if "cache" in inspect.signature(BlipTextModel.forward).parameters else "past_key_values"
ROWS_OF_ONE_LENGTH = 32
"""Texts that are padded alike where many are read: more of them waste padding, fewer of them waste products."""


class Filled(NamedTuple):
    """Attributes: token ids `[M, L]` without masks, and the probability `[M, L]` of each that was filled, else 1."""

    input_ids: Tensor
    probabilities: Tensor


class FusarKlipTowers(BlipForImageTextRetrieval):
    """Image tower, text tower and heads, and what is read from them; `forward` is its subclasses' own.

    Attributes:
        temperature: Learned, within [0.01, 0.5]; it begins at 0.07, for the sigmoid contrast at 0.1.
        word_head: Words from what the text tower says, of masked words and of next ones alike.
    """

    config: FusarKlipConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    vision_model: FusarKlipVisionModel
    _tied_weights_keys = {  # noqa: RUF012  # the parent's kind of attribute
        "word_head.predictions.decoder.bias": "word_head.predictions.bias",
        "word_head.predictions.decoder.weight": "text_encoder.embeddings.word_embeddings.weight",
    }

    def __init__(self, config: FusarKlipConfig):
        # Past the parent's constructor, which would build a tower only to be thrown away.
        PreTrainedModel.__init__(self, config)
        losses, width = config.losses, config.image_text_hidden_size
        self.vision_model = FusarKlipVisionModel(config)
        self.text_encoder = BlipTextModel(config.text, add_pooling_layer=False)
        self.vision_proj = nn.Linear(config.vision.hidden_size, width)
        self.text_proj = nn.Linear(config.text.hidden_size, width)
        self.itm_head = nn.Linear(config.text.hidden_size, 2)
        self.word_head = BlipTextOnlyMLMHead(config.text)
        self.temperature = nn.Parameter(torch.ones(()))
        if losses.contrastive == "sigmoid":
            self.bias = nn.Parameter(torch.ones(()))
        if losses.mim > 0:
            patch = cast(int, config.vision.patch_size)
            self.mim_head = nn.Linear(config.vision.hidden_size, 3 * patch**2)
        if losses.momentum is not None:
            self.momentum_towers = MomentumTowers(self.towers())
        if losses.queue_size:
            self.queue = FactQueue(losses.queue_size, width, DIMENSIONS)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            is_sigmoid = self.config.losses.contrastive == "sigmoid"
            initialization.constant_(self.temperature, 0.1 if is_sigmoid else 0.07)
            if is_sigmoid:
                initialization.constant_(self.bias, -10.0)
        elif isinstance(module, FactQueue | MomentumTowers):
            for buffer in module.buffers(recurse=False):
                initialization.zeros_(buffer)
        elif isinstance(module, BlipTextOnlyMLMHead):
            initialization.zeros_(module.predictions.bias)

    def towers(self) -> dict[str, nn.Module]:
        """What a momentum average follows."""
        names = ("vision_model", "text_encoder", "vision_proj", "text_proj")
        return {name: self.get_submodule(name) for name in names}

    def get_output_embeddings(self) -> nn.Linear:
        return self.word_head.predictions.decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.word_head.predictions.decoder = new_embeddings
        self.word_head.predictions.bias = new_embeddings.bias

    # Images

    def image_states(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """`[B, 1 + T, C]`, the output of the layers below `geography_layer`, to be kept and given in later calls."""
        return self.vision_model.image_states(pixel_values, interpolate_pos_encoding)

    def image_tokens(self, **image_inputs: Any) -> Tensor:
        """`[B, 1 + T, C]`: class token and patches, row-major, of images given by `IMAGE_INPUTS`."""
        return self.vision_model(**image_inputs).last_hidden_state

    def image_embeddings(self, image_tokens: Tensor | None = None, **image_inputs: Any) -> Tensor:
        """Unit vectors `[B, D]` of images, given by `IMAGE_INPUTS` or by what `image_tokens` has returned."""
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        return functional.normalize(self.vision_proj(tokens[:, 0, :]), dim=-1)

    def patch_features(self, **image_inputs: Any) -> Tensor:
        """`[B, h, w, C]`: what the tower says of each patch, row by row from the top left."""
        patches = self.image_tokens(**image_inputs)[:, 1:]
        pixel_values, patch = image_inputs.get("pixel_values"), cast(int, self.config.vision.patch_size)
        side = cast(int, self.config.vision.image_size)
        height = side if pixel_values is None else pixel_values.shape[2]
        return patches.unflatten(1, (height // patch, -1))

    @can_return_tuple
    def get_image_features(self, **kwargs: Any) -> BaseModelOutputWithPooling:
        """The image tower's output, whose `pooler_output` `[B, D]` is projected, and not a unit vector yet."""
        outputs = self.vision_model(**kwargs)
        outputs.pooler_output = self.vision_proj(outputs.last_hidden_state[:, 0, :])
        return outputs

    # Texts

    def text_embeddings(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Unit vectors `[M, D]` of texts `[M, L]`. ValueError for texts longer than `max_text_tokens`."""
        return functional.normalize(self.text_proj(self.read(input_ids, attention_mask)[:, 0, :]), dim=-1)

    @can_return_tuple
    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """The text tower's output, whose `pooler_output` `[M, D]` is projected, and not a unit vector yet."""
        self.check_texts("input_ids", input_ids, attention_mask)
        outputs = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        outputs.pooler_output = self.text_proj(outputs.last_hidden_state[:, 0, :])
        return outputs

    def read(self, input_ids: Tensor, attention_mask: Tensor | None, image_tokens: Tensor | None = None) -> Tensor:
        """`[M, L, C]` of the text tower: of texts alone, or of each beside its image `[M, 1 + T, C]`."""
        self.check_texts("input_ids", input_ids, attention_mask)
        # All tokens of an image count, which a mask of ones would say at the cost of a sum in every layer.
        outputs = self.text_encoder(
            input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=image_tokens
        )
        return outputs.last_hidden_state

    def read_causally(self, input_ids: Tensor, attention_mask: Tensor | None, image_tokens: Tensor) -> Tensor:
        """`[B, L, C]`: each token beside its image and the tokens before it, the first of them `bos_token_id`."""
        return self.text_encoder(
            input_ids=self._begun(input_ids),
            attention_mask=attention_mask,
            encoder_hidden_states=image_tokens,
            is_decoder=True,
        ).last_hidden_state

    def _begun(self, input_ids: Tensor) -> Tensor:
        ids = input_ids.clone()
        ids[:, 0] = cast(int, self.config.text.bos_token_id)
        return ids

    def masked_words(self, input_ids: Tensor, attention_mask: Tensor | None, image_tokens: Tensor) -> Tensor:
        """float32 `[M, L, V]`: logits of the word in each place, where it is masked, of texts beside their images.

        What stands before a word says it, as with next words (LLM2Vec, arXiv 2404.05961), but has read all of the
        text. Of the first place, which is never masked, nothing is said: zeros.
        """
        said = self.word_head(self.read(input_ids, attention_mask, image_tokens)[:, :-1]).float()
        return functional.pad(said, (0, 0, 1, 0))

    def read_many(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        image_tokens: Tensor | None = None,
        images: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """As `read` or `read_causally`, in groups of like length, and with an image's keys computed once for all texts.

        Args:
            input_ids: int64 `[N, L]`, padded on the right.
            attention_mask: `[N, L]`.
            image_tokens: `[B, 1 + T, C]`.
            images: int64 `[N]`, the place of each text's image.
            causal: As `read_causally`.

        Returns:
            `[N, L, C]`, in padding of no use.
        """
        self.check_texts("input_ids", input_ids, attention_mask)
        how: dict[str, Any] = {}
        if causal:
            input_ids = self._begun(input_ids)
            how["is_decoder"] = True
        lengths = attention_mask.sum(1)
        order = lengths.argsort(stable=True)
        longest = lengths[order].tolist()
        # A cache of keys is dropped by layers that are checkpointed.
        share = image_tokens is not None and not self.is_activation_checkpointing
        shared = self._keys_of_images(image_tokens) if image_tokens is not None and share else []
        read: list[Tensor] = []
        for first in range(0, len(longest), ROWS_OF_ONE_LENGTH):
            rows = order[first : first + ROWS_OF_ONE_LENGTH]
            length = longest[first : first + ROWS_OF_ONE_LENGTH][-1]
            beside = dict(how)
            if image_tokens is not None and images is not None:
                beside["encoder_hidden_states"] = image_tokens[images[rows]]
                if shared:
                    of_rows = [(keys[images[rows]], values[images[rows]]) for keys, values in shared]
                    beside[_CACHE] = _read_images(of_rows)
            states = self.text_encoder(
                input_ids=input_ids[rows, :length], attention_mask=attention_mask[rows, :length], **beside
            ).last_hidden_state
            read.append(functional.pad(states, (0, 0, 0, input_ids.shape[1] - length)))
        if not read:
            return self.text_proj.weight.new_zeros(0, input_ids.shape[1], self.config.text.hidden_size)
        return torch.cat(read)[order.argsort()]

    def _keys_of_images(self, image_tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values `[B, heads, 1 + T, C / heads]` of every layer that reads images."""
        shared: list[tuple[Tensor, Tensor]] = []
        for layer in self.text_encoder.encoder.layer:
            attention = cast(Any, layer).crossattention.self
            shape = (attention.num_attention_heads, attention.attention_head_size)
            keys, values = (
                projection(image_tokens).unflatten(-1, shape).transpose(1, 2)
                for projection in (attention.key, attention.value)
            )
            shared.append((keys, values))
        return shared

    def check_texts(self, name: str, input_ids: Tensor, attention_mask: Tensor | None) -> None:
        if input_ids.ndim != 2 or input_ids.shape[1] > self.config.max_text_tokens or not input_ids.shape[1]:
            raise ValueError(
                f"{name}: found shape {list(input_ids.shape)}, expected [M, L] with L from 1 to max_text_tokens, "
                f"{self.config.max_text_tokens}; a longer text has to be split, it is never cut."
            )
        if attention_mask is not None and attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"{name.replace('input_ids', 'attention_mask')}: found shape {list(attention_mask.shape)}, expected "
                f"that of {name}, {list(input_ids.shape)}."
            )

    # Pairs

    def match(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        image_tokens: Tensor | None = None,
        **image_inputs: Any,
    ) -> Tensor:
        """Probability `[M]` that a text is true of its image, read together.

        Args:
            input_ids: int64 `[M, L]`.
            attention_mask: `[M, L]`, 1 for tokens, 0 for padding.
            image_index: int64 `[M]`, the place of each text's image; by default text j's is image j, or the only one.
            image_tokens: `[B, 1 + T, C]` from the method of that name, instead of images.
            **image_inputs: Images, given by `IMAGE_INPUTS`.

        Raises:
            ValueError: If there are neither as many images as texts nor one, and no `image_index`.
        """
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        read = self.read_many(input_ids, mask, tokens, self._pairs(input_ids, tokens, image_index))
        return self.itm_head(read[:, 0, :]).softmax(-1)[:, 1]

    def log_likelihood(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        image_tokens: Tensor | None = None,
        **image_inputs: Any,
    ) -> Tensor:
        """Sum `[M]` of the log-probabilities of a text's words, each from its image and the words before it, in nats.

        Of one text beside several images the likeliest is the image that it is about (VisualGPTScore, arXiv
        2306.01879); of several texts long and rare ones are unlikely beside any image.

        Args:
            input_ids: int64 `[M, L]`. The rest as of `match`.

        Raises:
            ValueError: As of `match`.
        """
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        read = self.read_many(input_ids, mask, tokens, self._pairs(input_ids, tokens, image_index), causal=True)
        sums: list[Tensor] = []
        for states, ids, counted in zip(
            *(part.split(ROWS_OF_ONE_LENGTH) for part in (read[:, :-1], input_ids[:, 1:], mask[:, 1:])), strict=True
        ):
            losses = functional.cross_entropy(self.word_head(states).float().transpose(1, 2), ids, reduction="none")
            sums.append(-(losses * counted).sum(1))
        return torch.cat(sums)

    @torch.no_grad()
    def fill(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        image_tokens: Tensor | None = None,
        **image_inputs: Any,
    ) -> Filled:
        """Texts with their masked tokens filled from image and context, the most certain one first.

        Args:
            input_ids: int64 `[M, L]` with `mask_token_id` where a token is looked for. The rest as of `match`.

        Raises:
            ValueError: As of `match`.
        """
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        paired = tokens[self._pairs(input_ids, tokens, image_index)]
        filled, probabilities = input_ids.clone(), torch.ones(input_ids.shape, device=input_ids.device)
        while (masked := filled == self.config.mask_token_id).any():
            rows = masked.any(1).nonzero()[:, 0]
            of_rows = None if attention_mask is None else attention_mask[rows]
            logits = self.masked_words(filled[rows], of_rows, paired[rows])
            logits[..., self.config.mask_token_id] = -torch.inf
            certainty, words = logits.softmax(-1).max(-1)
            place = certainty.masked_fill(~masked[rows], -1).argmax(1)
            probabilities[rows, place] = certainty[torch.arange(len(rows)), place]
            filled[rows, place] = words[torch.arange(len(rows)), place]
        return Filled(filled, probabilities)

    @staticmethod
    def _pairs(input_ids: Tensor, image_tokens: Tensor, image_index: Tensor | None) -> Tensor:
        if image_index is not None:
            return image_index
        if len(image_tokens) not in (1, len(input_ids)):
            raise ValueError(
                f"image_index: found None for {len(input_ids)} texts and {len(image_tokens)} images, expected the "
                "place of each text's image."
            )
        return torch.arange(len(input_ids), device=input_ids.device) % len(image_tokens)


def _read_images(of_layers: list[tuple[Tensor, Tensor]]) -> EncoderDecoderCache:
    """The parent's cache as it is after a first step: the image has been read, of the text nothing."""
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    for index, (keys, values) in enumerate(of_layers):
        cache.cross_attention_cache.update(keys, values, index)
        cache.is_updated[index] = True
    return cache


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raises TypeError for arguments that neither say something of an image nor are transformers' own."""
    unknown = sorted(set(arguments) - {*IMAGE_INPUTS, *TransformersKwargs.__annotations__})
    if unknown:
        raise TypeError(f"unexpected keyword arguments {unknown}.")


__all__ = ["FusarKlipTowers"]
