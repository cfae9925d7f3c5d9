"""How well a tower in training finds the ships of real chips, before it has any language:

python -m trl_recipes.small.dense_scores mini --checkpoint build/mini/tower/checkpoint-1000 --ssdd SSDD

The boxes are those of the dense head, at several probabilities from which on they count. The head is thrown away when
the stage ends, so this is for choosing while it runs; the whole model's scores are those of `fusargpt evaluate`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from transformers import BaseImageProcessor

from fusargpt.errors import InputError, one_line
from fusargpt.metrics.detection import box_overlap, matched_overlaps
from fusargpt.tasks.target_names import TARGETS
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.small.dense_training import exit_with, load
from trl_recipes.small.drawing import VALIDATION_LIST, read_chips
from trl_recipes.small.pictures import Picture, scaled
from trl_recipes.small.pretrain_tower import DenseTower
from trl_recipes.small.sizes import SMALL_MODELS, TOKEN_PIXELS

PROBABILITIES = (0.2, 0.3, 0.4, 0.5, 0.6)
_LABEL = TARGETS.index("ship")
_SAME = 0.4  # overlap from which on two boxes are of one ship
_LEAST = 0.5  # overlap of a box that is right


@dataclass(frozen=True)
class Found:
    """What is told of a chip, most probable first, and what is true; boxes in pixels of the square."""

    boxes: list[list[float]]
    probabilities: list[float]
    true: list[list[float]]


@torch.no_grad()
def find(tower: DenseTower, image_processor: BaseImageProcessor, chip: Picture, side: int) -> Found:
    """The ships of a chip that is squeezed to a square of `side` pixels, each once."""
    squeezed = scaled(chip, side, side)
    encoded = image_processor(Image.fromarray(squeezed.pixels).convert("RGB"), return_tensors="pt")
    tokens = tower.tower(encoded["pixel_values"], grid_thw=encoded["image_grid_thw"]).pooler_output
    _, presence, boxes = tower.dense.read(tokens)
    index = torch.arange(len(tokens))
    corners = torch.stack([index % (side // TOKEN_PIXELS), index // (side // TOKEN_PIXELS)] * 2, dim=-1)
    inside = ((boxes + corners[:, None]) * TOKEN_PIXELS).flatten(0, 1)
    told, probabilities = _once(inside, presence[..., _LABEL].sigmoid().flatten())
    return Found(told, probabilities, squeezed.boxes.tolist())


def _once(boxes: Tensor, probabilities: Tensor) -> tuple[list[list[float]], list[float]]:
    kept: list[list[float]] = []
    order = [at for at in probabilities.argsort(descending=True).tolist() if probabilities[at] >= min(PROBABILITIES)]
    chosen: list[float] = []
    for at in order:
        box = boxes[at].tolist()
        if all(box_overlap(box, other) < _SAME for other in kept):
            kept.append(box)
            chosen.append(probabilities[at].item())
    return kept, chosen


def scores(found: Sequence[Found], least: float) -> dict[str, float]:
    """Percent, over all chips, of boxes that are as probable as `least`: precision, recall, F1 at overlap 0.50, and
    the share of chips with as many boxes as ships."""
    told = [[box for box, p in zip(chip.boxes, chip.probabilities, strict=True) if p >= least] for chip in found]
    pairs = list(zip(told, (chip.true for chip in found), strict=True))
    right = sum(sum(overlap >= _LEAST for overlap in matched_overlaps(*pair)) for pair in pairs)
    said, true = sum(map(len, told)), sum(len(chip.true) for chip in found)
    exact = sum(len(boxes) == len(truth) for boxes, truth in pairs)
    shares = (right / max(said, 1), right / max(true, 1), 2 * right / max(said + true, 1), exact / max(len(found), 1))
    return dict(zip(("precision", "recall", "F1", "counts"), (100 * share for share in shares), strict=True))


def load_tower(name: str, model: Path, checkpoint: Path) -> tuple[DenseTower, BaseImageProcessor]:
    """A tower and its head as a checkpoint of `trl_recipes.small.pretrain_tower` holds them.

    Raises:
        InputError: no such checkpoint, a damaged one, or one of another model.
    """
    weights = checkpoint / "model.safetensors"
    if not weights.is_file():
        raise InputError(
            f"{weights}: not a file; expected a checkpoint of the tower, as build/{name}/tower/checkpoint-100"
        )
    whole, processor = load(model, "eager", seed=0)
    use_linear_patch_embedding(whole.model)
    tower = DenseTower(whole.model.visual, SMALL_MODELS[name].text_width)
    try:
        tower.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:  # torch's for weights of another shape or name
        raise InputError(f"{weights}: found {one_line(error)}; expected weights of {name}'s tower and head") from error
    return tower.eval(), processor.image_processor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SMALL_MODELS)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--ssdd", type=Path, required=True, help="folder of SSDD")
    parser.add_argument("--chips", default=VALIDATION_LIST, help="list in that folder (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="default: build/NAME/initial")
    options = parser.parse_args(arguments)
    size = SMALL_MODELS[options.size]
    tower, image_processor = load_tower(
        size.name, options.model or Path("build", size.name, "initial"), options.checkpoint
    )
    chips = read_chips(options.ssdd, options.chips)
    found = [find(tower, image_processor, chip, size.image_size) for chip in tqdm(chips.pictures, unit="chip")]
    print(f"{options.checkpoint.name}: {len(found)} chips of {options.chips}, percent")
    for least in PROBABILITIES:
        told = scores(found, least)
        print(f"from {least:.1f} on: " + ", ".join(f"{name} {value:.1f}" for name, value in told.items()))


if __name__ == "__main__":
    exit_with(main, "dense_scores")
