"""The tiles of a scene as a model sees them, each with the anchors of its place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.geo.radiometry import Stretch, choose_stretch, to_8bit
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.stored import Stored
from fusargpt.scenes.opening import field_and_year
from fusargpt.scenes.tile_settings import TileSettings
from fusargpt.scenes.tiles import Tile


@dataclass(frozen=True, eq=False)
class TileView:
    """The tiles of an open scene as a model sees them.

    Attributes:
        scene: is read window by window.
        stretch: of the whole scene, or chosen; None for grey levels.
        field: that anchors come from; None without a prior.
        year: of the field; None without a prior.
        settings: what else the user chose.
    """

    scene: SarScene
    stretch: Stretch | None
    field: AlphaEarth | None
    year: int | None
    settings: TileSettings

    @staticmethod
    def of(scene: SarScene, settings: TileSettings) -> "TileView":
        """Of a scene whose stretch, field and year are looked up; raises what `field_and_year` and `stretch` raise."""
        field, year = field_and_year(scene, settings)
        return TileView(scene, scene.stretch(decibels=settings.decibels), field, year, settings)

    @property
    def stored(self) -> Stored:
        """What the scene's values are."""
        return "grey" if self.stretch is None else self.stretch.stored

    def picture(self, values: np.ndarray, valid: NDArray[np.bool_]) -> Image.Image:
        """A tile's values [h, w], valid where bool [h, w], as an RGB image."""
        return Image.fromarray(to_8bit(values, valid, self._stretch_for(values, valid), self.stored)[0]).convert("RGB")

    def _stretch_for(self, values: np.ndarray, valid: NDArray[np.bool_]) -> Stretch | None:
        if self.settings.stretch == "scene" or self.stretch is None:
            return self.stretch
        try:
            return choose_stretch(values, valid, self.stretch.stored)
        # All pixels alike, or none with a signal: such a tile has no limits of its own.
        except InputError:
            return self.stretch

    def prior(self, tile: Tile) -> Prior | None:
        """The anchors of a tile, none where the field has no data; None without a prior."""
        if self.field is None or self.year is None:
            return None
        return spatiotemporal_anchors(
            self.scene.geometry,
            self.year,
            source=self.field,
            grid=self.settings.grid,
            spacing_m=self.settings.anchor_spacing_m,
            window=tile.window,
            resolution=self.settings.anchor_resolution,
            # The sea far from land is not in the field. Such tiles are answered without anchors and counted.
            missing="empty",
        )
