"""Batches for TRL's ``SFTTrainer`` from triplet records: image, prior and conversation."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trl.data_utils import prepare_multimodal_messages
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from fusargpt.geo.image import to_rgb
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.inference.user_texts import UserTexts
from fusargpt.tasks.answers import SCORED_DIGITS, scale_boxes
from fusargpt.tasks.facts import DOUBTED_COLUMN
from modeling_fusargpt import FusarGptProcessor
from modeling_fusargpt.prepared import BatchPreparation
from modeling_fusargpt.processing_fusargpt import batch_priors
from trl_recipes.data.doubted import doubted_tokens, tell_doubted
from trl_recipes.data.feature_cache import FeatureCache
from trl_recipes.data.pairs import CONVERSATION, PADDING, join_pairs, one_conversation, pair_positions
from trl_recipes.data.row_tasks import NO_TASK, TASK_COLUMN, answer_tasks
from trl_recipes.data.rows import Batch, Message, Row

IGNORED_LABEL = -100
_DOUBTED_LABEL = -101  # told and not learned; ignored, too, once it is known which answer each label is of


@dataclass
class TripletCollator(DataCollatorForVisionLanguageModeling):
    """TRL's vision collator, extended with the spatiotemporal prior and with loss on answers alone.

    A row holds ``image`` (one PIL image of 8 bit; with ``features``, ``image_key``, ``image_height`` and
    ``image_width`` in its place), the two prior columns, and either ``prompt`` and ``completion``, ``messages``
    (several user and assistant turns about it), each a conversational list of ``{"role": str, "content": str}``, or
    ``pairs`` (several of ``prompt`` and ``completion``, as ``pair_rows`` makes them). The image is placed before the
    text of the first user turn.

    Boxes (``"bbox_2d": [x1, y1, x2, y2]``, in any turn) are in pixels of the row's image, and are brought to the size
    to which the processor resizes it: the model answers in pixels that it sees.

    Loss falls on the tokens of the assistant turns and on the ``<|im_end|>`` that closes each of them: on every
    assistant turn of ``messages``, on the turns of ``completion`` only otherwise. The answer in ``doubted`` takes the
    place of the last of these, and only what is outside its spans carries loss. All other labels are -100. A special
    token that stands in the text of a turn is the letters of its name.

    Args:
        processor: a ``FusarGptProcessor`` whose template is ChatML (``<|im_start|>role ... <|im_end|>``).
        prior: whether the rows carry priors. When False no ``prior_*`` field reaches the model.
        features: visual tokens computed before; None processes images.
        hide_earlier_answers: whether each of ``pairs`` is read as if it were alone; otherwise as one conversation.
        tasks: names that the rows' column ``task`` may hold, in the order of their ids; empty when there is none.
        prepare: works out what the model would derive from a batch; None leaves it to the model.

    Returns (when called on a list of rows):
        ``input_ids``, ``attention_mask``, ``mm_token_type_ids``, ``labels`` [batch, tokens] padded on the right,
        ``pixel_values`` (with ``features`` ``mm_encoder_outputs``), ``image_grid_thw`` [batch, 3], and with priors
        ``prior_embeddings`` float32 [batch, S_max, 64], ``prior_positions`` float32 [batch, S_max, 2] (y, x) in [0, 1],
        ``prior_mask`` bool [batch, S_max]. For hidden pairs also ``pair_ids`` [batch, tokens], with ``prepare`` the
        model's ``prepared``, and for either ``position_ids`` [3, batch, tokens]. With ``tasks`` also ``task_ids``
        [batch, tokens], -1 where no task's loss falls; the model does not take them.

    Raises:
        KeyError: when a row lacks the image, a prior column or the conversation, or its image is not in ``features``.
        ValueError: when a prior is malformed, an image holds more than 8 bit, a box that has to be moved cannot be
            read, or the rendered conversation does not show its assistant turns or image.
    """

    processor: FusarGptProcessor  # pyright: ignore[reportIncompatibleVariableOverride]  # the one it is for
    prior: bool = True
    features: FeatureCache | None = None
    hide_earlier_answers: bool = False
    tasks: tuple[str, ...] = ()
    prepare: BatchPreparation | None = None

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
                f"{tokenizer.convert_ids_to_tokens(with_newline)}. Use the processor of the backbone or of a FUSAR-GPT."
            )

    def torch_call(self, examples: list[Row]) -> Batch:
        examples = [tell_doubted(example) for example in examples]
        images = self._images(examples)
        grids = self.token_grids(images)
        sequences = self._sequences(self._in_seen_pixels(examples, images), grids)
        # The tokens come first: what comes first tells the trainer the size of the batch.
        output = self._padded(sequences) | images
        if self.hide_earlier_answers:
            output["pair_ids"] = _pad([pairs for _, _, pairs in sequences], PADDING)
        if self.hide_earlier_answers or self.prepare is not None:
            output["position_ids"] = self._positions(sequences, grids)
        if self.tasks:
            tasks = [self._tasks_of_answers(example) for example in examples]
            output["task_ids"] = answer_tasks(output["labels"], tasks, IGNORED_LABEL)
        doubted = output["labels"] == _DOUBTED_LABEL
        for name, without in (("labels", IGNORED_LABEL), ("task_ids", NO_TASK)):
            if name in output:
                output[name][doubted] = without
        return self.prepared(output | self._priors(examples))

    def prepared(self, batch: Batch) -> Batch:
        """A batch whose rows are padded on the right, with what the model would derive from it where that is wanted."""
        if self.prepare is None:
            return batch
        encodes = "mm_encoder_outputs" not in batch
        return {**batch, "prepared": self.prepare(batch["input_ids"], batch["image_grid_thw"], encodes)}

    def questions(self, examples: list[Row]) -> Batch:
        """What ``generate`` takes to answer the ``prompt`` of every row; otherwise as a batch of training, left-padded.

        Returns ``input_ids``, ``attention_mask``, ``mm_token_type_ids`` [batch, tokens], images and priors.
        """
        images = self._images(examples)
        prompts = [list(example["prompt"]) for example in self._in_seen_pixels(examples, images)]
        rows = self._rendered(prompts, self.token_grids(images), ask=True)
        # Answers are decoded from the right end, so that padding must be on the left.
        input_ids = _pad(rows, self.processor.tokenizer.pad_token_id, "left")
        tokens = {
            "input_ids": input_ids,
            "attention_mask": _pad([[1] * len(row) for row in rows], 0, "left"),
            "mm_token_type_ids": (input_ids == self.processor.image_token_id).long(),
        }
        return tokens | images | self._priors(examples)

    def shown(self, examples: list[Row]) -> Batch:
        """Images and priors of rows, as a batch of training has them."""
        return self._images(examples) | self._priors(examples)

    def seen_answers(self, examples: list[Row]) -> list[str]:
        """The true answers of rows, boxes in pixels of their images as the model sees them, and so answers."""
        sizes = zip(map(self.own_size, examples), self.seen_sizes(examples), strict=True)
        return [
            scale_boxes(example["completion"][-1]["content"], *size, SCORED_DIGITS)
            for example, size in zip(examples, sizes, strict=True)
        ]

    def seen_sizes(self, examples: list[Row]) -> list[tuple[int, int]]:
        """(width, height) to which the processor resizes the image of every row."""
        return self._seen_sizes(self._images(examples))

    def own_size(self, example: Row) -> tuple[int, int]:
        """(width, height) of the image of a row."""
        if self.features is None:
            return example["image"].size
        return example["image_width"], example["image_height"]

    def _seen_sizes(self, images: Batch) -> list[tuple[int, int]]:
        patch_size = self.processor.image_processor.patch_size
        return [(columns * patch_size, rows * patch_size) for _, rows, columns in images["image_grid_thw"].tolist()]

    def _in_seen_pixels(self, examples: list[Row], images: Batch) -> list[Row]:
        sizes = zip(map(self.own_size, examples), self._seen_sizes(images), strict=True)
        return [in_seen_pixels(example, *size) for example, size in zip(examples, sizes, strict=True)]

    def _priors(self, examples: list[Row]) -> dict[str, Tensor]:
        if not self.prior:
            return {}
        priors = batch_priors([_prior(example) for example in examples])
        return {name: torch.from_numpy(values) for name, values in priors.items()}

    def _images(self, examples: list[Row]) -> Batch:
        """Patches or visual tokens of the images, and their grids."""
        column = "image" if self.features is None else "image_key"
        for example in examples:
            if column not in example:
                raise KeyError(f"the row has no column '{column}'; its columns are {sorted(example)}")
        if self.features is None:
            return dict(self.processor(images=[to_rgb(example["image"]) for example in examples], return_tensors="pt"))
        encoded, grids = self.features.batch(example["image_key"] for example in examples)
        return {"mm_encoder_outputs": {"image": encoded}, "image_grid_thw": grids}

    def token_grids(self, images: Batch) -> list[tuple[int, int]]:
        """Rows and columns of the tokens of each image of a batch."""
        merge_size = self.processor.image_processor.merge_size
        return [(rows // merge_size, columns // merge_size) for _, rows, columns in images["image_grid_thw"].tolist()]

    def _rendered(
        self, conversations: list[list[Message]], grids: list[tuple[int, int]], ask: bool = False
    ) -> list[list[int]]:
        """Token ids of conversations, each about an image of its grid, with a token for every one of the image's.

        With ``ask`` each ends where an answer begins. Special tokens in the text of a turn are text.
        """
        written = UserTexts(self.processor.tokenizer)
        shown = [
            [{**turn, "content": written.shown(turn["content"])} for turn in messages] for messages in conversations
        ]
        # A placeholder of its own for the image: the text before and after is tokenized as the processor does it.
        texts = self.processor.apply_chat_template(
            [prepare_multimodal_messages(messages, images=[None]) for messages in shown],
            tokenize=False,
            add_generation_prompt=ask,
        )
        with_images = [
            self._with_image(text, rows * columns) for text, (rows, columns) in zip(texts, grids, strict=True)
        ]
        return [written.tokens(text) for text in with_images]

    def _sequences(
        self, examples: list[Row], grids: list[tuple[int, int]]
    ) -> list[tuple[list[int], list[int], list[int]]]:
        """Token ids, labels and pair ids of every row."""
        conversations, own_grids, lengths = [], [], []
        for example, grid in zip(examples, grids, strict=True):
            own = self._conversations(example)
            conversations += own
            own_grids += [grid] * len(own)
            lengths.append(len(own))
        encoded = self._rendered([messages for messages, _ in conversations], own_grids)
        pairs = [
            (ids, self._labels(ids, [turn for turn in messages if turn["role"] == "assistant"], learned))
            for ids, (messages, learned) in zip(encoded, conversations, strict=True)
        ]
        sequences = []
        for length in lengths:
            own, pairs = pairs[:length], pairs[length:]
            sequences.append(join_pairs(own, self.processor.image_token_id))
        return sequences

    def _conversations(self, example: Row) -> list[tuple[list[Message], list[bool]]]:
        """Messages, and for each assistant turn whether it is learned, of all that a row has rendered for itself."""
        if "pairs" in example:
            alone = [one_conversation([pair]) for pair in example["pairs"]]
            conversations = alone if self.hide_earlier_answers else [one_conversation(example["pairs"])]
        elif "messages" in example:
            messages = list(example["messages"])
            conversations = [(messages, [True for message in messages if message["role"] == "assistant"])]
        elif "prompt" in example and "completion" in example:
            conversations = [one_conversation([example])]
        else:
            raise KeyError(
                f"the row has neither 'messages' nor 'prompt' and 'completion'; its columns are {sorted(example)}"
            )
        if not all(any(learned) for _, learned in conversations):
            raise ValueError(
                "the row has no assistant turn to learn from; expected at least one in its completion or messages"
            )
        return conversations

    def _tasks_of_answers(self, example: Row) -> list[int]:
        """The task of every answer that a row learns."""
        tasks = []
        for part in example.get("pairs", [example]):
            name = part[TASK_COLUMN]
            task = NO_TASK if name is None else self.tasks.index(name)
            turns = part["messages"] if "messages" in part else part["completion"]
            tasks += [task for turn in turns if turn["role"] == "assistant"]
        return tasks

    def _with_image(self, text: str, tokens: int) -> str:
        """The text with as many image tokens as its image has."""
        placeholder = self.processor.image_token
        if text.count(placeholder) != 1:
            raise ValueError(
                f"the rendered text shows {text.count(placeholder)} images, expected one: the chat template does not "
                "place images."
            )
        return text.replace(placeholder, placeholder * tokens)

    def _labels(self, ids: list[int], answers: list[Message], learned: list[bool]) -> list[int]:
        """Labels of one conversation; ``learned`` says of each of its assistant turns whether it carries loss."""
        size = len(self._turn_start)
        starts = [
            place + size + 1
            for place, token in enumerate(ids)
            if token == self._turn_start[0] and ids[place : place + size] == self._turn_start
        ]
        if len(starts) != len(learned):
            raise ValueError(
                f"the row has {len(learned)} assistant turns, but its rendered text shows {len(starts)}: "
                "the chat template is not ChatML."
            )
        labels = [IGNORED_LABEL] * len(ids)
        for start, answer, carries_loss in zip(starts, answers, learned, strict=True):
            if carries_loss:
                end = ids.index(self._turn_end, start)
                labels[start : end + 1] = ids[start : end + 1]
                for place in doubted_tokens(self.processor.tokenizer, answer, ids[start:end]):
                    labels[start + place] = _DOUBTED_LABEL
        return labels

    def _padded(self, sequences: list[tuple[list[int], list[int], list[int]]]) -> dict[str, Tensor]:
        input_ids = _pad([ids for ids, _, _ in sequences], self.processor.tokenizer.pad_token_id)
        return {
            "input_ids": input_ids,
            "attention_mask": _pad([[1] * len(ids) for ids, _, _ in sequences], 0),
            "mm_token_type_ids": (input_ids == self.processor.image_token_id).long(),
            "labels": _pad([labels for _, labels, _ in sequences], IGNORED_LABEL),
        }

    def _positions(
        self, sequences: list[tuple[list[int], list[int], list[int]]], grids: list[tuple[int, int]]
    ) -> Tensor:
        token = self.processor.image_token_id
        positions = [
            pair_positions(ids, pairs, token, grid).T for (ids, _, pairs), grid in zip(sequences, grids, strict=True)
        ]
        return pad_sequence(positions, batch_first=True).permute(2, 0, 1).contiguous()


def in_seen_pixels(example: Row, own: tuple[int, int], seen: tuple[int, int]) -> Row:
    """A row with the boxes of its turns brought from its image's size to the one that the model sees."""
    if own == seen:
        return example
    if any(DOUBTED_COLUMN in turn for turn in example.get("completion", ())):
        _refuse_doubted_boxes(example["completion"][-1])
    moved = {
        name: [
            # A question may speak of the form of boxes alone.
            {**turn, "content": scale_boxes(turn["content"], own, seen, strict=turn["role"] == "assistant")}
            for turn in example[name]
        ]
        for name in ("messages", *CONVERSATION)
        if name in example
    }
    if "pairs" in example:
        moved["pairs"] = [in_seen_pixels(pair, own, seen) for pair in example["pairs"]]
    return {**example, **moved}


def _refuse_doubted_boxes(turn: Message) -> None:
    if scale_boxes(turn["content"], (1, 1), (2, 2)) != turn["content"]:
        raise ValueError(
            f"{DOUBTED_COLUMN}: the answer names boxes, and the image is resized; expected an answer without boxes, or "
            "images of the size that the processor makes"
        )


def _pad(rows: list[list[int]], value: int, side: str = "right") -> Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)


def _prior(example: Row) -> Row | None:
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
