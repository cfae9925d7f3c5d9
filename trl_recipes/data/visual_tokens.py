"""Visual tokens of a data set's images, computed once before the first step and kept in a `FeatureCache`."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from accelerate import PartialState
from datasets import Dataset, Image, concatenate_datasets
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import TrainingArguments

from fusargpt.errors import InputError
from fusargpt.files import read_regular
from fusargpt.geo.image import to_rgb, upright_size
from fusargpt.private_names import attention_of, count_image_tokens
from modeling_fusargpt import AnyFusarGpt, FusarGptProcessor, FusarGptQwen3ForConditionalGeneration
from trl_recipes.data.feature_cache import SHARD_BYTES, FeatureCache
from trl_recipes.data.rows import Row

IMAGES_AT_ONCE = 8


def autocast_type(config: TrainingArguments) -> torch.dtype | None:
    """The type that training computes in where it differs from that of the weights."""
    return torch.bfloat16 if config.bf16 else torch.float16 if config.fp16 else None


def tower_fingerprint(model: AnyFusarGpt, processor: FusarGptProcessor, autocast: torch.dtype | None) -> str:
    """32 hexadecimal digits of all that visual tokens depend on beside the image.

    The weights of tower and merger with their type, the tower's configuration and attention, the layer that embeds
    patches, autocast, and every setting of the image processor. Neither device nor library versions, which change
    last bits at most, nor what else a processor knows, as its classes and calibration.
    """
    tower = model.model.visual
    images = processor.image_processor
    settings: dict[str, Any] = {
        "image_size": processor.image_size,
        # Without where its code is found, which is not what it does.
        "image_processor": {name: value for name, value in images.to_dict().items() if name != "auto_map"},
        "image_processor_class": type(images).__name__,
        "tower": {name: value for name, value in tower.config.to_dict().items() if name != "transformers_version"},
        "attention": attention_of(tower.config),
        "patch_embedding": type(tower.patch_embed).__name__,
        "autocast": str(autocast),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tower.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def read_images(dataset: Dataset, processes: int | None = None) -> Dataset:
    """`image_key`, `image_height` and `image_width` of every row, from its image file's bytes; nothing is decoded.

    The key is a hash of the file as it is stored in the row. `datasets` keeps the result, so that a second run does
    not read the files again. Raises InputError for a row without an image, or with one that cannot be opened.
    """
    files = dataset.select_columns(["image"]).cast_column("image", Image(decode=False))
    return files.map(
        _describe, with_indices=True, remove_columns=["image"], num_proc=processes, desc="Reading image files"
    )


def _describe(row: Row, index: int) -> dict[str, str | int]:
    image = row["image"]
    if image is None:
        raise InputError(f"row {index}: image: found nothing, expected an image; leave the row out of the data set")
    try:
        content = image["bytes"] if image["bytes"] is not None else read_regular(image["path"])
        width, height = upright_size(content)
    except (OSError, InputError) as error:
        raise _unreadable(index, error) from error
    key = hashlib.blake2b(content, digest_size=16).hexdigest()
    return {"image_key": key, "image_height": height, "image_width": width}


def _unreadable(index: int, error: Exception) -> InputError:
    return InputError(f"row {index}: image: cannot be read ({error}); mend it or leave the row out of the data set")


def _token_count(processor: FusarGptProcessor, size: tuple[int, int], row: int) -> int:
    try:
        return count_image_tokens(processor, *size)
    except ValueError as error:
        raise _unreadable(row, error) from error


class _Images(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Patches and grid of single images, by the data set and row in which they are found."""

    def __init__(self, datasets: Sequence[Dataset], places: list[tuple[int, int]], processor: FusarGptProcessor):
        self.images = [dataset.select_columns(["image"]) for dataset in datasets]
        self.places = places
        self.processor = processor

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        dataset, row = self.places[index]
        try:
            image = self.images[dataset][row]["image"]
        except OSError as error:
            raise _unreadable(row, error) from error
        patches = self.processor(images=[to_rgb(image)], return_tensors="pt")
        return patches["pixel_values"], patches["image_grid_thw"]


