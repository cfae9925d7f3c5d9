"""FUSAR-KLIP for captions and for classes: the same towers, read in another way."""

# First: it refuses an older one.
from .transformers_release import MINIMUM_TRANSFORMERS  # noqa: F401  # pyright: ignore[reportUnusedImport]

# isort: split
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutput, ImageClassifierOutput
from transformers.models.blip.modeling_blip import BlipPreTrainedModel
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_fusarklip import FusarKlipConfig
from .modeling_fusarklip import IMAGE_INPUTS, FusarKlipModel
from .vision_fusarklip import FusarKlipVisionModel


class FusarKlipForConditionalGeneration(FusarKlipModel, GenerationMixin):
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
        self._check_texts("input_ids", input_ids, attention_mask)
        tokens = self.image_tokens(**image_inputs) if image_tokens is None else image_tokens
        read = self._read_causally(input_ids, attention_mask, tokens)
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
        inputs.setdefault("max_length", self.config.max_text_tokens) if "max_new_tokens" not in inputs else None
        return decoder.eval().generate(
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
        self.classifier = nn.Linear(config.vision.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor | None = None, labels: Tensor | None = None, **image_inputs: Any
    ) -> ImageClassifierOutput:
        """Logits `[B, num_labels]`.

        Args:
            pixel_values: `[B, 3, H, W]`.
            labels: int64 `[B]`.
            **image_inputs: The further `IMAGE_INPUTS`.

        Raises:
            TypeError: On an unknown argument.
            ValueError: If an argument has a wrong shape, dtype or value.
        """
        check_arguments(image_inputs)
        outputs = self.vision_model(pixel_values=pixel_values, **image_inputs)
        logits = self.classifier(outputs.last_hidden_state[:, 0, :])
        loss = None if labels is None else functional.cross_entropy(logits.float(), labels)
        return ImageClassifierOutput(
            loss=cast(Any, loss),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


def check_arguments(image_inputs: dict[str, Any]) -> None:
    """Raises TypeError for arguments that say nothing of an image."""
    unknown = sorted(set(image_inputs) - {*IMAGE_INPUTS, *TransformersKwargs.__annotations__})
    if unknown:
        raise TypeError(f"unexpected keyword arguments {unknown}.")


__all__ = ["FusarKlipForConditionalGeneration", "FusarKlipForImageClassification"]
