"""Tiny phases of FUSAR-KLIP for the tests that train: rows with images that show their facts, a model, a recipe."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from PIL import Image as Pillow
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from fusargpt.simulator.description import scene_descriptions, scene_phrases
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.part_texts import draw_part_text
from fusargpt.triplets.features import CAPTION_FEATURES
from modeling_fusarklip import FusarKlipConfig, FusarKlipModel, FusarKlipProcessor
from tests.trl_recipes.triplets import triplet
from trl_recipes.klip.tokenizer import build_tokenizer

IMAGE_SIZE, PATCH_SIZE, MAX_TOKENS = 24, 8, 192
SCENES = 6
COLUMNS = (
    *("image", "prior_embeddings", "prior_positions", "sensor", "polarization", "resolution_m", "acquired"),
    *("description", "target_description"),
)


@lru_cache
def scenes() -> list[tuple[dict[str, str], dict[str, str]]]:
    """Both descriptions of some scenes."""
    found = [scene_descriptions(simulate_scene(seed)) for seed in range(SCENES)]
    return [(vars(place), vars(targets)) for place, targets in found]


def klip_row(seed: int) -> dict[str, Any]:
    """A row of one of the scenes, its image in a colour of the scene's own with noise, with a random prior."""
    place, targets = scenes()[seed % SCENES]
    generator = np.random.default_rng(seed)
    colour = np.random.default_rng(seed % SCENES).integers(0, 256, 3)
    pixels = np.clip(colour + generator.normal(0, 10, (IMAGE_SIZE, IMAGE_SIZE, 3)), 0, 255).astype(np.uint8)
    prior = triplet(seed, anchors=2 + seed % 3)
    return {
        "image": Pillow.fromarray(pixels),
        **{name: prior[name] for name in ("prior_embeddings", "prior_positions")},
        "sensor": "simulated SAR" if seed % 3 else "",
        "polarization": "VV",
        "resolution_m": 5.0,
        "acquired": "2024-06-30",
        "description": place,
        "target_description": targets,
    }


def write_klip_rows(folder: Path, rows: int = 12, **replaced: Any) -> Path:
    """A folder with one Parquet shard (split train); `replaced` are columns of the last row."""
    records = [klip_row(seed) for seed in range(rows)]
    records[-1] |= replaced
    features = CAPTION_FEATURES.copy()
    for name in set(features) - set(COLUMNS):
        features.pop(name)
    folder.mkdir(parents=True)
    Dataset.from_list(records, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


@lru_cache
def tokenizer_content() -> str:
    known = [scene_phrases(simulate_scene(seed)) for seed in range(SCENES)]
    texts = [draw_part_text(one, seed).text for one in known for seed in range(20)]
    return build_tokenizer(texts, 1024, MAX_TOKENS).backend_tokenizer.to_str()


def klip_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer_content()),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[DEC]",
    )


def klip_processor() -> FusarKlipProcessor:
    """Images of 24 pixels, the words of the scenes."""
    image_processor = BlipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return FusarKlipProcessor(image_processor, klip_tokenizer(), max_text_tokens=MAX_TOKENS)


def tiny_klip_model() -> FusarKlipModel:
    """Of two layers an image and a text, geography before the second."""
    tokenizer = klip_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = FusarKlipConfig(
        vision_config={**sizes, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "initializer_range": 0.05},
        text_config={
            **sizes,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "sep_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        image_text_hidden_size=16,
        geography_layer=1,
        mask_token_id=cast(int, tokenizer.mask_token_id),
        max_text_tokens=MAX_TOKENS,
    )
    torch.manual_seed(0)
    return FusarKlipModel(config)


def write_klip_base(folder: Path) -> None:
    """A tiny model in base/, with its processor."""
    tiny_klip_model().save_pretrained(folder / "base")
    klip_processor().save_pretrained(folder / "base")


def klip_arguments(folder: Path, output_dir: Path, **fields: object) -> list[str]:
    """Those of a short phase from base/ on data/ of `folder`; `fields` of the recipe replace or join these."""
    settings = {
        "system": "fusar-klip",
        "model_name_or_path": folder / "base",
        "dataset_name": folder / "data",
        "output_dir": output_dir,
        "learning_rate": 1e-2,
        "max_steps": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": 6,
        "use_cpu": True,
        "remove_unused_columns": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    } | fields
    path = output_dir.with_suffix(".json")
    path.write_text(json.dumps(settings, default=str))
    return [str(path)]  # JSON is YAML


def logged(output_dir: Path) -> list[dict[str, float]]:
    """What a phase logged of its training, step by step."""
    history = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in history if "loss" in entry]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the model in a folder, by name."""
    return dict(FusarKlipModel.from_pretrained(folder, dtype=torch.float32).named_parameters())
