"""The cells of the ablation: what differs between trainings that share backbone, data, steps and recipes."""

from dataclasses import dataclass
from typing import Literal

Fusion = Literal["tlm", "sum", "concat", "none"]

SEEDS = (0, 1, 2)
FUSIONS: tuple[Fusion, ...] = ("tlm", "sum", "concat", "none")


@dataclass(frozen=True)
class Cell:
    """One training and its answers.

    Attributes:
        variant: what differs from "tlm", the release's own settings, which is the reference of every comparison.
        seed: of the TLM's and LoRA's first weights and of the order of the rows; cells of one seed are paired.
        fusion: how prior and visual tokens meet; "none" is fine-tuned alike, without a prior.
        sigma: of the Gaussian alignment, in patches.
        per_side: anchors along each side of an image.
        stages: 2, or 1: TLM and LoRA on the rows of both stages at once, for as many steps.
        first_trains: what moves in the first of two stages; "tlm" is the paper's equations, "tlm+lora" its figure.
    """

    variant: str
    seed: int
    fusion: Fusion = "tlm"
    sigma: float = 2.0
    per_side: int = 8
    stages: int = 2
    first_trains: Literal["tlm", "tlm+lora"] = "tlm+lora"

    @property
    def name(self) -> str:
        return f"{self.variant}-{self.seed}"


CELLS = {
    cell.name: cell
    for cell in (
        *(Cell(fusion, seed, fusion=fusion) for seed in SEEDS for fusion in FUSIONS),
        *(Cell("one-stage", seed, stages=1) for seed in SEEDS),
        Cell("first-tlm-alone", 0, first_trains="tlm"),
        *(Cell(f"anchors-{per_side}", 0, per_side=per_side) for per_side in (2, 4)),
        *(Cell(f"sigma-{sigma}", 0, sigma=sigma) for sigma in (1, 4)),
    )
}
VARIANTS = tuple(dict.fromkeys(cell.variant for cell in CELLS.values()))
