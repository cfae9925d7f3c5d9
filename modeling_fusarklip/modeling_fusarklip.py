"""FUSAR-KLIP as a difference to BLIP's retrieval model: geography in the image tower, and the losses of pre-training."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BlipForImageTextRetrieval, BlipTextModel, PreTrainedModel, initialization
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.blip.modeling_blip_text import BlipTextOnlyMLMHead
from transformers.utils.generic import ModelOutput, TransformersKwargs, can_return_tuple

from .configuration_fusarklip import FusarKlipConfig
from .losses import (
    base_rate,
    gather_rows,
    mask_texts,
    sample_negatives,
    sigmoid_contrast,
    smoothed_targets,
    softmax_contrast,
    truth_matrix,
    weighted_cross_entropy,
    wording_facts,
)
from .momentum import FactQueue, MomentumTowers
from .vision_fusarklip import FusarKlipVisionModel

DIMENSIONS = 16
"""Parts of a description: eight of landforms, eight of targets."""
TEMPERATURES = (0.01, 0.5)
IMAGE_INPUTS = (
    "pixel_values",
    "image_states",
    "interpolate_pos_encoding",
    "prior_embeddings",
    "prior_positions",
    "prior_mask",
    "resolution_m",
    "sensor",
    "polarization",
    "month",
    "location",
)
"""What says something of an image; the methods take each of them by keyword, as `FusarKlipVisionModel.forward`."""


@dataclass
class FusarKlipOutput(ModelOutput):
    """What `FusarKlipModel.forward` returns; what was not asked for is None.

    Attributes:
        loss: Weighted sum of the losses.
        itc, itm, mlm, lm, mim: Each loss by itself, not weighted; without gradient.
        itm_base_rate: What `itm` would be for who knows only how many of its pairs are true, in nats: 0.637 for one in
            three. A model that does not get below has learned nothing of matching.
        itm_accuracy: Share of the pairs that matching gets right.
        logits_per_image: `[B, M]`, similarities over the temperature.
        logits_per_text: `[M, B]`.
        image_embeds: `[B, D]` unit vectors.
        text_embeds: `[M, D]` unit vectors.
        itm_score: As the parent's, where `use_itm_head` is given: logits `[B, 2]` (no, yes), or cosines `[B, M]`.
        question_embeds: As the parent's, beside `itm_score`.
        last_hidden_state: `[B, 1 + T, C]`, class token and patches of the image.
        hidden_states, attentions: Of the image tower, where asked for.
    """

    loss: Tensor | None = None
    itc: Tensor | None = None
    itm: Tensor | None = None
    mlm: Tensor | None = None
    lm: Tensor | None = None
    mim: Tensor | None = None
    itm_base_rate: float | None = None
    itm_accuracy: Tensor | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    itm_score: Tensor | None = None
    question_embeds: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Filled(NamedTuple):
    """Attributes: token ids `[M, L]` without masks, and the probability `[M, L]` of each that was filled, else 1."""

    input_ids: Tensor
    probabilities: Tensor


class _Batch(NamedTuple):
    """What the losses read."""

    input_ids: Tensor
    attention_mask: Tensor
    image_tokens: Tensor
    image_facts: Tensor
    text_facts: Tensor
    part_ids: Tensor
    token_weights: Tensor
    has_parts: bool


class _Fused(NamedTuple):
    """Texts `[N, L]` to be read beside images, and the place of each one's image in the batch."""

    input_ids: Tensor
    attention_mask: Tensor
    images: Tensor


class _PairsToMatch(NamedTuple):
    texts: _Fused
    labels: Tensor


class _MaskedTexts(NamedTuple):
    """Texts with masks, where those are `[N, L]`, and what is under each mask with its weight `[m]`."""

    texts: _Fused
    chosen: Tensor
    targets: Tensor
    weights: Tensor


