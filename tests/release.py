"""Tiny backbones and checkpoints of the authors' release, written in exactly their layouts."""

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_fusargpt import FusarGptProcessor
from tests.tiny import SPECIAL_TOKENS, tiny_config, tiny_tokenizer

CHANNELS = 32
RANK, ALPHA = 4, 16
SETTINGS = {
    "format": "tlm_original_train_patch_resize_v1",
    "sigma": 1.5,
    "hidden_mult": 5,
    "image_size": 84,
    "vec_dim": 64,
}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Every key that peft 0.17.1, with which the release was trained, writes beside rank and layers.
ADAPTER_SETTINGS = {
    "alpha_pattern": {},
    "auto_mapping": None,
    "base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct",
    "bias": "none",
    "corda_config": None,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": ALPHA,
    "lora_bias": False,
    "lora_dropout": 0.05,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "qalora_group_size": 16,
    "r": RANK,
    "rank_pattern": {},
    "revision": None,
    "target_parameters": None,
    "task_type": "CAUSAL_LM",
    "trainable_token_indices": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
}
PREPROCESSOR = {
    "min_pixels": 3136,
    "max_pixels": 12845056,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}


def write_processor(folder: Path, **changes: Any) -> None:
    """The processor's files as the published backbone has them."""
    tiny_tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | changes))


