"""The cells: a pixel size, what is given to learn from, a seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Arm = Literal["true", "none", "blind"]

PIXEL_SIZES = (2.5, 5.0, 10.0, 20.0, 30.0)
ARMS: tuple[Arm, ...] = ("true", "none", "blind")
SHUFFLED = "shuffled"
SEEDS = (0, 1, 2)
PER_SIDE = 12
"""Anchors along each side: cells of 70 m, as large as a visual token of mini, or as a quarter of one of nano."""
SIGMA = 0.5
"""Of the Gaussian alignment, in patches: a token's modulation is of the anchors that lie in it then."""


@dataclass(frozen=True)
class Cell:
    """One training and its answers.

    Attributes:
        pixel_size: metres.
        arm: what it learns from and is asked with.
        seed: of the first weights and of the order of scenes.
    """

    pixel_size: float
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.pixel_size:g}m/{self.arm}-{self.seed}"

    @property
    def asked(self) -> tuple[str, ...]:
        """The arms under which it is asked."""
        return (self.arm, SHUFFLED) if self.arm == "true" else (self.arm,)


def grid(pixel_sizes: Sequence[float], arms: Sequence[Arm], seeds: Sequence[int]) -> list[Cell]:
    """All cells, a pixel size at a time."""
    return [Cell(pixel_size, arm, seed) for pixel_size in pixel_sizes for seed in seeds for arm in arms]
