"""A scene made ready to be asked: the field and year that its anchors come from, and the side of its tiles."""

from pathlib import Path

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.scene_prior import place_and_year
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.remote import is_remote, shown
from fusargpt.geo.safe_files import is_safe
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.tile_settings import SMALLEST_TILE, TileSettings

_COVERAGE_GRID = 16


def field_and_year(scene: SarScene, settings: TileSettings) -> tuple[AlphaEarth | None, int | None]:
    """Where anchors come from; (None, None) where the user wants no prior.

    Raises:
        NoPriorError: no georeference, no year, or a year or a place that the field does not cover.
        InputError: a field that cannot be read.
    """
    if settings.aef is None:
        return None, None
    without = "answer from the image alone with no_prior (--no-prior)"
    geometry, year = place_and_year(scene, settings.year, without)
    field = AlphaEarth(settings.aef, BlockCache() if is_remote(settings.aef) else None)
    try:
        spatiotemporal_anchors(geometry, year, source=field, grid=(_COVERAGE_GRID, _COVERAGE_GRID), resolution="match")
    except NoPriorError as error:
        raise NoPriorError(
            f"{shown(scene.path)}: {error}; choose another year or field (--year, --aef), or {without}"
        ) from error
    return field, year


def tile_side(scene: SarScene, settings: TileSettings, seen: int, coarsest_pixel_m: float | None = None) -> int:
    """Pixels of the scene.

    Args:
        scene: open.
        settings: which may name a side, or what a pixel is to measure.
        seen: side in pixels in which the model sees a tile.
        coarsest_pixel_m: metres of a pixel from which on the scene is enlarged where nothing is named; None for no end.

    Raises:
        InputError: a resolution for a scene without a place, or one that gives tiles of less than a pixel.
    """
    if settings.tile is not None:
        return settings.tile
    if settings.resolution_m is None:
        return own_tile_side(scene.geometry, (scene.width, scene.height), seen, coarsest_pixel_m)
    if scene.geometry is None:
        why = scene.problem or f"{shown(scene.path)}: no georeference"
        raise InputError(f"resolution: {why}; or give the tile in pixels with tile (--tile)")
    side = round(seen * settings.resolution_m / scene.geometry.resolution_m())
    if side < 1:
        raise InputError(f"resolution: {settings.resolution_m:g} m gives tiles of less than a pixel of the scene")
    return side


def own_tile_side(geometry: Geometry | None, size: tuple[int, int], seen: int, coarsest_pixel_m: float | None) -> int:
    """As `tile_side`, where nothing is named: no pixel is resized, but coarse ones and those of small scenes.

    A scene that is smaller than a tile is one tile, which the model sees as large as any: beside much black, as which
    pixels beyond the edge are shown, it says less, and less that is true.

    Args:
        geometry: of the scene.
        size: its width and height in pixels.
        seen: as there.
        coarsest_pixel_m: as there.
    """
    side = min(seen, max(size))
    if geometry is not None and coarsest_pixel_m is not None:
        side = min(side, round(seen * coarsest_pixel_m / geometry.resolution_m()))
    return max(SMALLEST_TILE, side)


def check_scene_path(scene: str) -> None:
    """Raises InputError for a local file that is not there, or a folder that is no product."""
    if not is_remote(scene) and not Path(scene).is_file() and not is_safe(scene):
        found = "a folder" if Path(scene).is_dir() else "no such file"
        raise InputError(f"{scene}: {found}; expected a SAR scene as a GeoTIFF, or a Sentinel-1 .SAFE folder or .zip")
