"""The cells of the benchmark: what is held out, how the training differs, and its seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.ablation.cells import Fusion

Arm = Literal["true", "none", "shuffled", "blind"]

ARMS: tuple[Arm, ...] = ("true", "none", "shuffled", "blind")
SEEDS = (0, 1, 2, 3, 4)
SIGMA = 0.4
"""Of the Gaussian alignment, in patches of which a cell has two along each side: 95 % of a cell's modulation is of its
own anchor then, at the default of 2 some 15 %."""


@dataclass(frozen=True)
class Variant:
    """How a training differs.

    Attributes:
        arm: what it is given to learn from; a model that has the true prior is asked under all arms, others under
            their own.
        fusion: how prior and visual tokens meet.
        stages: 2, or 1 on the rows of both at once, for as many steps.
    """

    arm: Arm = "true"
    fusion: Fusion = "tlm"
    stages: int = 2


VARIANTS = {
    "tlm": Variant(),
    "none": Variant(arm="none", fusion="none"),
    "blind": Variant(arm="blind"),
    "shuffled": Variant(arm="shuffled"),
    "sum": Variant(fusion="sum"),
    "concat": Variant(fusion="concat"),
    "one-stage": Variant(stages=1),
}
REFERENCE = "tlm"


@dataclass(frozen=True)
class Cell:
    """One training and its answers.

    Attributes:
        held_out: region, or blocks, that it is asked about and has not seen.
        variant: of `VARIANTS`.
        seed: of the first weights of fusion and LoRA, and of the order of the rows.
    """

    held_out: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.held_out}/{self.variant}-{self.seed}"

    @property
    def settings(self) -> Variant:
        return VARIANTS[self.variant]

    @property
    def asked(self) -> tuple[Arm, ...]:
        """The arms under which it is asked."""
        return ARMS if self.settings.arm == "true" else (self.settings.arm,)


def grid(held_out: Sequence[str], variants: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """All cells, a seed at a time, so that a part of the grid compares all variants."""
    return [Cell(place, variant, seed) for seed in seeds for place in held_out for variant in variants]
