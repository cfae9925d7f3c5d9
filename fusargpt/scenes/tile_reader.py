"""How a tile of a scene is put to the model, or why it need not be."""

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
from fusargpt.inference.questions import Answer, Item, Question
from fusargpt.scenes.emptiness import nothing_stands_out
from fusargpt.scenes.settings import SceneSettings
from fusargpt.scenes.tiles import Tile
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import TARGETS


@dataclass(frozen=True, eq=False)
class TileReader:
    """Makes questions of the tiles of an open scene.

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
    settings: SceneSettings

    def read(self, item: Item) -> Question | Answer:
        """The tile as the model sees it, with its prior; or why the model need not see it."""
        tile = tile_of(item)
        values, valid = self.scene.read(tile.window)
        if not valid.any():
            return Answer.without_asking(item, "no data")
        stored = "grey" if self.stretch is None else self.stretch.stored
        if self._may_be_empty and nothing_stands_out(values, valid, stored, self.settings.contrast_db):
            return Answer.without_asking(item, "nothing stands out")
        grey = to_8bit(values, valid, self._stretch_for(values, valid), stored)[0]
        return Question(item, Image.fromarray(grey).convert("RGB"), item.question, self._prior(tile), self._form)

    def _stretch_for(self, values: np.ndarray, valid: NDArray[np.bool_]) -> Stretch | None:
        if self.settings.stretch == "scene" or self.stretch is None:
            return self.stretch
        try:
            return choose_stretch(values, valid, self.stretch.stored)
        # All pixels alike, or none with a signal: such a tile has no limits of its own.
        except InputError:
            return self.stretch

    @property
    def _may_be_empty(self) -> bool:
        # A description is of the ground, too.
        return not self.settings.no_skip and self.settings.task != "describe"

    def _prior(self, tile: Tile) -> Prior | None:
        if self.field is None or self.year is None:
            return None
        spacing, side = self.settings.anchor_spacing_m, self.settings.anchors
        return spatiotemporal_anchors(
            self.scene.geometry,
            self.year,
            source=self.field,
            grid=(side, side) if spacing is None else None,
            spacing_m=spacing,
            window=tile.window,
            resolution=self.settings.anchor_resolution,
            # The sea far from land is not in the field. Such tiles are answered without anchors and counted.
            missing="empty",
        )

    @property
    def _form(self) -> AnswerForm | None:
        chosen = self.settings
        if not chosen.constrained:
            return None
        return AnswerForm(chosen.task, TARGETS if chosen.task == "classify" else (chosen.target,))


def item_of(tile: Tile, settings: SceneSettings) -> Item:
    """A tile and what is asked about it."""
    return Item(tile.id, settings.task, settings.prompt, f"{tile.left},{tile.top},{tile.side}", tile.side**2)


def tile_of(item: Item) -> Tile:
    """The tile of an item of `item_of`."""
    return Tile(*map(int, item.place.split(",")))
