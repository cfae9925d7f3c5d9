"""What came of each tile."""

from dataclasses import dataclass
from typing import Any, Literal

from fusargpt.scenes.tiles import Tile

Skipped = Literal["", "no data", "nothing stands out"]


@dataclass(frozen=True)
class TileAnswer:
    """What the model said about a tile.

    Attributes:
        id: of the tile.
        answer: the model's text; "" where the tile was skipped.
        seen: width and height in which the model saw the tile; boxes are in these pixels. (0, 0) where it was skipped.
        anchors: of the prior; None without one.
        skipped: why the model was not asked, or "".
    """

    id: str
    answer: str
    seen: tuple[int, int]
    anchors: int | None
    skipped: Skipped


@dataclass(frozen=True)
class Failure:
    """A tile without an answer, and the reason in one line."""

    tile: Tile
    reason: str


def read_tile_answer(record: dict[str, Any]) -> TileAnswer:
    """A line of the journal."""
    return TileAnswer(**{**record, "seen": tuple(record["seen"])})
