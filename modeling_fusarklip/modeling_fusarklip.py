"""FUSAR-KLIP: similarity and pre-training, captions, and classes; three uses of the same towers."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput, ImageClassifierOutput
from transformers.models.blip.modeling_blip import BlipPreTrainedModel
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel
from transformers.utils.generic import ModelOutput, can_return_tuple

from .batches import Fused, TrainingBatch, first_rows, join, masked_texts, pairs_to_match, training_batch
from .configuration_fusarklip import DIMENSIONS, FusarKlipConfig
from .losses import (
    base_rate,
    gather_rows,
    sigmoid_contrast,
    smoothed_targets,
    softmax_contrast,
    truth_matrix,
    weighted_cross_entropy,
    wording_facts,
)
from .towers_fusarklip import ACQUISITION_INPUTS, IMAGE_INPUTS, PRIOR_INPUTS, FusarKlipTowers, check_arguments
from .vision_fusarklip import FusarKlipVisionModel

TEMPERATURES = (0.01, 0.5)


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


class FusarKlipModel(FusarKlipTowers):
    """Images of SAR and texts in one space: similarity, matching and reconstruction, with geography.

    Without prior and acquisition it computes what `BlipForImageTextRetrieval` computes, bit for bit.
    """

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
            pixel_values, interpolate_pos_encoding, image_states: The images, as of `FusarKlipVisionModel.forward`.
            prior_*, resolution_m, sensor, polarization, month, location: What is known of them, likewise.
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
            image_gradients: `[B, D]` of a contrast that was taken before over a larger batch (`two_pass_step`): the
                vectors' products with them then stand in for the contrast.
            text_gradients: Alike.
            alpha: Share of the momentum towers' targets now, instead of `losses_config.alpha`.
            return_loss: Whether to compute the losses.

        Raises:
            TypeError: On an unknown argument.
            ValueError: If an argument has a wrong shape, dtype or value.
        """
        check_arguments(kwargs)
        self.check_texts("input_ids", input_ids, attention_mask)
        if counterfactual_input_ids is not None:
            self.check_texts("counterfactual_input_ids", counterfactual_input_ids, counterfactual_attention_mask)
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
            found["question_embeds"] = self.read(input_ids, attention_mask, image_tokens)
            found["itm_score"] = self.itm_head(found["question_embeds"][:, 0, :])
            if not return_loss:
                return FusarKlipOutput(**found)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        is_parents = use_itm_head is not None or not return_loss
        texts = self.read(input_ids, attention_mask) if is_parents else self.read_many(input_ids, mask)
        text_embeds = functional.normalize(self.text_proj(texts[:, 0, :]), dim=-1)
        cosines = image_embeds @ text_embeds.t()
        if use_itm_head is False:
            found |= {"question_embeds": texts, "itm_score": cosines}
        logits = self._logits(cosines)
        found |= {"text_embeds": text_embeds, "logits_per_image": logits, "logits_per_text": logits.t()}
        if not return_loss:
            return FusarKlipOutput(**found)

        losses = self.config.losses
        batch = training_batch(
            self.config, input_ids, attention_mask, image_tokens, image_facts, text_facts, part_ids, part_weights
        )
        weighted: list[Tensor] = []
        if image_gradients is not None and text_gradients is not None:
            weighted.append((image_embeds * image_gradients).sum() + (text_embeds * text_gradients).sum())
        elif losses.itc > 0:
            followed = self._follow(input_ids, attention_mask, image_inputs)
            itc = self.contrast(image_embeds, text_embeds, batch.image_facts, batch.text_facts, followed, alpha)
            weighted.append(losses.itc * itc)
            found["itc"] = itc.detach()
        # Matching and reconstruction read texts beside images alike, and so in one pass.
        pairs = pairs_to_match(self.config, batch, logits, counterfactual_input_ids, counterfactual_attention_mask)
        masked = masked_texts(self.config, batch)
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
                # As next words are said, by what stands before them (LLM2Vec, arXiv 2404.05961): one head says both.
                predicted = self.word_head(read.pop(0)[:, :-1][masked.chosen[:, 1:]])
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
            self.momentum_towers.follow(self.towers(), decay)
        towers = self.momentum_towers.towers
        image_tokens = towers["vision_model"](**image_inputs).last_hidden_state
        texts = towers["text_encoder"](input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        images = functional.normalize(towers["vision_proj"](image_tokens[:, 0, :]), dim=-1)
        return images, functional.normalize(towers["text_proj"](texts[:, 0, :]), dim=-1)

    def _read_fused(self, parts: list[Fused], image_tokens: Tensor) -> tuple[Tensor, ...]:
        """`[N, L, C]` of the text tower for each part, whose texts are read beside their images in one pass."""
        joined = join(parts, self.config.text.pad_token_id)
        read = self.read_many(joined.input_ids, joined.attention_mask, image_tokens, joined.images)
        split = read.split([len(part.images) for part in parts])
        return tuple(states[:, : part.input_ids.shape[1]] for states, part in zip(split, parts, strict=True))

    def _caption_loss(self, batch: TrainingBatch) -> Tensor:
        """Each word of the first `word_share` of the texts from the image and the words before it."""
        rows = first_rows(self.config.losses.word_share, batch)
        mask = batch.attention_mask[rows]
        mask = mask[:, : int(mask.sum(1).max())]
        ids, token_weights = (whole[rows, : mask.shape[1]] for whole in (batch.input_ids, batch.token_weights))
        images = torch.arange(len(ids), device=ids.device)
        read = self.read_many(ids, mask, batch.image_tokens[rows], images, causal=True)
        counted = mask[:, 1:].bool()
        targets, weights = ids[:, 1:][counted], token_weights[:, 1:][counted]
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


class FusarKlipForConditionalGeneration(FusarKlipTowers, GenerationMixin):
    """Captions: the text tower reads from left to right beside the image, and `word_head` says the next word.

    It has the weights of `FusarKlipModel`, no more and no fewer. It says sensible things where those were trained with
    `losses_config.lm`, or on captions by `labels`. The first token of a text is `text_config.bos_token_id`, whatever
    the tokenizer put there, as in BLIP.
    """

    # Every argument is passed by keyword.
    @can_return_tuple
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_tokens: Tensor | None = None,
        **image_inputs: Any,
    ) -> CausalLMOutput:
        """Logits of the next token after each.

        Args:
            input_ids: int64 `[B, L]`.
            attention_mask: `[B, L]`, 1 for tokens, 0 for padding.
            labels: int64 `[B, L]`, the texts, -100 where a token does not count; the loss is that of each from those
                before it.
            image_tokens: `[B, 1 + T, C]` from the method of that name, instead of images.
            **image_inputs: Images, given by `IMAGE_INPUTS`.

        Raises:
            TypeError: On an unknown argument.
            ValueError: If an argument has a wrong shape, dtype or value.
        """
        check_arguments(image_inputs)
        self.check_texts("input_ids", input_ids, attention_mask)
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        read = self.read_causally(input_ids, attention_mask, tokens)
        logits = self.word_head(read)
        if labels is None:
            return CausalLMOutput(logits=logits)
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=cast(Any, loss), logits=logits)

    # As the parent's BLIP does, and with the arguments of this class.
    @torch.no_grad()
    def generate(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_tokens: Tensor | None = None,
        **inputs: Any,
    ) -> Tensor:
        """Texts `[B, L]` that begin with the prompts, or with nothing.

        Args:
            input_ids: int64 `[B, L]`, prompts of one length, each between the tokens that the tokenizer puts around a
                text; None for no prompt.
            attention_mask: `[B, L]`, all 1.
            image_tokens: `[B, 1 + T, C]`, instead of images.
            **inputs: Images, given by `IMAGE_INPUTS`, and arguments of `GenerationMixin.generate`.

        Raises:
            ValueError: If prompts are padded, or an image input has a wrong shape, dtype or value.
        """
        image_inputs = {name: inputs.pop(name) for name in IMAGE_INPUTS if name in inputs}
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        text = self.config.text
        if attention_mask is not None and not bool(attention_mask.all()):
            raise ValueError(
                "attention_mask: found padding, expected prompts of one length; batch those of each length."
            )
        begin = torch.full((len(tokens), 1), cast(int, text.bos_token_id), device=tokens.device)
        if input_ids is not None:
            # Without the tokens around it.
            begin = torch.cat([begin, input_ids[:, 1:-1]], 1)
        with torch.device("meta"):
            decoder = BlipTextLMHeadModel(text)
        decoder.bert, decoder.cls = self.text_encoder, self.word_head
        if "max_new_tokens" not in inputs:
            inputs.setdefault("max_length", self.config.max_text_tokens)
        generating: Any = decoder.eval()
        return generating.generate(
            input_ids=begin,
            eos_token_id=text.sep_token_id,
            pad_token_id=text.pad_token_id,
            attention_mask=torch.ones_like(begin),
            encoder_hidden_states=tokens,
            **inputs,
        )


