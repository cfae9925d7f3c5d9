"""What the frozen layers of the image tower give, computed once before the first step and kept in a `FeatureCache`."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import TrainingArguments

from fusargpt.errors import InputError
from fusargpt.geo.image import to_rgb
from fusargpt.private_names import attention_of
from modeling_fusarklip.processing_fusarklip import FusarKlipProcessor
from trl_recipes.data.feature_cache import SHARD_BYTES, FeatureCache
from trl_recipes.data.visual_tokens import read_images
from trl_recipes.klip.parameters import AnyFusarKlip

IMAGES_AT_ONCE = 32
STORED = torch.bfloat16


def states_fingerprint(model: AnyFusarKlip, processor: FusarKlipProcessor) -> str:
    """32 hexadecimal digits of all that image states depend on beside the image.

    The weights of the layers below `geography_layer`, the tower's configuration and attention, and every setting of the
    image processor. Neither device nor library versions, which change last bits at most.
    """
    tower, last = model.vision_model, model.config.geography_layer
    images = {name: value for name, value in processor.image_processor.to_dict().items() if name != "auto_map"}
    settings: dict[str, Any] = {
        "processor": images | {"class": type(processor.image_processor).__name__},
        "tower": {name: value for name, value in tower.config.to_dict().items() if name != "transformers_version"},
        "attention": attention_of(tower.config),
        "layers": last,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for part in (tower.embeddings, *tower.encoder.layers[:last]):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _patches_a_side(model: AnyFusarKlip) -> int:
    # Squares, as FusarKlipConfig has checked.
    return cast(int, model.config.vision.image_size) // cast(int, model.config.vision.patch_size)


class _Images(torch.utils.data.Dataset[Tensor]):
    """Pixels [3, H, W] of single images, by the data set and row in which they are found."""

    def __init__(self, datasets: list[Dataset], places: list[tuple[int, int]], processor: FusarKlipProcessor) -> None:
        self.images = [dataset.select_columns(["image"]) for dataset in datasets]
        self.places = places
        self.image_processor = processor.image_processor

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Tensor:
        dataset, row = self.places[index]
        image = to_rgb(self.images[dataset][row]["image"])
        return self.image_processor(image, return_tensors="pt")["pixel_values"][0]


def cache_image_states(
    model: AnyFusarKlip,
    processor: FusarKlipProcessor,
    folder: Path,
    limit_bytes: int,
    config: TrainingArguments,
    datasets: list[Dataset],
) -> tuple[FeatureCache, list[Dataset]]:
    """Compute the image states that are not in `folder` yet, in bfloat16, and put keys in the place of images.

    Every process of a distributed run computes its share and waits for the others. An interrupted build goes on where
    it stopped.

    Returns:
        The cache, and `datasets` without their column `image` but with `image_key` and the size of the image.

    Raises:
        InputError: when the states do not fit, or an image cannot be read.
    """
    with config.main_process_first(desc="reading image files"):
        described = [read_images(dataset, None) for dataset in datasets]
    places: dict[str, tuple[int, int]] = {}
    for dataset, rows in enumerate(described):
        for row, key in enumerate(rows["image_key"]):
            places.setdefault(key, (dataset, row))
    tower = model.config.vision
    tokens = 1 + _patches_a_side(model) ** 2
    with config.main_process_first(desc="making room for image states"):
        cache = FeatureCache(folder, states_fingerprint(model, processor), limit_bytes)
        cache.reserve(dict.fromkeys(places, tokens * tower.hidden_size * STORED.itemsize))
    state = PartialState()
    missing = [key for key in places if key not in cache]
    state.wait_for_everyone()  # before anyone adds: all have to see the same ones missing
    share = missing[state.process_index :: state.num_processes]
    if share:
        shown = not config.disable_tqdm and state.is_main_process
        with tqdm(total=len(share), unit="image", desc="Image states", disable=not shown) as progress:
            images = _Images(datasets, [places[key] for key in share], processor)
            _compute(model, images, share, cache, config, progress)
    state.wait_for_everyone()
    cache.refresh()
    absent = sum(key not in cache for key in places)
    if absent:
        raise InputError(
            f"feature_cache: {absent} images that other processes have computed are not in {folder}; choose a folder "
            "that every node sees"
        )
    keyed = [
        concatenate_datasets([dataset.remove_columns("image"), rows], axis=1)
        for dataset, rows in zip(datasets, described, strict=True)
    ]
    return cache, keyed


@torch.no_grad()
def _compute(
    model: AnyFusarKlip,
    images: _Images,
    keys: list[str],
    cache: FeatureCache,
    config: TrainingArguments,
    progress: "tqdm[Any]",
) -> None:
    model.vision_model.to(config.device)  # pyright: ignore[reportArgumentType]
    # With a generator of its own the loader leaves the global one alone, and training draws what it would have drawn.
    loader = DataLoader(
        images, batch_size=IMAGES_AT_ONCE, num_workers=config.dataloader_num_workers, generator=torch.Generator()
    )
    grid = torch.tensor([1, _patches_a_side(model), _patches_a_side(model)])
    # All states of a shard in one piece of memory, which is written as it is.
    shard: dict[str, tuple[Tensor, Tensor]] = {}
    room, taken = torch.empty(0, dtype=STORED), 0
    for number, pixels in enumerate(loader):
        states = model.vision_model.image_states(pixels.to(config.device)).to(STORED)
        for key, of_image in zip(keys[number * IMAGES_AT_ONCE :], states, strict=False):
            if taken + of_image.numel() > len(room):
                cache.add(shard)
                shard, taken = {}, 0
                room = torch.empty(max(SHARD_BYTES // STORED.itemsize, of_image.numel()), dtype=STORED)
            place = room[taken : taken + of_image.numel()].view(of_image.shape)
            shard[key] = (place.copy_(of_image), grid)
            taken += of_image.numel()
        progress.update(len(states))
    cache.add(shard)
