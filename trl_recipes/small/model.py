"""A small model before training: python -m trl_recipes.small.model nano --out build/nano/initial

The classes of the 7B with a few million parameters (`trl_recipes.small.sizes`), and a tokenizer of about a thousand
tokens with Qwen2.5-VL's special tokens and chat template. Two things differ on purpose: a number up to the image's side
is one token, and so is each fixed piece of the detection JSON, so that an answer is short and a coordinate is one
decision.
"""

import argparse
from collections.abc import Iterator, Sequence
from math import log10, pi
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fusargpt.errors import InputError, one_line
from fusargpt.simulator.records import question_answer
from fusargpt.simulator.rendering import DISPLAY_DB
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import TASKS
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import FusarGptConfig, FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.small.sizes import NANO, SMALL_MODELS, SmallModel

CORPUS_SCENES = 3000
_SHORTEST_WAVE = 8.0  # numbers
# In the order of Qwen2.5-VL's tokenizer; the ids differ.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Fixed pieces of the detection answer; then numbers, words, and runs of anything else.
_PIECES = r'\{"bbox_2d": \[|\], "label": "|"\}|, (?=[\d{])|\d{1,3}| ?\p{L}+|\s+| ?[^\s\p{L}\d]'
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ content(message) }}<|im_end|>{% endgeneration %}"
    "{{ '\\n' }}{% else %}{{ content(message) }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CONTENT = (
    "{% macro content(message) %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endmacro %}"
)


def corpus(model: SmallModel) -> Iterator[str]:
    """Questions and answers of training scenes, and every number that a coordinate can be, often enough to matter."""
    for seed in range(CORPUS_SCENES):
        scene = simulate_scene(seed)
        for task in TASKS:
            yield from question_answer(scene, task)
    for _ in range(1000):
        yield from (str(number) for number in range(model.image_size + 1))
    yield "You are a helpful assistant. system user assistant"


def build_tokenizer(model: SmallModel) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `corpus`."""
    tokenizer = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=model.vocabulary,
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(model), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        chat_template=_CONTENT + CHAT_TEMPLATE,
    )


def build_processor(model: SmallModel) -> FusarGptProcessor:
    """The processor: every image gets as many pixels as a square of `image_size` has."""
    pixels = model.image_size**2
    image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": pixels, "longest_edge": pixels})
    tokenizer = build_tokenizer(model)
    return FusarGptProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_size=model.image_size if model.squeezes else None,
        decibel_limits=DISPLAY_DB,
        targets=TARGETS,
        coarsest_pixel_m=model.coarsest_pixel_m,
    )


def build_config(model: SmallModel, processor: FusarGptProcessor) -> FusarGptConfig:
    """The configuration of the model's sizes."""
    tokenizer = processor.tokenizer
    identifier = tokenizer.convert_tokens_to_ids
    return FusarGptConfig(
        vision_config={
            "depth": model.vision_depth,
            "hidden_size": model.vision_width,
            "intermediate_size": model.vision_intermediate,
            "num_heads": model.vision_heads,
            "out_hidden_size": model.text_width,
            "fullatt_block_indexes": list(model.full_attention),
            "window_size": 112,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": model.text_width,
            "intermediate_size": model.text_intermediate,
            "num_hidden_layers": model.text_depth,
            "num_attention_heads": model.text_heads,
            "num_key_value_heads": model.text_heads,
            "max_position_embeddings": 2048,
            # Of heads of 32. Rows and columns of tokens turn the slow frequencies. With the usual theta of 10,000 six
            # columns differ by 0.02 radians, and a model of this size never learns where along x a token lies.
            "rope_parameters": {"rope_type": "default", "rope_theta": 20.0, "mrope_section": [2, 7, 7]},
            "bos_token_id": None,
            "eos_token_id": identifier("<|im_end|>"),
            "pad_token_id": identifier("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        tie_word_embeddings=True,
        image_token_id=identifier("<|image_pad|>"),
        video_token_id=identifier("<|video_pad|>"),
        vision_start_token_id=identifier("<|vision_start|>"),
        vision_end_token_id=identifier("<|vision_end|>"),
    )


def number_ids(processor: FusarGptProcessor, size: SmallModel) -> Sequence[int]:
    """The tokens of 0, 1, ... to the image's side."""
    return processor.tokenizer.convert_tokens_to_ids([str(number) for number in range(size.image_size + 1)])


def build(size: SmallModel, out: Path, seed: int, tower: Path | None = None) -> None:
    """Write the untrained model and its processor to `out`, with the vision tower of the model in the folder `tower`.

    Raises:
        InputError: no model of that size in `tower`.
    """
    torch.manual_seed(seed)
    processor = build_processor(size)
    model = FusarGptForConditionalGeneration(build_config(size, processor))
    if size.number_waves:
        _begin_as_waves(model.model.language_model.embed_tokens.weight, number_ids(processor, size))
    if tower is not None:
        _take_tower(model, tower)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    # The configuration last: it says that the folder is whole.
    processor.save_pretrained(out)
    model.save_pretrained(out)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.model.named_children()}
    print(f"{out}: {model.num_parameters():,} parameters {counts}, {len(processor.tokenizer)} tokens")


@torch.no_grad()
def _begin_as_waves(embeddings: Tensor, numbers: Sequence[int]) -> None:
    """Give half of the width of the embeddings [tokens, width] of `numbers`, 0, 1, ..., sines and cosines of them.

    Wavelengths from `_SHORTEST_WAVE` to twice the largest number, so that no two numbers are alike.
    """
    count = embeddings.shape[1] // 4
    lengths = torch.logspace(log10(_SHORTEST_WAVE), log10(2 * len(numbers)), count)
    angles = 2 * pi * torch.arange(len(numbers))[:, None] / lengths
    # Of the size of all the others.
    embeddings[torch.tensor(numbers), : 2 * count] = (
        embeddings.std() * 2**0.5 * torch.cat([angles.cos(), angles.sin()], -1)
    )


def _take_tower(model: FusarGptForConditionalGeneration, folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(f"--tower: {folder}: no config.json; expected the folder of a model")
    other = FusarGptForConditionalGeneration.from_pretrained(folder, dtype="float32")
    try:
        model.model.visual.load_state_dict(other.model.visual.state_dict())
    except RuntimeError as error:  # torch's for weights of another shape or name
        raise InputError(f"--tower: {folder}: found {one_line(error)}; expected a tower of this size") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SMALL_MODELS, nargs="?", default=NANO.name, help="default: nano")
    parser.add_argument("--out", type=Path, help="default: build/NAME/initial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tower", type=Path, help="model folder whose vision tower is taken (default: none)")
    options = parser.parse_args(arguments)
    out: Path = options.out or Path("build", options.size, "initial")
    try:
        build(SMALL_MODELS[options.size], out, options.seed, options.tower)
    except InputError as error:
        parser.exit(2, f"model: error: {error}\n")


if __name__ == "__main__":
    main()
