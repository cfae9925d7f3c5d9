"""The package's fusion on frozen visual tokens, and a small head that says how many ships lie in each token.

Answers are the sum over tokens, rounded. It is the cheap form of the curve: minutes where the whole model takes hours.
"""

import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import set_seed

from benchmarks.pixel_size.cells import SHUFFLED, SIGMA, Cell
from benchmarks.pixel_size.scenes import Scenes
from fusargpt.files import written_whole
from fusargpt.geo.blank import blank
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor, TlmConfig
from modeling_fusargpt.processing_fusargpt import batch_priors
from modeling_fusargpt.tlm import TokenwiseLinearModulation
from trl_recipes.data.visual_tokens import tower_fingerprint
from trl_recipes.model.patch_embedding import use_linear_patch_embedding

STEPS, BATCH, LEARNING_RATE = 300, 32, 3e-3
HIDDEN = 128
"""Of fusion and head."""
_AT_ONCE = 32


class Tower:
    """The frozen vision tower of a backbone.

    Attributes:
        channels: of a token.
        merge_size: patches along each side of a token.
        fingerprint: of all that tokens depend on beside the image.
    """

    def __init__(self, backbone: Path) -> None:
        self._model = FusarGptForConditionalGeneration.from_pretrained(backbone, dtype=torch.float32).eval()
        use_linear_patch_embedding(self._model.model)
        self._processor = FusarGptProcessor.from_pretrained(backbone)
        self.channels: int = self._model.config.text_config.hidden_size
        self.merge_size: int = self._model.config.vision_config.spatial_merge_size
        self.fingerprint = tower_fingerprint(self._model, self._processor, None)

    @torch.no_grad()
    def tokens(self, images: list[Image.Image]) -> Tensor:
        """Of images of one size, [N, tokens, C]."""
        found: list[Tensor] = []
        for start in range(0, len(images), _AT_ONCE):
            inputs = self._processor(images=images[start : start + _AT_ONCE], return_tensors="pt")
            read = self._model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
            found.append(torch.stack(list(cast(tuple[Tensor, ...], read.pooler_output))))
        return torch.cat(found)

    def of_scenes(self, scenes: Scenes, folder: Path, name: str) -> Tensor:
        """Tokens of scenes, kept in `folder`; the last of all is of the blank image, [N + 1, tokens, C]."""
        path = folder / self.fingerprint / f"{name}.npy"
        if not path.exists():
            images = [Image.fromarray(image).convert("RGB") for image in scenes.images]
            tokens = torch.cat([self.tokens(images), self.tokens([blank(images[0])])])
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as part, part.open("wb") as handle:
                np.save(handle, tokens.numpy(), allow_pickle=False)
        return torch.from_numpy(np.load(path, allow_pickle=False))


class Reader(nn.Module):
    """A fusion, which begins as the model's own does, and a head that says how many ships a token holds."""

    def __init__(self, arm: str, channels: int, merge_size: int, per_side: int) -> None:
        super().__init__()
        config = TlmConfig(fusion="none" if arm == "none" else "tlm", sigma=SIGMA, hidden_size=HIDDEN)
        self.fusion = TokenwiseLinearModulation(config, channels, merge_size)
        self.patches = per_side * merge_size
        for name, weight in self.fusion.named_parameters():
            if name.startswith("output_projection") or weight.ndim == 1:
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=0.02)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))

    def forward(self, tokens: Tensor, priors: dict[str, Tensor]) -> Tensor:
        """Expected ships of each token, [N, tokens]; tokens [N, tokens, C], priors as `batch_priors` lays them out."""
        shape = tokens.shape[:2]
        grids = [(self.patches, self.patches)] * shape[0]
        fused = self.fusion(tokens.flatten(0, 1), grids, **priors) if priors else tokens.flatten(0, 1)
        return functional.softplus(self.head(fused)).view(shape)


def _priors(scenes: Scenes, places: list[int]) -> dict[str, Tensor]:
    columns = [scenes.prior(place).columns() for place in places]
    return {name: torch.as_tensor(value) for name, value in batch_priors(columns).items()}


def _seen(tokens: Tensor, places: list[int], arm: str) -> Tensor:
    return tokens[-1].expand(len(places), -1, -1) if arm == "blind" else tokens[places]


def read(
    cell: Cell, tower: Tower, learned: tuple[Scenes, Tensor], asked: tuple[Scenes, Tensor]
) -> dict[str, list[int]]:
    """Train a reader of `cell` and ask it: counts of all asked scenes, by arm.

    Args:
        cell: what is learned from.
        tower: for the sizes of its tokens.
        learned: scenes to learn from and their tokens.
        asked: likewise, those to be asked about.
    """
    set_seed(cell.seed)
    scenes, tokens = learned
    per_side = math.isqrt(tokens.shape[1])
    reader = Reader(cell.arm, tower.channels, tower.merge_size, per_side)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    truth = torch.as_tensor(scenes.ships(per_side), dtype=torch.float32)
    whole = {} if cell.arm == "none" else _priors(scenes, list(range(len(truth))))
    rng = np.random.default_rng(cell.seed)
    for _ in tqdm(range(STEPS), desc=cell.name, unit="step"):
        places = rng.integers(0, len(truth), BATCH).tolist()
        said = reader(_seen(tokens, places, cell.arm), {name: value[places] for name, value in whole.items()})
        loss = functional.poisson_nll_loss(said, truth[places], log_input=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    scenes, tokens = asked
    places = list(range(len(scenes.counts)))
    answers: dict[str, list[int]] = {}
    for arm in cell.asked:
        whose = [*places[1:], places[0]] if arm == SHUFFLED else places
        with torch.no_grad():
            said = reader(_seen(tokens, places, arm), {} if arm == "none" else _priors(scenes, whose)).sum(1)
        answers[arm] = said.round().int().tolist()
    return answers
