"""Pre-train nano's vision tower on dense targets per visual token: python -m trl_recipes.nano.pretrain_tower --help

A small vision-language model trained end to end learns the distribution of answers long before it looks at the image.
So the tower learns first, on what simulated scenes know for each visual token: its land-cover fractions, and class and
box of up to two targets centred in it. A linear head, thrown away afterwards, reads them from the merged tokens.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, Trainer, TrainingArguments
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.trainer_utils import get_last_checkpoint

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.records import POLARIZATIONS, SPLIT_SEEDS
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene, simulate_scene
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.data.rows import Batch, Row
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.running.precision import Precision, computes_in_bfloat16

TOKEN_PIXELS = 28
GRID = IMAGE_SIZE // TOKEN_PIXELS
SLOTS = 2
COVERS = len(LANDCOVER_CLASSES) + 1  # aprons are a class of their own: paved, whatever their embedding says
SLOT_WIDTH = len(TARGETS) + 4
TOKEN_SCALE = 0.5  # standard deviation of visual tokens as handed to the language model


@dataclass
class DenseTargets:
    """Per visual token, row-major: cover fractions [T, COVERS]; per slot which class is there [T, SLOTS, classes],
    its box [T, SLOTS, 4], edges relative to the token's corner in units of the token, and how many targets come before
    it in reading order, int64 [T, SLOTS]."""

    cover: np.ndarray
    present: np.ndarray
    box: np.ndarray
    order: np.ndarray


def dense_targets(scene: Scene, token_pixels: int = TOKEN_PIXELS) -> DenseTargets:
    """The dense targets of one scene in tokens of `token_pixels`; a third target in one token is left out."""
    grid = IMAGE_SIZE // token_pixels
    cover_map = scene.landcover[scene.region]
    if scene.apron is not None:
        cover_map[scene.region == scene.apron] = COVERS - 1
    one_hot = np.eye(COVERS, dtype=np.float32)[cover_map]
    cover = one_hot.reshape(grid, token_pixels, grid, token_pixels, COVERS).mean((1, 3)).reshape(-1, COVERS)
    present = np.zeros((grid * grid, SLOTS, len(TARGETS)), dtype=np.float32)
    box = np.zeros((grid * grid, SLOTS, 4), dtype=np.float32)
    order = np.zeros((grid * grid, SLOTS), dtype=np.int64)
    for before, target in enumerate(scene.targets):  # in reading order, so that slots are ordered too
        x1, y1, x2, y2 = target.box
        row, column = (y1 + y2) // 2 // token_pixels, (x1 + x2) // 2 // token_pixels
        token = row * grid + column
        slot = int(present[token].any(-1).sum())
        if slot < SLOTS:
            present[token, slot, TARGETS.index(target.label)] = 1
            corner = np.array([column, row, column, row]) * token_pixels
            box[token, slot] = (np.array(target.box) - corner) / token_pixels
            order[token, slot] = before
    return DenseTargets(cover, present, box, order)


def draw(scene: Scene, optical_share: float) -> Image.Image:
    """The scene in one of its renderings, chosen by its seed."""
    rng = np.random.default_rng([scene.seed, 8])
    if rng.random() < optical_share:
        return render_optical(scene)
    return render_sar(scene, str(rng.choice(POLARIZATIONS, p=[0.7, 0.3])))


class DenseScenes(Dataset[Row]):
    """Scenes simulated as they are asked for; item i is always the same."""

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        first_seed: int,
        scenes: int,
        optical_share: float,
        token_pixels: int = TOKEN_PIXELS,
    ) -> None:
        self.image_processor = image_processor
        self.first_seed = first_seed
        self.scenes = scenes
        self.optical_share = optical_share
        self.token_pixels = token_pixels

    def __len__(self) -> int:
        return self.scenes

    def __getitem__(self, index: int) -> Row:
        scene = simulate_scene(self.first_seed + index)
        encoded = self.image_processor(draw(scene, self.optical_share).convert("RGB"), return_tensors="pt")
        return {**encoded, **vars(dense_targets(scene, self.token_pixels))}


def stack_targets(items: list[Row]) -> dict[str, Tensor]:
    """The dense targets of a batch."""
    names = ("cover", "present", "box", "order")
    return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in names}


def collate(items: list[Row]) -> dict[str, Tensor]:
    """Patches of all images in one sequence; dense targets stacked."""
    batch = {key: torch.cat([item[key] for item in items]) for key in ("pixel_values", "image_grid_thw")}
    return batch | stack_targets(items)


class DenseHead(nn.Module):
    """A linear head for the dense targets of tokens of `token_pixels`."""

    def __init__(self, width: int, token_pixels: int = TOKEN_PIXELS) -> None:
        super().__init__()
        self.token_pixels = token_pixels
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, COVERS + SLOTS * SLOT_WIDTH)

    def forward(self, tokens: Tensor, cover: Tensor, present: Tensor, box: Tensor) -> dict[str, Tensor]:
        """The losses of tokens [B T, width] or [B, T, width]."""
        predicted = self.head(self.norm(tokens)).float().reshape(*cover.shape[:2], -1)
        cover_logits, slots = predicted[..., :COVERS], predicted[..., COVERS:].unflatten(-1, (SLOTS, SLOT_WIDTH))
        presence, boxes = slots[..., : len(TARGETS)], slots[..., len(TARGETS) :]
        there = present.sum(-1)
        cover_loss = -(cover * cover_logits.log_softmax(-1)).sum(-1).mean()
        presence_loss = functional.binary_cross_entropy_with_logits(presence, present)
        box_error = (boxes - box).abs().mean(-1)
        box_loss = (box_error * there).sum() / there.sum().clamp(min=1)
        # The smaller the tokens, the fewer of them hold a target; what one target weighs stays the same.
        presence_weight = 10 * (TOKEN_PIXELS / self.token_pixels) ** 2
        loss = cover_loss + presence_weight * presence_loss + 4 * box_loss
        box_pixels = box_loss * self.token_pixels
        return {"loss": loss, "cover": cover_loss, "presence": presence_loss, "box_pixels": box_pixels}


class DenseTower(nn.Module):
    """The vision tower of FUSAR-GPT with the dense head on its merged tokens."""

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower = tower
        self.dense = DenseHead(width)

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


class DenseTrainer(Trainer):
    """Trainer that logs the parts of the loss beside it."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        outputs = model(**inputs)
        if self.state.global_step % self.args.logging_steps == 0 and model.training:
            parts = {key: round(float(value.detach()), 4) for key, value in outputs.items() if key != "loss"}
            self.log(parts)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