class FusarKlipModel(BlipForImageTextRetrieval):
    """Images of SAR and texts in one space: similarity, matching and reconstruction, with geography.

    Without prior and acquisition it computes what `BlipForImageTextRetrieval` computes, bit for bit.

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
            self.momentum_towers = MomentumTowers(self._towers())
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

    def _towers(self) -> dict[str, nn.Module]:
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
        return functional.normalize(self.text_proj(self._read(input_ids, attention_mask)[:, 0, :]), dim=-1)

    @can_return_tuple
    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """The text tower's output, whose `pooler_output` `[M, D]` is projected, and not a unit vector yet."""
        self._check_texts("input_ids", input_ids, attention_mask)
        outputs = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        outputs.pooler_output = self.text_proj(outputs.last_hidden_state[:, 0, :])
        return outputs

    def _read(self, input_ids: Tensor, attention_mask: Tensor | None, image_tokens: Tensor | None = None) -> Tensor:
        """`[M, L, C]` of the text tower: of texts alone, or of each beside its image `[M, 1 + T, C]`."""
        self._check_texts("input_ids", input_ids, attention_mask)
        # All tokens of an image count, which a mask of ones would say at the cost of a sum in every layer.
        outputs = self.text_encoder(
            input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=image_tokens
        )
        return outputs.last_hidden_state

    def _read_causally(self, input_ids: Tensor, attention_mask: Tensor | None, image_tokens: Tensor) -> Tensor:
        """`[B, L, C]`: each token beside its image and the tokens before it, the first of them `bos_token_id`."""
        ids = input_ids.clone()
        ids[:, 0] = cast(int, self.config.text.bos_token_id)
        return self.text_encoder(
            input_ids=ids, attention_mask=attention_mask, encoder_hidden_states=image_tokens, is_decoder=True
        ).last_hidden_state

    def _check_texts(self, name: str, input_ids: Tensor, attention_mask: Tensor | None) -> None:
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
        paired = tokens[self._pairs(input_ids, tokens, image_index)]
        return self.itm_head(self._read(input_ids, attention_mask, paired)[:, 0, :]).softmax(-1)[:, 1]

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
            logits = self.word_head(self._read(filled[rows], of_rows, paired[rows])).float()
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
                f"image_index: found None for {len(input_ids)} texts and {len(image_tokens)} images, expected the place "
                "of each text's image."
            )
        return torch.arange(len(input_ids), device=input_ids.device) % len(image_tokens)

    # Training and all at once

    # Every argument is passed by keyword.
    @can_return_tuple
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        use_itm_head: bool | None = None,
        attention_mask: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        image_states: Tensor | None = None,
        prior_embeddings: Tensor | None = None,
        prior_positions: Tensor | None = None,
        prior_mask: Tensor | None = None,
        resolution_m: Tensor | None = None,
        sensor: Tensor | None = None,
        polarization: Tensor | None = None,
        month: Tensor | None = None,
        location: Tensor | None = None,
        image_facts: Tensor | None = None,
        text_facts: Tensor | None = None,
        part_ids: Tensor | None = None,
        part_weights: Tensor | None = None,
        counterfactual_input_ids: Tensor | None = None,
        counterfactual_attention_mask: Tensor | None = None,
        image_gradients: Tensor | None = None,
        text_gradients: Tensor | None = None,
        alpha: float | None = None,
        return_loss: bool | None = None,
        **kwargs: Any,
    ) -> FusarKlipOutput:
        """Similarities of B images and M texts, and on request the losses of `losses_config` (then M = B).

        Args:
            input_ids: int64 `[M, L]`.
            pixel_values, interpolate_pos_encoding, image_states, prior_*, resolution_m, sensor, polarization, month,
                location: The images, as of `FusarKlipVisionModel.forward`.
            use_itm_head: None for similarities alone. True for the parent's matching logits of pair after pair in
                `itm_score`, False for its cosines there.
            attention_mask: `[M, L]`, 1 for tokens, 0 for padding.
            image_facts: int64 `[B, 16]`, what is so in each image; 0 where nothing is known.
            text_facts: int64 `[B, 16]`, what each text says; 0 where it says nothing. Without both, a text is true of
                its own image and of those whose text is equal.
            part_ids: int64 `[B, L]`, 1 + dimension of the part that a token belongs to, 0 for none. Without them the
                words of a text are no parts: single ones are masked, never a whole part.
            part_weights: float `[B, 16]`, weight of each part in reconstruction; 1 by default, 0 for one not trusted.
            counterfactual_input_ids: int64 `[B, L2]`, a text known to be false of its image; a further negative of
                matching.
            counterfactual_attention_mask: `[B, L2]`, all 0 in a row that has none.
            image_gradients: `[B, D]` of a contrast that was taken before over a larger batch (`two_pass_step`): then the
                vectors' products with them stand in for the contrast.
            text_gradients: Alike.
            alpha: Share of the momentum towers' targets now, instead of `losses_config.alpha`.
            return_loss: Whether to compute the losses.

        Raises:
            TypeError: On an unknown argument.
            ValueError: If an argument has a wrong shape, dtype or value.
        """
        unknown = sorted(set(kwargs) - set(TransformersKwargs.__annotations__))
        if unknown:
            raise TypeError(f"unexpected keyword arguments {unknown}.")
        self._check_texts("input_ids", input_ids, attention_mask)
        image_inputs = {
            "pixel_values": pixel_values,
            "interpolate_pos_encoding": interpolate_pos_encoding,
            "image_states": image_states,
            "prior_embeddings": prior_embeddings,
            "prior_positions": prior_positions,
            "prior_mask": prior_mask,
            "resolution_m": resolution_m,
            "sensor": sensor,
            "polarization": polarization,
            "month": month,
            "location": location,
        }
        vision = self.vision_model(**image_inputs, **kwargs)
        image_tokens = vision.last_hidden_state
        image_embeds = self.image_embeddings(image_tokens)
        found: dict[str, Any] = {
            "last_hidden_state": image_tokens,
            "hidden_states": vision.hidden_states,
            "attentions": vision.attentions,
            "image_embeds": image_embeds,
        }
        if use_itm_head:
            found["question_embeds"] = self._read(input_ids, attention_mask, image_tokens)
            found["itm_score"] = self.itm_head(found["question_embeds"][:, 0, :])
            if not return_loss:
                return FusarKlipOutput(**found)
        texts = self._read(input_ids, attention_mask)
        text_embeds = functional.normalize(self.text_proj(texts[:, 0, :]), dim=-1)
        cosines = image_embeds @ text_embeds.t()
        if use_itm_head is False:
            found |= {"question_embeds": texts, "itm_score": cosines}
        logits = self._logits(cosines)
        found |= {"text_embeds": text_embeds, "logits_per_image": logits, "logits_per_text": logits.t()}
        if not return_loss:
            return FusarKlipOutput(**found)

        losses = self.config.losses
        batch = self._batch(input_ids, attention_mask, image_tokens, image_facts, text_facts, part_ids, part_weights)
        weighted: list[Tensor] = []
        if image_gradients is not None and text_gradients is not None:
            weighted.append((image_embeds * image_gradients).sum() + (text_embeds * text_gradients).sum())
        elif losses.itc > 0:
            followed = self._follow(input_ids, attention_mask, image_inputs)
            itc = self.contrast(image_embeds, text_embeds, batch.image_facts, batch.text_facts, followed, alpha)
            weighted.append(losses.itc * itc)
            found["itc"] = itc.detach()
        # Matching and reconstruction read texts beside images alike, and so in one pass.
        pairs = self._pairs_to_match(batch, logits, counterfactual_input_ids, counterfactual_attention_mask)
        masked = self._masked_texts(batch)
        if pairs is not None or masked is not None:
            fused = [part.texts for part in (pairs, masked) if part is not None]
            read = list(self._read_fused(fused, image_tokens))
            if pairs is not None:
                scores = self.itm_head(read.pop(0)[:, 0, :]).float()
                itm = functional.cross_entropy(scores, pairs.labels) if len(scores) else scores.sum()
                weighted.append(losses.itm * itm)
                right = (scores.argmax(1) == pairs.labels).float()
                found |= {"itm": itm.detach(), "itm_accuracy": right.mean() if len(right) else scores.sum().detach()}
                found["itm_base_rate"] = base_rate(pairs.labels)
            if masked is not None:
                predicted = self.word_head(read.pop(0)[masked.chosen])
                mlm = weighted_cross_entropy(predicted, masked.targets, masked.weights)
                weighted.append(losses.mlm * mlm)
                found["mlm"] = mlm.detach()
        if losses.lm > 0:
            lm = self._caption_loss(batch)
            weighted.append(losses.lm * lm)
            found["lm"] = lm.detach()
        if losses.mim > 0:
            mim = self._masked_image_loss(image_inputs)
            weighted.append(losses.mim * mim)
            found["mim"] = mim.detach()
        if not weighted:
            raise ValueError("losses_config: found no loss with a weight, expected one of itc, itm, mlm, lm, mim.")
        found["loss"] = torch.stack(weighted).sum()
        return FusarKlipOutput(**found)

    def _logits(self, cosines: Tensor) -> Tensor:
        logits = cosines / self.temperature
        return logits + self.bias if self.config.losses.contrastive == "sigmoid" else logits

    def _batch(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        image_tokens: Tensor,
        image_facts: Tensor | None,
        text_facts: Tensor | None,
        part_ids: Tensor | None,
        part_weights: Tensor | None,
    ) -> _Batch:
        """What the losses read, checked, with what was not given filled in."""
        count = len(input_ids)
        if len(image_tokens) != count:
            raise ValueError(f"input_ids: found {count} texts for {len(image_tokens)} images, expected one for each.")
        given = {"image_facts": image_facts, "text_facts": text_facts, "part_weights": part_weights}
        for name, value in given.items():
            if value is not None and tuple(value.shape) != (count, DIMENSIONS):
                raise ValueError(f"{name}: found shape {list(value.shape)}, expected {[count, DIMENSIONS]}.")
        if (image_facts is None) != (text_facts is None):
            raise ValueError("image_facts, text_facts: found one of them, expected both or none.")
        if part_weights is not None and not bool((part_weights.isfinite() & (part_weights >= 0)).all()):
            raise ValueError("part_weights: found NaN, infinity or a negative number, expected weights from 0.")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        facts = wording_facts(input_ids, mask, DIMENSIONS)
        if part_ids is None:
            text = self.config.text
            special = [text.bos_token_id, text.sep_token_id, text.pad_token_id]
            words = mask.bool() & ~torch.isin(input_ids, torch.tensor(special, device=input_ids.device))
            words[:, 0] = False
            parts, weights = words.long(), torch.ones(input_ids.shape, device=input_ids.device)
        else:
            if part_ids.shape != input_ids.shape or not bool(((part_ids >= 0) & (part_ids <= DIMENSIONS)).all()):
                raise ValueError(
                    f"part_ids: found shape {list(part_ids.shape)} with values from {int(part_ids.min())} to "
                    f"{int(part_ids.max())}, expected shape {list(input_ids.shape)} with values from 0 to {DIMENSIONS}."
                )
            parts = part_ids * mask.bool()
            of_parts = torch.ones(count, DIMENSIONS, device=parts.device) if part_weights is None else part_weights
            # Tokens outside of all parts, such as "and", are as good as any.
            weights = functional.pad(of_parts.float(), (1, 0), value=1.0).gather(1, parts)
        return _Batch(
            input_ids,
            mask,
            image_tokens,
            facts if image_facts is None else image_facts,
            facts if text_facts is None else text_facts,
            parts,
            weights,
            part_ids is not None,
        )

    def facts_of_texts(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Facts `[M, 16]` of texts of which none are known: equal ones say the same, others do not."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return wording_facts(input_ids, mask, DIMENSIONS)

    def contrast(
        self,
        image_embeds: Tensor,
        text_embeds: Tensor,
        image_facts: Tensor,
        text_facts: Tensor,
        followed: tuple[Tensor, Tensor] | None = None,
        alpha: float | None = None,
    ) -> Tensor:
        """The contrastive loss of a batch, over all processes and against the queue where there are such.

        Args:
            image_embeds: `[B, D]` unit vectors; image i and text i belong together.
            text_embeds: Alike.
            image_facts: int64 `[B, 16]`.
            text_facts: int64 `[B, 16]`.
            followed: Images and texts of the momentum towers, where there are such.
            alpha: Share of their targets; by default that of the configuration.
        """
        losses = self.config.losses
        if self.training:
            with torch.no_grad():
                self.temperature.data.clamp_(*TEMPERATURES)
        images, texts = gather_rows(image_embeds), gather_rows(text_embeds)
        image_facts, text_facts = gather_rows(image_facts), gather_rows(text_facts)
        averages = (images.detach(), texts.detach())
        if followed is not None:
            averages = (gather_rows(followed[0]), gather_rows(followed[1]))
        past = self.queue.entries() if losses.queue_size else (images[:0], texts[:0], image_facts[:0], text_facts[:0])
        past_images, past_texts, past_image_facts, past_text_facts = past
        own = torch.eye(len(images), dtype=torch.bool, device=images.device)
        directions = (
            (images, texts, past_texts, truth_matrix(image_facts, torch.cat([text_facts, past_text_facts]))),
            (texts, images, past_images, truth_matrix(torch.cat([image_facts, past_image_facts]), text_facts).t()),
        )
        terms: list[Tensor] = []
        for (rows, columns, past_columns, true), average, other in zip(
            directions, averages, reversed(averages), strict=True
        ):
            truth = torch.cat([true[:, : len(own)] | own, true[:, len(own) :]], 1)
            logits = self._logits(rows @ torch.cat([columns, past_columns.to(columns.dtype)]).t())
            if losses.contrastive == "sigmoid":
                terms.append(sigmoid_contrast(logits, truth))
                continue
            soft = None
            if followed is not None:
                with torch.no_grad():
                    soft = (
                        self._logits(average @ torch.cat([other, past_columns.to(other.dtype)]).t()).float().softmax(1)
                    )
            terms.append(softmax_contrast(logits, truth, soft, losses.alpha if alpha is None else alpha))
        if losses.queue_size and self.training:
            self.queue.push(*averages, image_facts, text_facts)
        return (terms[0] + terms[1]) / 2

    @torch.no_grad()
    def _follow(
        self, input_ids: Tensor, attention_mask: Tensor | None, image_inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor] | None:
        """Unit vectors of images and texts by the momentum towers, after a step of theirs in training."""
        decay = self.config.losses.momentum
        if decay is None:
            return None
        if self.training:
            self.momentum_towers.follow(self._towers(), decay)
        towers = self.momentum_towers.towers
        image_tokens = towers["vision_model"](**image_inputs).last_hidden_state
        texts = towers["text_encoder"](input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        images = functional.normalize(towers["vision_proj"](image_tokens[:, 0, :]), dim=-1)
        return images, functional.normalize(towers["text_proj"](texts[:, 0, :]), dim=-1)

    def _pairs_to_match(
        self, batch: _Batch, logits: Tensor, other_ids: Tensor | None, other_mask: Tensor | None
    ) -> _PairsToMatch | None:
        """True pairs and false ones that look alike; a pair of which nothing in the batch is false is left out."""
        if not self.config.losses.itm > 0:
            return None
        count, device = len(logits), logits.device
        truth = truth_matrix(batch.image_facts, batch.text_facts) | torch.eye(count, dtype=torch.bool, device=device)
        of_images, of_texts = sample_negatives(logits, truth), sample_negatives(logits.t(), truth.t())
        places = torch.arange(count, device=device)
        has_negative = of_images.present | of_texts.present
        has_other = torch.zeros_like(has_negative)
        if other_ids is not None:
            other_mask = torch.ones_like(other_ids) if other_mask is None else other_mask
            self._check_texts("counterfactual_input_ids", other_ids, other_mask)
            if len(other_ids) != count:
                raise ValueError(f"counterfactual_input_ids: found {len(other_ids)} rows, expected {count}.")
            has_other = other_mask.any(1)
            has_negative = has_negative | has_other
        # Pairs of texts and images by their places: true, false text, false image.
        texts = torch.cat([places[has_negative], of_images.chosen[of_images.present], places[of_texts.present]])
        images = torch.cat([places[has_negative], places[of_images.present], of_texts.chosen[of_texts.present]])
        pairs = [_Fused(batch.input_ids[texts], batch.attention_mask[texts], images)]
        if other_ids is not None and other_mask is not None:
            pairs.append(_Fused(other_ids[has_other], other_mask[has_other], places[has_other]))
        joined = _join(pairs, self.config.text.pad_token_id)
        labels = (torch.arange(len(joined.images), device=device) < has_negative.sum()).long()
        return _PairsToMatch(joined, labels)

    def _masked_texts(self, batch: _Batch) -> _MaskedTexts | None:
        losses = self.config.losses
        if not losses.mlm > 0:
            return None
        whole = losses.mask_part if batch.has_parts else 0.0
        masked_ids, chosen = mask_texts(
            batch.input_ids, batch.part_ids, batch.token_weights, losses.mask_words, whole, self.config.mask_token_id
        )
        rows = chosen.any(1).nonzero()[:, 0]
        chosen = chosen[rows]
        return _MaskedTexts(
            _Fused(masked_ids[rows], batch.attention_mask[rows], rows),
            chosen,
            batch.input_ids[rows][chosen],
            batch.token_weights[rows][chosen],
        )

    def _read_fused(self, parts: list[_Fused], image_tokens: Tensor) -> tuple[Tensor, ...]:
        """`[N, L, C]` of the text tower for each part, whose texts are read beside their images in one pass."""
        joined = _join(parts, self.config.text.pad_token_id)
        if not len(joined.images):
            width = self.config.text.hidden_size
            return tuple(image_tokens.sum() * 0 + image_tokens.new_zeros(0, 1, width) for _ in parts)
        read = self._read(joined.input_ids, joined.attention_mask, image_tokens[joined.images])
        split = read.split([len(part.images) for part in parts])
        return tuple(states[:, : part.input_ids.shape[1]] for states, part in zip(split, parts, strict=True))

    def _caption_loss(self, batch: _Batch) -> Tensor:
        """Each word from the image and the words before it."""
        read = self._read_causally(batch.input_ids, batch.attention_mask, batch.image_tokens)
        counted = batch.attention_mask[:, 1:].bool()
        targets, weights = batch.input_ids[:, 1:][counted], batch.token_weights[:, 1:][counted]
        return weighted_cross_entropy(self.word_head(read[:, :-1][counted]), targets, weights)

    def _masked_image_loss(self, image_inputs: dict[str, Any]) -> Tensor:
        """Mean square of what is predicted of hidden patches less what they are, smoothed."""
        pixel_values = image_inputs["pixel_values"]
        if pixel_values is None:
            raise ValueError("pixel_values: found None, expected images; losses_config.mim hides patches of them.")
        targets = smoothed_targets(pixel_values, cast(int, self.config.vision.patch_size))
        chance = torch.rand(targets.shape[:2], device=targets.device)
        hidden = chance.argsort(1).argsort(1) < round(self.config.losses.mask_patches * targets.shape[1])
        tokens = self.image_tokens(**image_inputs, masked_patches=hidden)[:, 1:]
        return functional.mse_loss(self.mim_head(tokens[hidden]).float(), targets[hidden])


def _join(parts: list[_Fused], pad_token_id: int | None) -> _Fused:
    """Parts one after the other, padded to the longest."""
    length = max(part.input_ids.shape[1] for part in parts)
    return _Fused(
        torch.cat([_pad(part.input_ids, length, pad_token_id or 0) for part in parts]),
        torch.cat([_pad(part.attention_mask, length, 0) for part in parts]),
        torch.cat([part.images for part in parts]),
    )


def _pad(rows: Tensor, length: int, value: int) -> Tensor:
    return functional.pad(rows, (0, length - rows.shape[1]), value=value)


__all__ = ["FusarKlipModel", "FusarKlipOutput"]
