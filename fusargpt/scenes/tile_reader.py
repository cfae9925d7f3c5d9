"""How a tile of a scene is put to the model, or why it need not be."""

from dataclasses import dataclass

from fusargpt.inference.questions import Answer, Item, Question
from fusargpt.scenes.areas import Area
from fusargpt.scenes.emptiness import NO_DATA, NOTHING, ON_LAND, nothing_stands_out
from fusargpt.scenes.settings import SceneSettings
from fusargpt.scenes.tile_view import TileView
from fusargpt.scenes.tiles import Tile
from fusargpt.tasks.grammar import AnswerForm


@dataclass(frozen=True, eq=False)
class TileReader:
    """Makes questions of the tiles of an open scene.

    Attributes:
        view: how tiles look.
        settings: what is asked.
        classes: among which a constrained classification chooses.
        land: where no target can be; None where it is not known.
    """

    view: TileView
    settings: SceneSettings
    classes: tuple[str, ...]
    land: Area | None = None

    def read(self, item: Item) -> Question | Answer:
        """The tile as the model sees it, with its prior; or why the model need not see it."""
        tile = tile_of(item)
        if self.land is not None and self.land.covers([tile.inside(self.view.scene.width, self.view.scene.height)])[0]:
            return Answer.without_asking(item, ON_LAND)
        values, valid = self.view.scene.read(tile.window)
        if not valid.any():
            return Answer.without_asking(item, NO_DATA)
        if self._may_be_empty and nothing_stands_out(values, valid, self.view.stored, self.settings.contrast_db):
            return Answer.without_asking(item, NOTHING)
        return Question(item, self.view.picture(values, valid), item.question, self.view.prior(tile), self._form)

    @property
    def _may_be_empty(self) -> bool:
        # A description is of the ground, too.
        return not self.settings.no_skip and self.settings.task != "describe"

    @property
    def _form(self) -> AnswerForm | None:
        chosen = self.settings
        if not chosen.constrained:
            return None
        return AnswerForm(chosen.task, self.classes if chosen.task == "classify" else (chosen.target,))


def item_of(tile: Tile, task: str, question: str) -> Item:
    """A tile and what is asked about it."""
    return Item(tile.id, task, question, f"{tile.left},{tile.top},{tile.side}", tile.side**2)


def tile_of(item: Item) -> Tile:
    """The tile of an item of `item_of`."""
    return Tile(*map(int, item.place.split(",")))
