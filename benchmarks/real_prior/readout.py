"""What the fused tokens hold before any language model reads them: the package's fusion with a linear layer behind it.

Fusion and layer are trained together to name every token's cell dry, flooded or water, on scenes that stage 2 learns
from; the answers to all tasks follow from the cells. It stands between the closed form and the whole model: where it
falls behind the first, the fusion loses something; where the model falls behind it, the language model does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import set_seed

from benchmarks.real_prior.cells import SIGMA, VARIANTS, Arm, Cell
from benchmarks.real_prior.reference import FLOODED, Answers, states
from benchmarks.real_prior.regions import Split
from benchmarks.real_prior.run import Shown, make_initial, shown
from benchmarks.real_prior.scenes import TASKS, Ground, test_scenes, training_scenes
from fusargpt.files import written_whole
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor, TlmConfig
from modeling_fusargpt.processing_fusargpt import batch_priors
from modeling_fusargpt.tlm import TokenwiseLinearModulation
from trl_recipes.model.patch_embedding import use_linear_patch_embedding

READOUT = "readout.json"
SCENES = 600
"""To learn from, at most: some 7,500 cells."""
STEPS, BATCH, LEARNING_RATE = 200, 32, 3e-3
"""The learning rate is that of the recipes."""
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Encoded:
    """Scenes under an arm with the tower's tokens, [side^2, C] each."""

    scenes: list[Shown]
    tokens: list[Tensor]


class Tower:
    """The backbone's frozen vision tower."""

    def __init__(self, backbone: Path, folder: Path) -> None:
        initial = make_initial(Cell("any", "none", 0), backbone, folder)
        self._model = FusarGptForConditionalGeneration.from_pretrained(initial, dtype=torch.float32).eval()
        use_linear_patch_embedding(self._model.model)
        self._processor = FusarGptProcessor.from_pretrained(initial)
        config = self._model.config
        self.channels: int = config.text_config.hidden_size
        self.merge_size: int = config.vision_config.spatial_merge_size

    @torch.no_grad()
    def encode(self, scenes: list[Shown]) -> Encoded:
        """Images that are equal are read once."""
        tokens: dict[bytes, Tensor] = {}
        new = {scene.image.tobytes(): scene.image for scene in scenes}
        for side in {image.size for image in new.values()}:
            keys = [key for key, image in new.items() if image.size == side]
            for start in range(0, len(keys), _AT_ONCE):
                batch = keys[start : start + _AT_ONCE]
                inputs = self._processor(images=[new[key] for key in batch], return_tensors="pt")
                found = self._model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
                tokens |= zip(batch, cast(tuple[Tensor, ...], found.pooler_output), strict=True)
        return Encoded(scenes, [tokens[scene.image.tobytes()].clone() for scene in scenes])


class Reader(nn.Module):
    """A fusion, which begins as the model's own does, and a linear layer that names the cell of each token."""

    def __init__(self, variant: str, tower: Tower) -> None:
        super().__init__()
        config = TlmConfig(fusion=VARIANTS[variant].fusion, sigma=SIGMA)
        self.fusion = TokenwiseLinearModulation(config, tower.channels, tower.merge_size)
        self.patches = tower.merge_size
        self.layer = nn.Linear(tower.channels, FLOODED + 2)
        for name, weight in self.fusion.named_parameters():
            # As `_init_weights` of the model: all begin as the identity.
            identity = name.startswith("fusion_projection" if config.fusion == "concat" else "output_projection")
            if identity or weight.ndim == 1:
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=0.02)

    def forward(self, encoded: Encoded) -> Tensor:
        """Scores of all cells, one scene after the other, [cells, 3]; scenes have a prior all, or none."""
        tokens = torch.cat(encoded.tokens)
        priors = [scene.prior.columns() for scene in encoded.scenes if scene.prior is not None]
        if priors:
            fields = {name: torch.as_tensor(value) for name, value in batch_priors(priors).items()}
            sides = [scene.ground.side * self.patches for scene in encoded.scenes]
            tokens = self.fusion(tokens, [(side, side) for side in sides], **fields)
        return self.layer(tokens)


def train(variant: str, seed: int, tower: Tower, learned: Encoded) -> Reader:
    """A reader that has learned from scenes under its arm."""
    set_seed(seed)
    reader = Reader(variant, tower)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=LEARNING_RATE, weight_decay=0.0, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    truth = [torch.as_tensor(states(scene.ground)) for scene in learned.scenes]
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        chosen = rng.integers(0, len(truth), BATCH).tolist()
        batch = Encoded([learned.scenes[index] for index in chosen], [learned.tokens[index] for index in chosen])
        loss = functional.cross_entropy(reader(batch), torch.cat([truth[index] for index in chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader


class Readings:
    """All that is read of one held-out place.

    Args:
        split: of the place.
        scenes: held-out scenes, those of the whole model.
        tower: of the backbone.
    """

    def __init__(self, split: Split, training: int, scenes: int, tower: Tower) -> None:
        self._split, self._tower = split, tower
        self._learned = list(training_scenes(split.train, min(training, SCENES), floods=True))
        self._asked = list(test_scenes(split.test, scenes))
        self._encoded: dict[tuple[str, Arm], Encoded] = {}

    @cached_property
    def _references(self) -> Answers:
        return {task: {"reference": [ground.answer(task) for ground in self._asked]} for task in TASKS}

    def _scenes(self, kind: str, arm: Arm) -> Encoded:
        if (kind, arm) not in self._encoded:
            grounds = self._learned if kind == "learned" else self._asked
            self._encoded[kind, arm] = self._tower.encode(shown(grounds, arm))
        return self._encoded[kind, arm]

    def read(self, cell: Cell) -> Answers:
        """The answers to all tasks, in the form of `benchmarks.real_prior.run.ask`."""
        reader = train(cell.variant, cell.seed, self._tower, self._scenes("learned", cell.settings.arm))
        answers = {task: dict(of_task) for task, of_task in self._references.items()}
        for arm in cell.asked:
            with torch.no_grad():
                named = reader(self._scenes("asked", arm)).argmax(1)
            parts = named.split([ground.side**2 for ground in self._asked])
            said = [_as_named(ground, part) for ground, part in zip(self._asked, parts, strict=True)]
            for task in TASKS:
                answers[task][arm] = [ground.answer(task) for ground in said]
        return answers


def _as_named(ground: Ground, named: Tensor) -> Ground:
    return replace(ground, flooded=(named == FLOODED).numpy())


def write_readouts(
    results: Path, split: Split, cells: Sequence[Cell], training: int, scenes: int, tower: Tower
) -> None:
    """Add the readings of cells of one place to its file, one by one; those that are there are kept.

    The single stage is left out: there are no stages here.
    """
    readings: Readings | None = None
    for cell in cells:
        path = results / cell.held_out / READOUT
        done: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if VARIANTS[cell.variant].stages == 1 or str(cell.seed) in done.get(cell.variant, {}):
            continue
        readings = readings or Readings(split, training, scenes, tower)
        done.setdefault(cell.variant, {})[str(cell.seed)] = readings.read(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            part.write_text(json.dumps(done, separators=(",", ":")) + "\n", encoding="utf-8")
        print(f"{cell.name}: read", flush=True)
