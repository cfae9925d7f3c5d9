"""A tiny CLIP with random weights: a dual encoder of transformers as people bring them, without prior or matching."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

WORDS = ("<unk>", "<pad>", "<start>", "<end>", "the", "terrain", "is", "mostly", "water", "forest", "ships", "no", ".")
SIDE = 32
LONGEST = 16
"""Tokens of a text."""


def tiny_clip_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each word of `WORDS`."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<pad>", bos_token="<start>", eos_token="<end>"
    )


def tiny_clip_processor() -> CLIPProcessor:
    images = CLIPImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_center_crop=False)
    return CLIPProcessor(image_processor=images, tokenizer=tiny_clip_tokenizer())


def tiny_clip(seed: int = 0) -> CLIPModel:
    common = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"vocab_size": len(WORDS), "max_position_embeddings": LONGEST, "pad_token_id": 1}
    torch.manual_seed(seed)
    return CLIPModel(
        CLIPConfig(
            text_config=common | text | {"bos_token_id": 2, "eos_token_id": 3},
            vision_config=common | {"image_size": SIDE, "patch_size": 8},
            projection_dim=16,
        )
    ).eval()


def save_tiny_clip(folder: Path, seed: int = 0) -> Path:
    tiny_clip(seed).save_pretrained(folder)
    tiny_clip_processor().save_pretrained(folder)
    return folder