class FusarKlipForImageClassification(BlipPreTrainedModel):
    """A linear layer on the class token. Loads from a folder of `FusarKlipModel`, whose text tower it leaves."""

    config: FusarKlipConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  # the parent's kind of attribute
        r"^(text_encoder|text_proj|vision_proj|itm_head|word_head|mim_head|momentum_towers|queue)\.",
        r"^(temperature|bias)$",
    ]

    def __init__(self, config: FusarKlipConfig):
        super().__init__(config)
        self.vision_model = FusarKlipVisionModel(config)
        self.classifier = nn.Linear(config.vision.hidden_size, cast(int, config.num_labels))
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor | None = None, labels: Tensor | None = None, **image_inputs: Any
    ) -> ImageClassifierOutput:
        """Logits `[B, num_labels]`.

        Args:
            pixel_values: `[B, 3, H, W]`.
            labels: int64 `[B]`.
            **image_inputs: The further `IMAGE_INPUTS`; those are left out that `classifier_inputs` does not name.

        Raises:
            TypeError: On an unknown argument.
            ValueError: If an argument has a wrong shape, dtype or value.
        """
        check_arguments(image_inputs)
        for kind, names in (("prior", PRIOR_INPUTS), ("acquisition", ACQUISITION_INPUTS)):
            if kind not in self.config.classifier_inputs:
                image_inputs = {name: value for name, value in image_inputs.items() if name not in names}
        outputs = self.vision_model(pixel_values=pixel_values, **image_inputs)
        logits = self.classifier(outputs.last_hidden_state[:, 0, :])
        loss = None if labels is None else functional.cross_entropy(logits.float(), labels)
        return ImageClassifierOutput(
            loss=cast(Any, loss),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["FusarKlipForConditionalGeneration", "FusarKlipForImageClassification", "FusarKlipModel", "FusarKlipOutput"]