def dense_parser(description: str, **defaults: object) -> argparse.ArgumentParser:
    """The options of a dense pre-training; `defaults` are those of the stage."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--scenes", type=int)
    parser.add_argument("--optical-share", type=float, help="the rest is shown as SAR")
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.set_defaults(**defaults)
    return parser


def training_arguments(options: argparse.Namespace) -> TrainingArguments:
    """One pass over the scenes, on the processor when there is no GPU."""
    return TrainingArguments(
        output_dir=str(options.out),
        per_device_train_batch_size=options.batch_size,
        num_train_epochs=1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=0.05,
        adam_beta2=0.95,
        bf16=torch.cuda.is_available() or computes_in_bfloat16(options.out, resume=True),
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=options.workers,
        remove_unused_columns=False,
        logging_steps=50,
        save_steps=250,
        save_total_limit=1,
        report_to="none",
    )


def train(trainer: Trainer) -> None:
    """Train, from the last checkpoint where there is one, and leave trainer_state.json."""
    output_dir = str(trainer.args.output_dir)
    trainer.add_callback(Precision())
    trainer.train(resume_from_checkpoint=get_last_checkpoint(output_dir) if Path(output_dir).exists() else None)
    trainer.save_state()


def main() -> None:
    parser = dense_parser(
        __doc__ or "",
        model=Path("build/nano/initial"),
        out=Path("build/nano/tower"),
        scenes=48_000,
        optical_share=0.6,
        learning_rate=1e-3,
    )
    options = parser.parse_args()

    processor = FusarGptProcessor.from_pretrained(options.model)
    # Per-image attention over 144 patches: on a CPU the plain product beats the fused kernel's backward.
    model = FusarGptForConditionalGeneration.from_pretrained(
        options.model, dtype="float32", attn_implementation="eager"
    )
    patch_embedding = model.model.visual.patch_embed
    use_linear_patch_embedding(model.model)
    tower = DenseTower(model.model.visual, cast(Qwen2_5_VLTextConfig, model.config.text_config).hidden_size)
    # Language training starts at seed 0 of the training split; the tower's places come after those.
    first_seed = SPLIT_SEEDS["train"] + 1_000_000
    scenes = DenseScenes(processor.image_processor, first_seed, options.scenes, options.optical_share)
    trainer = DenseTrainer(model=tower, args=training_arguments(options), train_dataset=scenes, data_collator=collate)
    train(trainer)
    model.model.visual.patch_embed = patch_embedding
    rescale_tokens(model.model.visual, collate([scenes[index] for index in range(64)]))
    model.save_pretrained(options.out)
    processor.save_pretrained(options.out)


if __name__ == "__main__":
    main()
