"""What a user can choose about the anchors of an image or a tile. Reads nothing."""

from dataclasses import dataclass
from typing import Literal

from fusargpt.errors import check

ANCHORS_PER_SIDE = 8
"""Of a tile, as of a training chip."""


@dataclass(frozen=True, kw_only=True)
class AnchorSettings:
    """Where anchors come from.

    Attributes:
        aef: root of the AlphaEarth field.
        year: of the field; None takes the acquisition's.
        anchors: rows and columns of the grid of anchors of an image or a tile; ignored where `anchor_spacing_m` is
            given.
        anchor_spacing_m: metres between anchors.
        anchor_resolution: "native" reads AlphaEarth's 10 m pixels, "match" the overview that fits the spacing.

    Raises:
        InputError: a value outside its range.
    """

    aef: str | None = None
    year: int | None = None
    anchors: int = ANCHORS_PER_SIDE
    anchor_spacing_m: float | None = None
    anchor_resolution: Literal["native", "match"] = "native"

    def __post_init__(self) -> None:
        check("anchors", self.anchors, 1 <= self.anchors <= 128, "1 to 128 a side")
        if self.anchor_spacing_m is not None:
            check("anchor-spacing", self.anchor_spacing_m, 10 <= self.anchor_spacing_m <= 1e5, "10 m or more")
        found = self.anchor_resolution
        check("anchor-resolution", found, found in ("native", "match"), "native or match")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns; None where the spacing says how many there are."""
        return (self.anchors, self.anchors) if self.anchor_spacing_m is None else None
