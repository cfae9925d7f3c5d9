"""How a scene is cut into the tiles that the model sees."""

from dataclasses import dataclass

from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.tiling import by_neighbourhood, chip_windows

MAX_TILES = 1_000_000


@dataclass(frozen=True)
class Tile:
    """A square of `side` pixels, its upper left corner at (left, top) of the scene; may reach over the edge."""

    left: int
    top: int
    side: int

    @property
    def id(self) -> str:
        return f"{self.left},{self.top}"

    @property
    def window(self) -> Window:
        return Window.from_slices((self.top, self.top + self.side), (self.left, self.left + self.side))

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """[x1, y1, x2, y2] of the part that lies on a scene of `width` x `height` pixels."""
        return self.left, self.top, min(self.left + self.side, width), min(self.top + self.side, height)


def cut(width: int, height: int, side: int, overlap: int) -> list[Tile]:
    """Tiles that cover a scene, in the order of `fusargpt.geo.tiling.by_neighbourhood`.

    With an overlap none reaches over the edge of a scene that is large enough: what does not fit is spread over all of
    them, as over training chips. Without one they are the cells of a regular grid, so that no place counts twice.

    Args:
        width: of the scene in pixels.
        height: likewise.
        side: of a tile.
        overlap: pixels that neighbours share at least, below `side`.

    Raises:
        InputError: an overlap that leaves no step, or more than a million tiles.
    """
    if not 0 <= overlap < side:
        raise InputError(f"overlap: found {overlap}; expected 0 or more pixels, less than the tile's {side}")
    step = side - overlap
    if (width // step + 1) * (height // step + 1) > MAX_TILES:
        raise InputError(f"{width} x {height} pixels in tiles of {side}: more than {MAX_TILES:,}; use larger ones")
    if overlap:
        windows = chip_windows(max(width, side), max(height, side), side, overlap)
        return [Tile(window.col_off, window.row_off, side) for window in windows]
    corners = [(left, top) for top in range(0, height, side) for left in range(0, width, side)]
    return [Tile(left, top, side) for left, top in by_neighbourhood(corners)]
