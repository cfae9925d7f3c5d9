"""A scene made ready to be asked: its band, its stretch, and the field and year that its anchors come from."""

from pathlib import Path

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.remote import is_remote, shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.scenes.settings import SceneSettings

_COVERAGE_GRID = 16


def band_of(scene: SarScene, settings: SceneSettings) -> int:
    """The band that the settings name.

    Raises:
        InputError: the scene does not have it.
    """
    if settings.polarization is not None:
        return scene.band_of(settings.polarization.upper())
    band = settings.band or 1
    if band > len(scene.polarizations):
        raise InputError(f"{shown(scene.path)}: no band {band}; the file has {len(scene.polarizations)}")
    return band


def stretch_of(scene: SarScene, band: int, settings: SceneSettings) -> Stretch | None:
    """What the grey levels of the scene are made by: limits of the settings, or its own; None for 8-bit grey levels.

    Raises:
        InputError: limits in decibels for grey levels, or what `SarScene.stretch` raises.
    """
    stretch = scene.stretch(band)
    if settings.decibels is None:
        return stretch
    if stretch is None:
        raise InputError(f"decibels: {shown(scene.path)} holds 8-bit grey levels, which are not scaled; leave it out")
    return Stretch(*settings.decibels, stretch.stored)


def field_and_year(scene: SarScene, settings: SceneSettings) -> tuple[AlphaEarth | None, int | None]:
    """Where anchors come from; (None, None) where the user wants no prior.

    Raises:
        NoPriorError: no georeference, no year, or a year or a place that the field does not cover.
        InputError: a field that cannot be read.
    """
    if settings.aef is None:
        return None, None
    without = "answer from the image alone with --no-prior"
    if scene.geometry is None:
        raise NoPriorError(f"{shown(scene.path)}: no georeference, so that no place is known for anchors; {without}")
    year = settings.year
    if year is None:
        if scene.acquired is None:
            raise NoPriorError(f"{shown(scene.path)}: no day of acquisition; name the field's year with --year")
        year = scene.acquired.year
    field = AlphaEarth(settings.aef, BlockCache() if is_remote(settings.aef) else None)
    try:
        spatiotemporal_anchors(
            scene.geometry, year, source=field, grid=(_COVERAGE_GRID, _COVERAGE_GRID), resolution="match"
        )
    except NoPriorError as error:
        raise NoPriorError(f"{shown(scene.path)}: {error}; choose another --year or --aef, or {without}") from error
    return field, year


def check_scene_path(scene: str) -> None:
    """Raises InputError for a local file that is not there."""
    if not is_remote(scene) and not Path(scene).is_file():
        found = "a folder" if Path(scene).is_dir() else "no such file"
        raise InputError(f"{scene}: {found}; expected a SAR scene as a GeoTIFF")
