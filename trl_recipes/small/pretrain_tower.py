"""Pre-train a small model's vision tower on dense targets: python -m trl_recipes.small.pretrain_tower nano --help

A small vision-language model trained end to end learns the distribution of answers long before it looks at the image.
So the tower learns first, on what is known for each visual token (`trl_recipes.small.dense`): nano's on simulated
scenes of version 1, mini's on pictures drawn from stored scenes of both versions and from real chips.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import BaseImageProcessor

from fusargpt.simulator.records import SPLIT_SEEDS
from modeling_fusargpt.windows import WINDOWS_TOGETHER
from trl_recipes.data.rows import Row
from trl_recipes.model.attention import WINDOWS_FLOAT32, register_sdpa_float32
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.small.dense import DenseHead, DenseScenes, dense_targets, stack_targets
from trl_recipes.small.dense_training import (
    DenseTrainer,
    exit_with,
    load,
    optimizers,
    small_parser,
    train,
    training_arguments,
    with_defaults,
)
from trl_recipes.small.drawing import Drawing
from trl_recipes.small.scenes import drawing_of

TOKEN_SCALE = 0.5  # standard deviation of visual tokens as handed to the language model
_SCALED_BY = 64  # pictures


class DensePictures(Dataset[Row]):
    """Drawn pictures with their dense targets; item i is always the same."""

    def __init__(self, image_processor: BaseImageProcessor, drawing: Drawing, pictures: int) -> None:
        self.image_processor = image_processor
        self.drawing = drawing
        self.pictures = pictures

    def __len__(self) -> int:
        return self.pictures

    def __getitem__(self, index: int) -> Row:
        _, picture = self.drawing.draw(index)
        encoded = self.image_processor(Image.fromarray(picture.pixels).convert("RGB"), return_tensors="pt")
        return {**encoded, **vars(dense_targets(picture))}


def collate(items: Sequence[Row]) -> dict[str, Tensor]:
    """Patches of all images in one sequence; dense targets stacked."""
    batch = {key: torch.cat([item[key] for item in items]) for key in ("pixel_values", "image_grid_thw")}
    return batch | stack_targets(items)


class DenseTower(nn.Module):
    """The vision tower of FUSAR-GPT with the dense head on its merged tokens."""

    def __init__(self, tower: nn.Module, width: int, overlap_weight: float = 0.0) -> None:
        super().__init__()
        self.tower = tower
        self.dense = DenseHead(width, overlap_weight=overlap_weight)

    def forward(
        self, pixel_values: Tensor, image_grid_thw: Tensor, cover: Tensor, present: Tensor, box: Tensor, order: Tensor
    ) -> dict[str, Tensor]:
        """The losses; `order` is not a target here: a token cannot know it."""
        tokens = self.tower(pixel_values, grid_thw=image_grid_thw).pooler_output
        return self.dense(tokens, cover, present, box)


@torch.no_grad()
def rescale_tokens(tower: nn.Module, batch: dict[str, Tensor]) -> None:
    """Scale the merger's last layer so that visual tokens have the standard deviation `TOKEN_SCALE`.

    The dense head normalises its input, so nothing kept the tokens small; text embeddings start a hundred times
    smaller, and the language model's layers would hardly move tokens of that size.
    """
    tokens = tower(batch["pixel_values"], grid_thw=batch["image_grid_thw"]).pooler_output
    last = tower.get_submodule("merger.mlp.2")
    for parameter in last.parameters():
        parameter.mul_(TOKEN_SCALE / tokens.std())


def tower_parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    parser = small_parser(__doc__ or "", stage="tower")
    parser.add_argument("--pictures", type=Path, help="mini: scenes as trl_recipes.small.scenes writes them")
    parser.add_argument("--ssdd", type=Path, help="mini: folder of SSDD; without it, simulated scenes alone")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    size, options = with_defaults(tower_parser().parse_args(arguments))
    register_sdpa_float32()
    on_gpu = torch.cuda.is_available()
    # Per-image attention over nano's 144 patches: on a CPU the plain product beats the fused kernel's backward.
    model, processor = load(options.model, "sdpa" if on_gpu else "eager", options.seed)
    if size.real_chips:
        model.set_attn_implementation({"vision_config": WINDOWS_TOGETHER if on_gpu else WINDOWS_FLOAT32})
    tower = model.model.visual
    patch_embedding = tower.patch_embed
    use_linear_patch_embedding(model.model)
    pictures: DensePictures | DenseScenes
    if size.real_chips:
        drawing = drawing_of(size, options.pictures or Path("build", size.name, "scenes"), options.ssdd, options.seed)
        pictures = DensePictures(processor.image_processor, drawing, options.scenes)
    else:
        # Language training starts at seed 0 of the training split; the tower's places come after those.
        first_seed = SPLIT_SEEDS["train"] + 1_000_000
        pictures = DenseScenes(processor.image_processor, first_seed, options.scenes, options.optical_share)
    dense = DenseTower(tower, size.text_width, size.overlap_weight)
    trainer = DenseTrainer(
        model=dense,
        optimizers=optimizers(dense, [tower.blocks, tower.merger], options),
        args=training_arguments(options),
        train_dataset=pictures,
        data_collator=collate,
    )

    def finish(folder: Path) -> None:
        cast(nn.Module, tower).to("cpu")  # transformers annotates its own as something else
        tower.patch_embed = patch_embedding
        rescale_tokens(tower, collate([pictures[index] for index in range(min(_SCALED_BY, len(pictures)))]))
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    train(trainer, finish, options.minutes)


if __name__ == "__main__":
    exit_with(main, "pretrain_tower")
