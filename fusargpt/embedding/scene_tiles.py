"""The tiles of a scene to embed."""

from functools import cached_property

from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.embedding.source import TASK, Box, acquisition_of, outline_of
from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.remote import shown
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.questions import Answer, Failure, Item, Question
from fusargpt.scenes.opening import tile_side
from fusargpt.scenes.tile_reader import item_of, tile_of
from fusargpt.scenes.tile_view import TileView
from fusargpt.scenes.tiles import cut


class SceneTiles:
    """The tiles of an open scene.

    Args:
        view: how they look.
        side: of a tile in pixels.
        overlap: of neighbours.
    """

    def __init__(self, view: TileView, side: int, overlap: int) -> None:
        self.view, self.side, self.overlap = view, side, overlap
        self.name = shown(view.scene.path)
        self.read_as = str(view.scene.read_as(stretch=view.stretch, limits_why=view.settings.limits_why))

    @staticmethod
    def of(scene: SarScene, settings: EmbeddingSettings, seen: int) -> "SceneTiles":
        """Raises InputError for a field, limits or tiles that do not fit the scene."""
        view = TileView.of(scene, settings)
        return SceneTiles(view, tile_side(scene, settings, seen), settings.overlap or 0)

    def items(self) -> tuple[list[Item], list[Failure]]:
        tiles = cut(self.view.scene.width, self.view.scene.height, self.side, self.overlap)
        return [item_of(tile, TASK, "") for tile in tiles], []

    def read(self, item: Item) -> Question | Answer:
        tile = tile_of(item)
        values, valid = self.view.scene.read(tile.window)
        if not valid.any():
            return Answer.without_asking(item, "no data")
        picture, prior = self.view.picture(values, valid), self.view.prior(tile)
        return Question(item, picture, "", prior, read_as=self.read_as, acquisition=self._acquisition)

    def box(self, item: Item, answer: Answer) -> Box:
        return tile_of(item).inside(self.view.scene.width, self.view.scene.height)

    def outline(self, item: Item, box: Box) -> dict[str, object] | None:
        return outline_of(self.view.scene.geometry, box)

    @cached_property
    def _acquisition(self) -> Acquisition:
        return acquisition_of(self.view.scene)
