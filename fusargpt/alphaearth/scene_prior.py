"""The prior of one image of a user, whole: from the field that is named, in the year of the image."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from fusargpt.alphaearth.anchor_settings import AnchorSettings
from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import NoPriorError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior
from fusargpt.geo.reading import Reading
from fusargpt.geo.remote import is_remote, shown
from fusargpt.geo.sar_scene import SarScene


@lru_cache(maxsize=1)
def alpha_earth(root: str) -> AlphaEarth:
    """One for each process: it keeps its tiles open. What comes from a server is kept on disk for all of them."""
    return AlphaEarth(root, BlockCache() if is_remote(root) else None)


def place_and_year(scene: SarScene, year: int | None, without: str) -> tuple[Geometry, int]:
    """Where and when a scene asks for anchors.

    Args:
        scene: is open.
        year: that the user names; None takes the acquisition's.
        without: what else to do than to give the scene anchors, as messages end.

    Raises:
        NoPriorError: no georeference, or no year.
    """
    if scene.geometry is None:
        if scene.problem:
            raise NoPriorError(f"{scene.problem}; or {without}")
        raise NoPriorError(f"{shown(scene.path)}: no georeference, so that no place is known for anchors; {without}")
    if year is None:
        if scene.acquired is None:
            raise NoPriorError(
                f"{shown(scene.path)}: no day of acquisition in its tags or name; say the field's with year (--year)"
            )
        year = scene.acquired.year
    return scene.geometry, year


def scene_prior(scene: SarScene, settings: AnchorSettings, without: str) -> tuple[Prior, int]:
    """The anchors of an open scene as one image, at least one, and their year.

    Args:
        scene: is open; nothing of its pixels is read.
        settings: with a field.
        without: as of `place_and_year`.

    Raises:
        NoPriorError: no georeference, no year, or a year or a place that the field does not cover.
        InputError: a field that cannot be read.
    """
    assert settings.aef is not None
    geometry, year = place_and_year(scene, settings.year, without)
    try:
        prior = spatiotemporal_anchors(
            geometry,
            year,
            source=alpha_earth(settings.aef),
            grid=settings.grid,
            spacing_m=settings.anchor_spacing_m,
            resolution=settings.anchor_resolution,
        )
    except NoPriorError as error:
        raise NoPriorError(
            f"{shown(scene.path)}: {error}; choose another year or field (--year, --aef), or {without}"
        ) from error
    return prior, year


def fetch_prior(image: str | Path, *, aef: str | Path, reading: Reading | None = None, **options: Any) -> Prior:
    """The prior of an image file as the model sees it, whole; `Prior` is kept by `fusargpt.save_prior`.

    Args:
        image: a GeoTIFF or COG; a local file or an http(s), s3 or gs URL.
        aef: root of the AlphaEarth field: a folder or an http, https, s3 or gs URL.
        reading: how the file is to be read, as its `crs`; None leaves all to the file.
        **options: further fields of `fusargpt.alphaearth.anchor_settings.AnchorSettings`, such as `year`.

    Returns:
        Its anchors, at least one.

    Raises:
        NoPriorError: no georeference, no year, or a year or a place that the field does not cover.
        InputError: an option, a file or a field that is not what it should be.
        TypeError: an option that does not exist.
    """
    settings = AnchorSettings(aef=str(aef), **options)
    with SarScene.open(image, reading) as scene:
        return scene_prior(scene, settings, "answer from the image alone")[0]
