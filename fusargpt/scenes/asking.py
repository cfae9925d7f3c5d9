"""Every tile of a scene is asked the question, in batches; what fails alone costs no other tile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from tqdm import tqdm

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.geo.radiometry import Stretch, to_8bit
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.journal import Records
from fusargpt.inference.predict import FusarGpt
from fusargpt.scenes.emptiness import nothing_stands_out
from fusargpt.scenes.settings import SceneSettings
from fusargpt.scenes.tile_answers import Failure, TileAnswer
from fusargpt.scenes.tiles import Tile
from fusargpt.tasks.grammar import AnswerForm
from fusargpt.tasks.prompts import TARGETS


@dataclass(frozen=True, eq=False)
class Asking:
    """Puts a question to the tiles of an open scene.

    Attributes:
        scene: is read window by window.
        band: from 1.
        stretch: of the whole scene, or chosen; None for grey levels.
        field: that anchors come from; None without a prior.
        year: of the field; None without a prior.
        settings: what else the user chose.
    """

    scene: SarScene
    band: int
    stretch: Stretch | None
    field: AlphaEarth | None
    year: int | None
    settings: SceneSettings

    def run(self, predictor: FusarGpt, tiles: Sequence[Tile], records: Records[TileAnswer]) -> list[Failure]:
        """Answer the tiles that `records` does not hold, and write them there batch by batch; returns those that fail.

        Raises:
            InputError: a question that the model cannot be asked.
        """
        failures: list[Failure] = []
        open_tiles = [tile for tile in tiles if tile.id not in records.records]
        size = self.settings.batch_size
        with tqdm(total=len(tiles), initial=len(tiles) - len(open_tiles), unit="tile") as progress:
            batch: list[tuple[Tile, Image.Image, Prior | None]] = []
            skipped: list[TileAnswer] = []
            for tile in open_tiles:
                try:
                    seen = self._look(tile)
                except InputError as error:
                    failures.append(Failure(tile, str(error)))
                    progress.update()
                    continue
                if isinstance(seen, TileAnswer):
                    skipped.append(seen)
                else:
                    batch.append((tile, *seen))
                if len(batch) == size or len(skipped) == 32 * size:
                    self._flush(predictor, batch, skipped, records, progress)
            self._flush(predictor, batch, skipped, records, progress)
        return failures

    def _look(self, tile: Tile) -> TileAnswer | tuple[Image.Image, Prior | None]:
        """The tile as the model sees it, and its prior; or why the model need not see it."""
        values, valid = self.scene.read(tile.window, self.band)
        if not valid.any():
            return TileAnswer(tile.id, "", (0, 0), None, "no data")
        stored = "grey" if self.stretch is None else self.stretch.stored
        if self._may_be_empty and nothing_stands_out(values, valid, stored, self.settings.contrast_db):
            return TileAnswer(tile.id, "", (0, 0), None, "nothing stands out")
        stretch = self.stretch if self.settings.stretch == "scene" else None
        grey = to_8bit(values, valid, stretch, stored)[0]
        return Image.fromarray(grey).convert("RGB"), self._prior(tile)

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

    def _flush(
        self,
        predictor: FusarGpt,
        batch: list[tuple[Tile, Image.Image, Prior | None]],
        skipped: list[TileAnswer],
        records: Records[TileAnswer],
        progress: tqdm,
    ) -> None:
        answered = list(self._answers(predictor, batch)) if batch else []
        records.add([*skipped, *answered])
        progress.update(len(skipped) + len(batch))
        batch.clear()
        skipped.clear()

    def _answers(
        self, predictor: FusarGpt, batch: Sequence[tuple[Tile, Image.Image, Prior | None]]
    ) -> Iterator[TileAnswer]:
        tiles, images, priors = zip(*batch, strict=True)
        chosen, seen = self.settings, predictor.seen_size(images[0])
        answers = predictor.answers(
            images,
            [chosen.prompt] * len(images),
            priors,
            chosen.max_new_tokens,
            chosen.batch_size,
            **self._form(len(images)),
        )
        for tile, prior, answer in zip(tiles, priors, answers, strict=True):
            anchors = None if prior is None else len(prior.embeddings)
            yield TileAnswer(tile.id, answer, seen, anchors, "")

    def _form(self, count: int) -> dict[str, Any]:
        """What `answers` takes beside the rest to hold `count` answers to the task's form; nothing where it is free."""
        chosen = self.settings
        if not chosen.constrained:
            return {}
        names = TARGETS if chosen.task == "classify" else (chosen.target,)
        return {"forms": [AnswerForm(chosen.task, names)] * count}