def write_backbone(folder: Path, **changes: Any) -> Qwen2_5_VLForConditionalGeneration:
    """A backbone with patches of 14 px: flat configuration, weights by their published names, processor."""
    tiny = tiny_config()
    text: Any = tiny.text_config
    token = tiny_tokenizer().convert_tokens_to_ids
    config: dict[str, Any] = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "hidden_act": "silu",
        "hidden_size": CHANNELS,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "max_window_layers": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]},
        "use_sliding_window": False,
        "sliding_window": 1024,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": text.vocab_size,
        "bos_token_id": token(SPECIAL_TOKENS[0]),
        "eos_token_id": text.eos_token_id,
        "pad_token_id": text.pad_token_id,
        "image_token_id": tiny.image_token_id,
        "video_token_id": tiny.video_token_id,
        "vision_start_token_id": tiny.vision_start_token_id,
        "vision_end_token_id": tiny.vision_end_token_id,
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": 2,
            "hidden_act": "silu",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "in_chans": 3,
            "out_hidden_size": CHANNELS,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        **changes,
    }
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).eval()
    model.save_pretrained(folder, save_original_format=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_processor(folder)
    return model


class Release:
    """A checkpoint of the release for one backbone, in memory; tests change its parts before they write it.

    Args:
        backbone: the model that the adapter is for.
        naming: "new" names of layers are those in memory today, "old" those before transformers 4.52.
        vision: adapt the vision tower's gate, up and down projections as well, as the released first stage does.
        settings: the content of `tlm_config.json`; None for a run that did not write it.
    """

    def __init__(
        self,
        backbone: Qwen2_5_VLForConditionalGeneration,
        naming: Literal["old", "new"] = "new",
        vision: bool = False,
        settings: dict[str, Any] | None = None,
    ):
        generator = torch.Generator().manual_seed(1)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator) / math.sqrt(shape[-1])

        self.settings = settings
        self.adapted = [
            name
            for name, module in backbone.named_modules()
            if isinstance(module, nn.Linear) and name.endswith(PROJECTIONS) and (vision or ".visual." not in name)
        ]
        self.names = {name: old_name(name) if naming == "old" else name for name in self.adapted}
        self.tensors: dict[str, Tensor] = {}
        for name in self.adapted:
            linear: Any = backbone.get_submodule(name)
            saved = f"base_model.model.{self.names[name]}"
            self.tensors[f"{saved}.lora_A.weight"] = random(RANK, linear.in_features)
            self.tensors[f"{saved}.lora_B.weight"] = 0.25 * random(linear.out_features, RANK)
        # By their ends where all layers of that end are meant, by their names otherwise.
        targets = list(PROJECTIONS) if vision else list(self.names.values())
        self.adapter_config: dict[str, Any] = {**ADAPTER_SETTINGS, "target_modules": targets}
        hidden = max(128, (settings or {"hidden_mult": 4})["hidden_mult"] * CHANNELS)
        self.film = nn.Sequential(nn.Linear(64, hidden), nn.SiLU(), nn.Linear(hidden, 2 * CHANNELS))
        for parameter in self.film.parameters():
            parameter.data = 3 * random(*parameter.shape) if parameter.ndim == 2 else 0.3 * random(*parameter.shape)
        self.entries: Any = {"film_mlp": self.film.state_dict()}

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(self.adapter_config))
        save_file(self.tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        torch.save(self.entries, folder / "vec64_film.pt")
        if self.settings is not None:
            (folder / "tlm_config.json").write_text(json.dumps(self.settings))
        return folder

    def difference(self, name: str) -> Tensor:
        """What the adapter adds to the weight of the layer `name` (in memory)."""
        saved = f"base_model.model.{self.names[name]}"
        return ALPHA / RANK * self.tensors[f"{saved}.lora_B.weight"] @ self.tensors[f"{saved}.lora_A.weight"]

    @torch.no_grad()
    def logits(self, folder: Path, image: Image.Image, text: str, prior: dict[str, np.ndarray] | None) -> Tensor:
        """The release's own computation on the backbone in `folder`, with the adapter beside its layers."""
        settings = self.settings or {"sigma": 2.0, "image_size": 504}
        model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        for name in self.adapted:
            saved = f"base_model.model.{self.names[name]}"
            down, up = (self.tensors[f"{saved}.lora_{half}.weight"] for half in "AB")
            model.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, down=down, up=up: output + (inputs[0] @ down.T @ up.T) * (ALPHA / RANK)
            )
        if prior is not None:
            vectors, positions = (torch.from_numpy(prior[f"prior_{key}"]) for key in ("embeddings", "positions"))
            encode = model.model.get_image_features

            def encode_and_modulate(
                pixel_values: Any, image_grid_thw: Any, **kwargs: Any
            ) -> BaseModelOutputWithPooling:
                outputs = encode(pixel_values, image_grid_thw, **kwargs)
                (tokens,), (grid,) = outputs.pooler_output, image_grid_thw.tolist()
                outputs.pooler_output = (self.modulate(tokens, grid[1:], vectors, positions, settings["sigma"]),)
                return outputs

            model.model.get_image_features = encode_and_modulate
        side = settings["image_size"]
        squeezed = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        processor = FusarGptProcessor.from_pretrained(folder)
        return model(**processor(images=[squeezed], text=[text], return_tensors="pt")).logits

    def modulate(
        self, tokens: Tensor, patch_grid: list[int], vectors: Tensor, positions: Tensor, sigma: float
    ) -> Tensor:
        """Every patch gets its own gamma and beta, and both fields are resized to the grid of the tokens."""
        rows, columns = patch_grid
        gamma, beta = self.film(vectors).chunk(2, dim=1)
        y, x = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
        distance2 = (positions[:, :1] * (rows - 1) - y) ** 2 + (positions[:, 1:] * (columns - 1) - x) ** 2
        weights = torch.exp(-distance2 / (2 * sigma**2))
        for _ in range(2):
            weights = weights / (weights.sum(0) + 1e-6)
        fields = torch.cat([weights.T @ gamma, weights.T @ beta], dim=1).T.reshape(1, -1, rows, columns)
        fields = nn.functional.interpolate(fields, size=(rows // 2, columns // 2), mode="bilinear", align_corners=False)
        scale, shift = fields[0].flatten(1).T.chunk(2, dim=1)
        return tokens * (1 + scale) + shift


def old_name(name: str) -> str:
    """What transformers before 4.52 called a layer of Qwen2.5-VL."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
