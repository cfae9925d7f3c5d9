"""What is known of an image before anything is claimed of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.geo.prior import Prior
from fusargpt.tasks.target_dimensions import TargetBox


@dataclass(frozen=True, eq=False)
class Observation:
    """One image and what came with it; None and "" stand for what is not known.

    Attributes:
        id: unique among those that are captioned together.
        image: 8 bit, grey or RGB.
        bounds: west, south, east, north in degrees.
        acquired: ISO date.
        sensor, polarization: as the row says.
        resolution_m: metres of ground a pixel.
        decibels: those that became the grey levels 0 and 255; None where the levels are not calibrated.
        prior: AlphaEarth at anchors of the image.
        cover: int [H, W], Dynamic World classes of the pixels from a raster, -1 where it has none.
        targets: all objects of the annotated classes, in pixels of the image; None where nobody annotated it.
        vetted: False where a detector, and no person, says what targets there are.
    """

    id: str
    image: Image.Image
    bounds: tuple[float, float, float, float] | None = None
    acquired: str = ""
    sensor: str = ""
    polarization: str = ""
    resolution_m: float | None = None
    decibels: tuple[float, float] | None = None
    prior: Prior | None = None
    cover: NDArray[np.integer] | None = None
    targets: Sequence[TargetBox] | None = None
    vetted: bool = True

    @property
    def grey(self) -> NDArray[np.float64]:
        """Grey levels [H, W], 0 to 255."""
        return np.asarray(self.image.convert("L"), np.float64)

    @property
    def is_sar(self) -> bool:
        """Whether grey levels are backscatter: a coloured picture is none."""
        return self.image.mode == "L" or bool(np.ptp(np.asarray(self.image.convert("RGB")), axis=2).max() == 0)
