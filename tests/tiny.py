"""Tiny models and processors, built in code: every kind of layer, byte-level text, nothing downloaded."""

from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BatchFeature,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from fusargpt.geo.prior import PRIOR_FIELDS
from fusargpt.inference.backbones import model_class
from modeling_fusargpt import AnyFusarGpt, FusarGptConfig, FusarGptProcessor, FusarGptQwen3Config

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PATCH_SIZE = 4
MERGE_SIZE = 2
Backbone = Literal["qwen2_5", "qwen3"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_only,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_processor() -> FusarGptProcessor:
    """Images keep their size where both sides are multiples of 8 px; a visual token spans 8 x 8 px."""
    image_processor = Qwen2VLImageProcessorPil(
        patch_size=PATCH_SIZE,
        merge_size=MERGE_SIZE,
        temporal_patch_size=2,
        size={"shortest_edge": (PATCH_SIZE * MERGE_SIZE) ** 2, "longest_edge": 128 * 128},
    )
    return FusarGptProcessor(image_processor=image_processor, tokenizer=tiny_tokenizer())


def tiny_config(**overrides: Any) -> FusarGptConfig:
    """A configuration of fewer than 100,000 parameters; `overrides` are arguments of `FusarGptConfig`."""
    vision_config = {"window_size": 4 * PATCH_SIZE * MERGE_SIZE, "fullatt_block_indexes": [1]}
    rope = {"mrope_section": [1, 1, 2]}
    return FusarGptConfig(**{**_arguments({}, rope, vision_config), **overrides})


def tiny_qwen3_config(**overrides: Any) -> FusarGptQwen3Config:
    """As `tiny_config`, with two levels of deep-stack features, which the prior modulates as well."""
    vision_config = {"depth": 3, "num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    rope = {"mrope_section": [2, 1, 1], "mrope_interleaved": True}
    overrides["tlm_config"] = {"deepstack": "modulated", **overrides.get("tlm_config", {})}
    return FusarGptQwen3Config(**{**_arguments({"head_dim": 8}, rope, vision_config), **overrides})


def _arguments(text: dict[str, Any], rope: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    tokenizer = tiny_tokenizer()
    special = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text_config = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope},
        "bos_token_id": None,
        "eos_token_id": special["<|im_end|>"],
        "pad_token_id": special["<|endoftext|>"],
    }
    vision_config = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "out_hidden_size": 32,
    }
    return {
        "text_config": text_config | text,
        "vision_config": vision_config | vision,
        "image_token_id": special["<|image_pad|>"],
        "video_token_id": special["<|video_pad|>"],
        "vision_start_token_id": special["<|vision_start|>"],
        "vision_end_token_id": special["<|vision_end|>"],
    }


def tiny_model(seed: int = 0, backbone: Backbone = "qwen2_5", **overrides: Any) -> AnyFusarGpt:
    """A model with random weights, in evaluation mode; its TLM is the identity, as a new one always is."""
    config = tiny_config(**overrides) if backbone == "qwen2_5" else tiny_qwen3_config(**overrides)
    torch.manual_seed(seed)
    return model_class(config)(config).eval()


def plain_backbone(model: AnyFusarGpt) -> Any:
    """The published model that `model` is a difference to, with its weights, as if there had never been a TLM."""
    fields = model.config.to_dict()
    ours = ("tlm_config", "weights", "base_model_name_or_path", "base_model_revision")
    for name in (*ours, "auto_map", "architectures", "model_type"):
        fields.pop(name)
    if isinstance(model.config, FusarGptConfig):
        backbone = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**fields))
    else:
        backbone = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**fields))
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("model.tlm.")}
    backbone.load_state_dict(weights)
    return backbone.eval()


def stir_tlm(model: AnyFusarGpt, seed: int = 0, scale: float = 0.5) -> None:
    """Gives the TLM random weights, so that the prior changes the model's output visibly."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.model.tlm.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def random_image(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def random_prior(anchors: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(anchors, 64)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return {"prior_embeddings": embeddings, "prior_positions": rng.random((anchors, 2), np.float32)}


def question(text: str = "How many ships?", images: int = 1) -> str:
    placeholders = "<|vision_start|><|image_pad|><|vision_end|>" * images
    return f"<|im_start|>user\n{placeholders}{text}<|im_end|>\n<|im_start|>assistant\n"


def tiny_inputs(
    processor: FusarGptProcessor,
    sizes: tuple[tuple[int, int], ...] = ((32, 48),),
    anchors: tuple[int, ...] = (6,),
    texts: list[str] | None = None,
) -> BatchFeature:
    """A batch of one image of each (height, width) in a text of its own, with that many anchors."""
    return processor(
        images=[random_image(*size, seed=index) for index, size in enumerate(sizes)],
        text=texts or [question() for _ in sizes],
        priors=[random_prior(count, seed=index) for index, count in enumerate(anchors)],
        padding=True,
        return_tensors="pt",
    )


def without_prior(inputs: BatchFeature) -> dict[str, torch.Tensor]:
    return {name: value for name, value in inputs.items() if name not in PRIOR_FIELDS}