def cache_visual_tokens(
    model: AnyFusarGpt,
    processor: FusarGptProcessor,
    folder: Path,
    limit_bytes: int,
    config: TrainingArguments,
    datasets: Sequence[Dataset],
    processes: int | None = None,
) -> tuple[FeatureCache, list[Dataset]]:
    """Compute the visual tokens that are not in `folder` yet, and put keys in the place of images.

    Every process of a distributed run computes its share, under the autocast of the training to come, and waits for
    the others. An interrupted build goes on where it stopped.

    Returns:
        The cache, and `datasets` without their column `image` but with `image_key` and the size of the image.

    Raises:
        InputError: when the tokens do not fit, an image cannot be read, or the tower's weights are not at hand.
    """
    tower = model.model.visual
    if any(parameter.is_meta for parameter in tower.parameters()):
        raise InputError(
            "feature_cache: this process holds no weights of the vision tower, expected all of them; set "
            "fsdp_cpu_ram_efficient_loading: false in the accelerate config"
        )
    autocast = autocast_type(config)
    with config.main_process_first(desc="reading image files"):
        described = [read_images(dataset, processes) for dataset in datasets]
    places: dict[str, tuple[int, int]] = {}
    needed: dict[str, int] = {}
    levels = 1
    if isinstance(model, FusarGptQwen3ForConditionalGeneration):
        levels += len(model.model.visual.deepstack_visual_indexes)
    element_bytes = torch.empty(0, dtype=autocast or tower.dtype).element_size()
    token_bytes = levels * tower.config.out_hidden_size * element_bytes
    for dataset, rows in enumerate(described):
        sizes = zip(rows["image_height"], rows["image_width"], strict=True)
        for row, (key, size) in enumerate(zip(rows["image_key"], sizes, strict=True)):
            if key not in places:
                places[key] = (dataset, row)
                needed[key] = _token_count(processor, size, row) * token_bytes

    with config.main_process_first(desc="making room for visual tokens"):
        cache = FeatureCache(folder, tower_fingerprint(model, processor, autocast), limit_bytes)
        cache.reserve(needed)
    state = PartialState()
    missing = [key for key in places if key not in cache]
    state.wait_for_everyone()  # before anyone adds: all have to see the same ones missing
    share = missing[state.process_index :: state.num_processes]
    if share:
        shown = not config.disable_tqdm and state.is_main_process
        with tqdm(total=len(share), unit="image", desc="Visual tokens", disable=not shown) as progress:
            images = _Images(datasets, [places[key] for key in share], processor)
            _encode(model, images, share, cache, config, autocast, progress)
    state.wait_for_everyone()
    cache.refresh()
    absent = sum(key not in cache for key in places)
    if absent:
        raise InputError(
            f"feature_cache: {absent} images that other processes have encoded are not in {folder}; choose a folder "
            "that every node sees"
        )
    keyed = [
        concatenate_datasets([dataset.remove_columns("image"), rows], axis=1)
        for dataset, rows in zip(datasets, described, strict=True)
    ]
    return cache, keyed


@torch.no_grad()
def _encode(
    model: AnyFusarGpt,
    images: _Images,
    keys: list[str],
    cache: FeatureCache,
    config: TrainingArguments,
    autocast: torch.dtype | None,
    progress: "tqdm[NoReturn]",
) -> None:
    device = config.device
    model.model.visual.to(device)  # pyright: ignore[reportArgumentType]
    computing = nullcontext() if autocast is None else torch.autocast(device.type, dtype=autocast)
    shard: dict[str, tuple[Tensor, Tensor]] = {}
    # All tokens of a shard in one piece of memory. Small pieces that stay, between large ones that come and go, keep
    # the allocator from using the latter again: a process grew by half a megabyte an image.
    room, taken = torch.empty(0), 0
    for batch_keys, patches, grids in _batches(images, keys, config.dataloader_num_workers):
        with computing:
            outputs = model.model.get_image_features(patches.to(device), grids.to(device), return_dict=True)
        levels: list[Sequence[Tensor]] = [outputs["pooler_output"], *(outputs.get("deepstack_features") or ())]
        for key, grid, *tokens in zip(batch_keys, grids, *levels, strict=True):
            stored = torch.stack(tokens) if len(tokens) > 1 else tokens[0]
            if taken + stored.numel() > len(room):
                cache.add(shard)
                shard, taken = {}, 0
                room = torch.empty(max(SHARD_BYTES // stored.itemsize, stored.numel()), dtype=stored.dtype)
            place = room[taken : taken + stored.numel()].view(stored.shape)
            shard[key] = (place.copy_(stored), grid.clone())
            taken += stored.numel()
        progress.update(len(batch_keys))
    cache.add(shard)


def _batches(images: _Images, keys: list[str], workers: int) -> Iterator[tuple[list[str], Tensor, Tensor]]:
    # With a generator of its own the loader leaves the global one alone, and training draws what it would have drawn.
    loader = DataLoader(
        images, batch_size=IMAGES_AT_ONCE, num_workers=workers, collate_fn=list, generator=torch.Generator()
    )
    for number, batch in enumerate(loader):
        start = number * IMAGES_AT_ONCE
        patches, grids = zip(*batch, strict=True)
        yield keys[start : start + len(batch)], torch.cat(patches), torch.cat(grids)
