"""Tiny FUSAR-KLIP models and processors, built in code: words of a small vocabulary, nothing downloaded."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BlipConfig, BlipForImageTextRetrieval, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from modeling_fusarklip import FusarKlipConfig, FusarKlipModel, FusarKlipProcessor
from tests.tiny import random_image, random_prior

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[UNK]")
WORDS = (
    *("ships", "ship", "aircraft", "water", "forest", "port", "road", "roads", "no", "one", "two", "three", "four"),
    *("in", "the", "north", "south", "east", "west", "at", "degrees", "a", "of", ".", ",", *map(str, range(10))),
)
TOKENS = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
IMAGE_SIZE, PATCH_SIZE, MAX_TOKENS = 24, 4, 32
OURS = ("tlm_config", "geography_config", "losses_config", "geography_layer", "mask_token_id", "max_text_tokens")


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, `[CLS]` before and `[SEP]` after a text."""
    words = Tokenizer(models.WordLevel(vocab=TOKENS, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)])
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", TOKENS["[CLS]"]), ("[SEP]", TOKENS["[SEP]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[DEC]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def tiny_klip_processor(**overrides: Any) -> FusarKlipProcessor:
    image_processor = BlipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    options: dict[str, Any] = {"max_text_tokens": MAX_TOKENS, **overrides}
    return FusarKlipProcessor(image_processor, tiny_tokenizer(), **options)


def tiny_klip_config(**overrides: Any) -> FusarKlipConfig:
    """A configuration of some 70,000 parameters; `overrides` are arguments of `FusarKlipConfig`."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "initializer_range": 0.1}
    text_config = {
        **sizes,
        "num_hidden_layers": 2,
        "vocab_size": len(TOKENS),
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": TOKENS["[DEC]"],
        "sep_token_id": TOKENS["[SEP]"],
        "eos_token_id": TOKENS["[SEP]"],
        "pad_token_id": TOKENS["[PAD]"],
    }
    vision_config = {**sizes, "num_hidden_layers": 3, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}
    arguments: dict[str, Any] = {
        "text_config": text_config,
        "vision_config": vision_config,
        "image_text_hidden_size": 16,
        "geography_layer": 1,
        "mask_token_id": TOKENS["[MASK]"],
        "max_text_tokens": MAX_TOKENS,
    }
    return FusarKlipConfig(**{**arguments, **overrides})


def tiny_klip(seed: int = 0, kind: type[Any] = FusarKlipModel, **overrides: Any) -> Any:
    """A model with random weights, in evaluation mode; its TLM is the identity, as a new one always is."""
    torch.manual_seed(seed)
    return kind(tiny_klip_config(**overrides)).eval()


def stir_klip(model: Any, seed: int = 0, scale: float = 0.5) -> None:
    """Gives the TLM random weights, so that the prior changes the model's output visibly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.vision_model.tlm.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def plain_blip(model: FusarKlipModel) -> BlipForImageTextRetrieval:
    """The parent's model with the weights of ours."""
    fields = model.config.to_dict()
    for name in (*OURS, "auto_map", "architectures", "model_type"):
        fields.pop(name, None)
    parent = BlipForImageTextRetrieval(BlipConfig(**fields))
    names = set(parent.state_dict())
    parent.load_state_dict({name: value for name, value in model.state_dict().items() if name in names})
    return parent.eval()


TEXTS = ("two ships in the north", "forest", "no roads", "three ships of the port , one road")


def pictures(count: int) -> list[Image.Image]:
    return [random_image(IMAGE_SIZE, IMAGE_SIZE, seed=index) for index in range(count)]


def tiny_klip_inputs(count: int = 4, geography: bool = True, **training: Any) -> dict[str, torch.Tensor]:
    """A batch of random images and texts; with geography image 1 has no prior, and nothing is told of 2."""
    processor = tiny_klip_processor()
    told: list[dict[str, object] | None] = [
        {"resolution_m": 5.0, "sensor": "Sentinel-1A", "polarization": "VV", "acquired": "2024-06-30"},
        {"resolution_m": 1.0},
        None,
        {"sensor": "Gaofen-3"},
    ]
    options: dict[str, Any] = {}
    if geography:
        options["priors"] = [None if index == 1 else random_prior(3 + index, index) for index in range(count)]
        options["geography"] = [told[index % 4] for index in range(count)]
    texts = [TEXTS[index % 4] for index in range(count)]
    return dict(processor(images=pictures(count), text=texts, **options, **training))


def facts(*rows: dict[int, int]) -> np.ndarray:
    """Facts int64 `[len(rows), 16]`, given as dimension -> key."""
    table = np.zeros((len(rows), 16), np.int64)
    for row, of_row in zip(table, rows, strict=True):
        for dimension, key in of_row.items():
            row[dimension] = key
    return table
