"""Batches for TRL's ``SFTTrainer`` from triplet records: image, prior and conversation."""

from dataclasses import dataclass
from typing import Any

import torch
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from modeling_fusargpt import FusarGptProcessor

PRIOR_COLUMNS = ("prior_embeddings", "prior_positions")
IGNORED_LABEL = -100


@dataclass
class TripletCollator(DataCollatorForVisionLanguageModeling):
    """TRL's vision collator, extended with the spatiotemporal prior and with loss on answers alone.

    A row holds ``image`` (one PIL image), the two prior columns, and either ``prompt`` and ``completion`` or
    ``messages`` (several user and assistant turns about the image), each a conversational list of
    ``{"role": str, "content": str}``. The image is placed before the text of the first user turn.

    Loss falls on the tokens of the assistant turns and on the ``<|im_end|>`` that closes each of them: on every
    assistant turn of ``messages``, on the turns of ``completion`` only otherwise. All other labels are -100.

    Args:
        processor: a ``FusarGptProcessor`` whose template is ChatML (``<|im_start|>role ... <|im_end|>``).
        prior: whether the rows carry priors. When False no ``prior_*`` field reaches the model.

    Returns (when called on a list of rows):
        ``input_ids``, ``attention_mask``, ``labels`` [batch, tokens] padded on the right, ``pixel_values``,
        ``image_grid_thw`` [batch, 3], and with priors ``prior_embeddings`` float32 [batch, S_max, 64],
        ``prior_positions`` float32 [batch, S_max, 2] (y, x) in [0, 1], ``prior_mask`` bool [batch, S_max].

    Raises:
        KeyError: when a row lacks the image, a prior column or the conversation.
        ValueError: when a prior is malformed, or the rendered conversation does not show its assistant turns.
    """

    processor: FusarGptProcessor
    prior: bool = True

    def __post_init__(self) -> None:
        if self.max_length is not None:
            raise ValueError(
                f"max_length is {self.max_length}, expected None: cutting a sequence can cut image tokens away from "
                "their pixels. Set `max_length: null` in the recipe."
            )
        if self.pad_to_multiple_of is not None or self.assistant_only_loss or self.chat_template is not None:
            raise ValueError(
                "pad_to_multiple_of, assistant_only_loss and chat_template are not options of TripletCollator, which "
                "always trains on the assistant turns of the processor's own chat template. Remove them."
            )
        tokenizer = self.processor.tokenizer
        self._turn_start = tokenizer.encode("<|im_start|>assistant", add_special_tokens=False)
        self._turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        with_newline = tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
        # Loss starts one token after the header, so the newline has to be a token of its own.
        if with_newline[:-1] != self._turn_start or self._turn_end in (None, tokenizer.unk_token_id):
            raise ValueError(
                "the tokenizer does not know the ChatML turns '<|im_start|>assistant\\n' and '<|im_end|>': found "
                f"{tokenizer.convert_ids_to_tokens(with_newline)}. Use the processor of a Qwen2.5-VL or FUSAR-GPT."
            )

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        conversations = [_conversation(example) for example in examples]
        messages = [
            prepare_multimodal_messages(messages, images=[example["image"]])
            for (messages, _), example in zip(conversations, examples, strict=True)
        ]
        output = self.processor(
            images=[example["image"] for example in examples],
            text=self.processor.apply_chat_template(messages, tokenize=False),
            priors=[_prior(example) for example in examples] if self.prior else None,
            padding=True,
            padding_side="right",
            return_tensors=self.return_tensors,
        )
        output["labels"] = self._labels(output["input_ids"], [turns for _, turns in conversations])
        return dict(output)

    def _labels(self, input_ids: torch.Tensor, turns: list[tuple[int, int]]) -> torch.Tensor:
        """Labels [batch, tokens]; ``turns`` holds each row's assistant turns (in its prompt, in all)."""
        labels = torch.full_like(input_ids, IGNORED_LABEL)
        header = torch.tensor(self._turn_start)
        is_header = (input_ids.unfold(1, len(header), 1) == header).all(dim=-1)
        for row, (given, total) in enumerate(turns):
            starts = (is_header[row].nonzero().flatten() + len(header) + 1).tolist()
            ends = ((input_ids[row] == self._turn_end).nonzero().flatten() + 1).tolist()
            if len(starts) != total:
                raise ValueError(
                    f"row {row} of the batch has {total} assistant turns, but its rendered text shows {len(starts)}: "
                    "the chat template is not ChatML, or a message contains '<|im_start|>' itself."
                )
            for start in starts[given:]:
                end = next(end for end in ends if end > start)
                labels[row, start:end] = input_ids[row, start:end]
        return labels


def _conversation(example: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """Messages of a row, and its numbers of assistant turns (without loss, in all)."""
    if "image" not in example:
        raise KeyError(f"the row has no column 'image'; its columns are {sorted(example)}")
    if "messages" in example:
        given, messages = [], list(example["messages"])
    elif "prompt" in example and "completion" in example:
        given, messages = example["prompt"], [*example["prompt"], *example["completion"]]
    else:
        raise KeyError(
            f"the row has neither 'messages' nor 'prompt' and 'completion'; its columns are {sorted(example)}"
        )
    turns = (_assistant_turns(given), _assistant_turns(messages))
    if turns[0] == turns[1]:
        raise ValueError(
            "the row has no assistant turn to learn from; expected at least one in its completion or messages"
        )
    return messages, turns


def _assistant_turns(messages: list[dict[str, Any]]) -> int:
    return sum(message["role"] == "assistant" for message in messages)


def _prior(example: dict[str, Any]) -> dict[str, Any] | None:
    """Prior of a row as the processor takes and checks it; None when the row says that its image has no anchor."""
    for column in PRIOR_COLUMNS:
        if column not in example:
            raise KeyError(
                f"the row has no column '{column}'; its columns are {sorted(example)}. Build the dataset with priors, "
                "keep the column with `remove_unused_columns: false`, or train without priors with `prior: none`."
            )
    prior = {column: example[column] for column in PRIOR_COLUMNS}
    empty = [column for column, values in prior.items() if values is None]
    if len(empty) == 1:
        raise ValueError(
            f"column '{empty[0]}' of the row is empty, the other prior column is not; fill both or neither"
        )
    return None if empty else prior
