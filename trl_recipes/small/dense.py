"""Dense targets, for each visual token, and the linear head that reads them and is thrown away.

A token is asked about the land cover beneath it, and about class and box of up to two objects centred in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import BaseImageProcessor

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.simulator.records import POLARIZATIONS
from fusargpt.simulator.rendering import render_optical, render_sar
from fusargpt.simulator.simulated_scene import Scene, simulate_scene
from fusargpt.tasks.target_names import TARGETS
from trl_recipes.data.rows import Row
from trl_recipes.small.pictures import UNKNOWN, Picture
from trl_recipes.small.sizes import SLOTS, TOKEN_PIXELS

COVERS = len(LANDCOVER_CLASSES) + 1  # aprons are a class of their own: paved, whatever their embedding says
APRON = COVERS - 1
SLOT_WIDTH = len(TARGETS) + 4


@dataclass
class DenseTargets:
    """Per visual token, row-major: cover fractions [T, COVERS], all 0 where none is known; per slot which class is
    there [T, SLOTS, classes], its box [T, SLOTS, 4], edges relative to the token's corner in units of the token, and
    how many objects of its class come before it in reading order, int64 [T, SLOTS]."""

    cover: NDArray[np.float32]
    present: NDArray[np.float32]
    box: NDArray[np.float32]
    order: NDArray[np.int64]


def scene_cover(scene: Scene) -> NDArray[np.uint8]:
    """Classes of cover by pixel, [H, W]."""
    cover = scene.landcover[scene.region].astype(np.uint8)
    if scene.apron is not None:
        cover[scene.region == scene.apron] = APRON
    return cover


def scene_picture(scene: Scene, image: Image.Image) -> Picture:
    """A scene as one of its renderings shows it."""
    boxes = np.array([target.box for target in scene.targets], float).reshape(-1, 4)
    labels = tuple(target.label for target in scene.targets)
    return Picture(np.asarray(image), boxes, labels, scene_cover(scene))


def dense_targets(picture: Picture, token_pixels: int = TOKEN_PIXELS) -> DenseTargets:
    """The dense targets of a square picture in tokens of `token_pixels`; a third object in one token is left out."""
    grid = picture.width // token_pixels
    known = np.eye(COVERS, dtype=np.float32)
    one_hot = np.concatenate([known, np.zeros((UNKNOWN + 1 - COVERS, COVERS), np.float32)])[picture.cover]
    cover = one_hot.reshape(grid, token_pixels, grid, token_pixels, COVERS).mean((1, 3)).reshape(-1, COVERS)
    cover /= np.maximum(cover.sum(-1, keepdims=True), 1e-6)
    present = np.zeros((grid * grid, SLOTS, len(TARGETS)), dtype=np.float32)
    box = np.zeros((grid * grid, SLOTS, 4), dtype=np.float32)
    order = np.zeros((grid * grid, SLOTS), dtype=np.int64)
    # In reading order, so that slots are ordered too.
    for index, (edges, label) in enumerate(zip(picture.boxes, picture.labels, strict=True)):
        x1, y1, x2, y2 = edges
        row, column = int((y1 + y2) / 2 // token_pixels), int((x1 + x2) / 2 // token_pixels)
        token = row * grid + column
        slot = int(present[token].any(-1).sum())
        if slot < SLOTS:
            present[token, slot, TARGETS.index(label)] = 1
            corner = np.array([column, row, column, row]) * token_pixels
            box[token, slot] = (edges - corner) / token_pixels
            order[token, slot] = picture.labels[:index].count(label)  # an answer names one class
    return DenseTargets(cover, present, box, order)


def draw(scene: Scene, optical_share: float) -> Image.Image:
    """The scene in one of its renderings, chosen by its seed."""
    rng = np.random.default_rng([scene.seed, 8])
    if rng.random() < optical_share:
        return render_optical(scene)
    return render_sar(scene, str(rng.choice(POLARIZATIONS, p=[0.7, 0.3])))


class DenseScenes(Dataset[Row]):
    """Scenes of version 1, simulated as they are asked for; item i is always the same."""

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
        picture = scene_picture(scene, draw(scene, self.optical_share))
        encoded = self.image_processor(Image.fromarray(picture.pixels).convert("RGB"), return_tensors="pt")
        return {**encoded, **vars(dense_targets(picture, self.token_pixels))}


def stack_targets(items: Sequence[Row]) -> dict[str, Tensor]:
    """The dense targets of a batch."""
    names = ("cover", "present", "box", "order")
    return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in names}


def generalized_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU of boxes [..., 4] pair by pair, in (-1, 1]; one whose edges are in the wrong order has no area.

    Source: arXiv 1902.09630, algorithm 1.
    """
    (low, high), (other_low, other_high) = boxes.split(2, dim=-1), others.split(2, dim=-1)

    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(-1)

    shared = area(torch.maximum(low, other_low), torch.minimum(high, other_high))
    union = (area(low, high) + area(other_low, other_high) - shared).clamp(min=1e-6)
    hull = area(torch.minimum(low, other_low), torch.maximum(high, other_high)).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


class DenseHead(nn.Module):
    """A linear head for the dense targets of tokens of `token_pixels`; `overlap_weight` is that of 1 - GIoU."""

    def __init__(self, width: int, token_pixels: int = TOKEN_PIXELS, overlap_weight: float = 0.0) -> None:
        super().__init__()
        self.token_pixels = token_pixels
        self.overlap_weight = overlap_weight
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, COVERS + SLOTS * SLOT_WIDTH)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of tokens [..., width] logits of the cover [..., COVERS], logits of the classes of each slot [..., SLOTS,
        classes], and their boxes [..., SLOTS, 4] as in `DenseTargets`."""
        predicted = self.head(self.norm(tokens)).float()
        slots = predicted[..., COVERS:].unflatten(-1, (SLOTS, SLOT_WIDTH))
        return predicted[..., :COVERS], slots[..., : len(TARGETS)], slots[..., len(TARGETS) :]

    def forward(self, tokens: Tensor, cover: Tensor, present: Tensor, box: Tensor) -> dict[str, Tensor]:
        """The losses of tokens [B T, width] or [B, T, width]."""
        cover_logits, presence, boxes = self.read(tokens.reshape(*cover.shape[:2], -1))
        there = present.sum(-1)
        known = cover.sum(-1).mean().clamp(min=1e-6)
        cover_loss = -(cover * cover_logits.log_softmax(-1)).sum(-1).mean() / known
        presence_loss = functional.binary_cross_entropy_with_logits(presence, present)
        box_error = (boxes - box).abs().mean(-1)
        box_loss = (box_error * there).sum() / there.sum().clamp(min=1)
        overlap_loss = ((1 - generalized_overlap(boxes, box)) * there).sum() / there.sum().clamp(min=1)
        # The more tokens, the fewer of them hold a target; what one target weighs stays that of nano's 36.
        presence_weight = 10 * cover.shape[1] / 36
        loss = cover_loss + presence_weight * presence_loss + 4 * box_loss + self.overlap_weight * overlap_loss
        return {
            "loss": loss,
            "cover": cover_loss,
            "presence": presence_loss,
            "box_pixels": box_loss * self.token_pixels,
            "overlap": overlap_loss,
        }
