"""A whole scene asked tile by tile, as `fusargpt detect` and its kin do, within the page's time.

Tiles are cut and their answers put together by the same code as the command's; a tile is the size that the model sees
best. What is answered is kept, so that the same question goes on where it stopped.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from PIL import Image

from fusargpt.alphaearth.anchor_settings import ANCHORS_PER_SIDE
from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError, check
from fusargpt.geo.image import MIN_SIDE
from fusargpt.geo.prior import Prior
from fusargpt.inference.asking import kept_confidences
from fusargpt.inference.predict import FusarGpt
from fusargpt.inference.questions import Answer, told_confidences
from fusargpt.scenes import layers, writing
from fusargpt.scenes.layers import Place
from fusargpt.scenes.opening import own_tile_side
from fusargpt.scenes.tiles import Tile, cut
from fusargpt.tasks.prompts import TASKS, prompt
from fusargpt.tasks.target_names import plural
from space_app.accelerator import on_gpu
from space_app.areas import Box, read_area
from space_app.drawing import draw_places, enlarge
from space_app.limits import MAX_SCENE_TILES
from space_app.scenes import UploadedScene

_BATCH = 8
_CHIP_SIDE = 504
"""Of training, as the command takes it."""
_DETECTION_OVERLAP = 4
"""A quarter of the tile."""
_LONGEST_SIDE = 2048
_SAME_OBJECT = 0.5
"""As the command's overlap threshold."""
_COVERAGE_GRID = 16
_KEPT = 8
"""Runs whose answers are remembered."""
_WAITING_SECONDS = 0.5

State = Literal["asking", "whole", "out of time"]


@dataclass(frozen=True)
class SceneQuestion:
    """What is asked of every tile.

    Attributes:
        task: one of `fusargpt.tasks.prompts.TASKS`.
        target: what it is about.
        area: as typed or drawn, see `space_app.areas.read_area`; "" asks about all of the image.
        tile: its side in pixels of the image; None takes what the model sees unscaled, less of coarse pixels.
        year: of the field's anchors; None without a prior.
        least: score below which boxes are left out; it changes nothing that is asked.
    """

    task: str
    target: str
    area: str = ""
    tile: int | None = None
    year: int | None = None
    least: float = 0.0


@dataclass(frozen=True, eq=False)
class AskedScene:
    """A scene as far as it has been asked.

    Attributes:
        scene: the image.
        asked: the question.
        area: in pixels of the image; None for all of it.
        side: of a tile in pixels.
        tiles: that the area has.
        answered: of them.
        places: objects of a detection, or tiles and cells.
        problems: a line for each answer that could not be read in whole.
        field: that anchors came from; "" without a prior.
        state: whether more comes, and if not, why.
        confidences: what scores and confidences are; None where there are none.
    """

    scene: UploadedScene
    asked: SceneQuestion
    area: Box | None
    side: int
    tiles: int
    answered: int
    places: tuple[Place, ...]
    problems: tuple[str, ...]
    field: str
    state: State
    confidences: str | None = None

    @property
    def summary(self) -> str:
        """What it comes to in a few words."""
        found, several = self.places, plural(self.asked.target)
        if len(self.problems) >= self.answered > 0 and all(_is_unread(place) for place in found):
            return "No answer could be read"
        if self.asked.task == "detect":
            return f"{len(found)} {self.asked.target if len(found) == 1 else several}"
        if self.asked.task == "count":
            total = sum(place.properties["count"] or 0 for place in found)
            return f"{total} {self.asked.target if total == 1 else several}"
        if self.asked.task == "localize":
            cells = sum(place.properties["kind"] == "cell" for place in found)
            return f"{several} in {cells} {'cell' if cells == 1 else 'cells'}".capitalize()
        return f"{len(found)} {'tile' if len(found) == 1 else 'tiles'}"

    def draw(self) -> Image.Image:
        """The places and the area on the image, at most 2,048 pixels on a side."""
        picture = enlarge(self.scene.picture)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        scale = picture.width / self.scene.picture.width
        draw_places(picture, scale, self.places, self.asked.target, self.area)
        return picture

    def in_pixels(self, model: str) -> dict[str, Any]:
        """As the command writes it to a .json: COCO of a detection, otherwise tiles and cells."""
        width, height = self.scene.picture.size
        write = writing.coco if self.asked.task == "detect" else writing.layer_in_pixels
        return write(self.places, width, height, self._provenance(model))

    def feature_collection(self, model: str) -> dict[str, Any] | None:
        """As the command writes it to a .geojson; None where no place is known.

        Raises:
            InputError: a part of the image lies nowhere on Earth.
        """
        if self.scene.geometry is None:
            return None
        return writing.feature_collection(self.places, self.scene.geometry, self._provenance(model))

    def _provenance(self, model: str) -> dict[str, Any]:
        scene, asked = self.scene, self.asked
        return {
            "software": f"fusargpt {version('fusargpt')}",
            "task": asked.task,
            "target": asked.target,
            "question": prompt(asked.task, asked.target),
            "model": model,
            "prior": f"AlphaEarth {asked.year}, {self.field}" if self.field else "none",
            "scene": scene.name,
            "acquired": None if scene.acquired is None else scene.acquired.isoformat(),
            "read_as": scene.read_as,
            "confidences": self.confidences,
            "min_score": asked.least,
            "area_pixels": None if self.area is None else [round(edge, 2) for edge in self.area],
            "tile": self.side,
            "tiles": self.tiles,
            "answered": self.answered,
            "state": self.state,
        }


class WholeScene:
    """Asks scenes with one model, one after the other.

    Args:
        predictor: the model.
        place: held while the model works, by whoever uses it.
    """

    def __init__(self, predictor: FusarGpt, place: threading.Lock) -> None:
        self._predictor, self._place = predictor, place
        # The model is bound to the function, not handed over with each call, as in `space_app.streaming`.
        self._answers = on_gpu(self._decode)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], dict[str, Answer]] = OrderedDict()

    def ask(
        self,
        key: object,
        scene: UploadedScene,
        asked: SceneQuestion,
        field: tuple[str, AlphaEarth] | None,
        seconds: float,
    ) -> Generator[AskedScene]:
        """The scene so far, with more tiles at every item; the last one is whole or out of time.

        Args:
            key: of the image, as it was read.
            scene: the image.
            asked: the question.
            field: name and field that each tile's anchors are fetched from; None without a prior.
            seconds: after which no further tile is asked.

        Raises:
            InputError: a task, tile or area that is not what it should be, too many tiles, or a field without data
                here.
        """
        if asked.task not in TASKS:
            raise InputError(f"Task: found {asked.task!r}; tiles are asked {', '.join(TASKS)}")
        check("Least score", asked.least, 0 <= asked.least <= 1, "0 to 1")
        area = read_area(asked.area, scene)
        side, tiles = self._tiles(scene, asked, area)
        if field is not None:
            _check_field(scene, asked, field)
        kept = self._kept_of((key, asked.task, asked.target, asked.year, side, None if field is None else field[0]))

        def so_far(state: State) -> AskedScene:
            mine = {tile.id: kept[tile.id] for tile in tiles if tile.id in kept}
            layer = _layer(scene, asked, tiles, mine)
            inside = [place for place in layer.places if _is_inside(place, area)]
            places = layers.measured(inside, scene.geometry)
            name = "" if field is None else field[0]
            return AskedScene(
                scene,
                asked,
                area,
                side,
                len(tiles),
                len(mine),
                tuple(places),
                tuple(layer.problems),
                name,
                state,
                told_confidences(mine.values()),
            )

        ends = time.monotonic() + seconds
        yield so_far("asking")
        while not self._place.acquire(timeout=_WAITING_SECONDS):
            yield so_far("asking")
        try:
            left = [tile for tile in tiles if tile.id not in kept]
            for start in range(0, len(left), _BATCH):
                if start and time.monotonic() > ends:
                    break
                for answer in self._ask(scene, asked, left[start : start + _BATCH], field):
                    kept[answer.id] = answer
                yield so_far("asking")
        finally:
            self._place.release()
        last = so_far("whole")
        yield last if last.answered == last.tiles else so_far("out of time")

    def _ask(
        self, scene: UploadedScene, asked: SceneQuestion, tiles: Sequence[Tile], field: tuple[str, AlphaEarth] | None
    ) -> Generator[Answer]:
        # Over the edge of the image it is black, as where there is no data.
        pictures = [
            scene.picture.crop((tile.left, tile.top, tile.left + tile.side, tile.top + tile.side)) for tile in tiles
        ]
        priors = [None if field is None else _prior(scene, asked, tile, field[1]) for tile in tiles]
        question = prompt(asked.task, asked.target)
        (texts,) = self._answers(pictures, question, priors, asked.task)
        for tile, picture, prior, text in zip(tiles, pictures, priors, texts, strict=True):
            anchors = None if prior is None else len(prior.embeddings)
            seen = self._predictor.seen_size(picture)
            sure = kept_confidences(text)
            yield Answer(tile.id, asked.task, question, str(text), picture.size, seen, anchors, 0.0, **sure)

    def _decode(
        self, pictures: Sequence[Image.Image], question: str, priors: Sequence[Prior | None], task: str
    ) -> Generator[list[str]]:
        """Of all pictures at once, each text with how sure the model was."""
        count = len(pictures)
        yield self._predictor.answers(pictures, [question] * count, priors, batch_size=count, tasks=[task] * count)

    def _tiles(self, scene: UploadedScene, asked: SceneQuestion, area: Box | None) -> tuple[int, list[Tile]]:
        seen = self._predictor.seen_size(Image.new("RGB", (_CHIP_SIDE, _CHIP_SIDE)))[0]
        own = own_tile_side(scene.geometry, scene.picture.size, seen, self._predictor.coarsest_pixel_m)
        side = asked.tile or own
        if side < MIN_SIDE:
            raise InputError(f"Tile: found {side} pixels; expected {MIN_SIDE} or more")
        tiles = _tiles_of(scene, asked.task, side, area)
        if len(tiles) > MAX_SCENE_TILES:
            larger = next(
                number
                for number in range(side, sum(scene.picture.size))
                if len(_tiles_of(scene, asked.task, number, area)) <= MAX_SCENE_TILES
            )
            raise InputError(
                f"Tile: {side} pixels make {len(tiles):,} tiles; this page asks {MAX_SCENE_TILES}. Choose an area, or "
                f"tiles of {larger} pixels or more; `fusargpt {asked.task}` asks scenes of any size"
            )
        return side, tiles

    def _kept_of(self, key: tuple[object, ...]) -> dict[str, Answer]:
        """Answers by tile, to which further ones are added; the oldest runs are forgotten."""
        with self._lock:
            kept = self._kept.setdefault(key, {})
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept


def _is_unread(place: Place) -> bool:
    """Of a tile's number or class; objects and cells are there because they were read."""
    return any(place.properties.get(name, "") is None for name in ("count", "class"))


def _tiles_of(scene: UploadedScene, task: str, side: int, area: Box | None) -> list[Tile]:
    """Those of the whole image's tiles that meet the area."""
    width, height = scene.picture.size
    tiles = cut(width, height, side, side // _DETECTION_OVERLAP if task == "detect" else 0)
    if area is None:
        return tiles
    x1, y1, x2, y2 = area
    boxes = [(tile, tile.inside(width, height)) for tile in tiles]
    return [tile for tile, box in boxes if box[0] < x2 and x1 < box[2] and box[1] < y2 and y1 < box[3]]


def _is_inside(place: Place, area: Box | None) -> bool:
    """Whether an object's centre lies in the area; tiles and cells that meet it stay whole."""
    if area is None or "kind" in place.properties:
        return True
    x, y = (place.box[0] + place.box[2]) / 2, (place.box[1] + place.box[3]) / 2
    return area[0] <= x <= area[2] and area[1] <= y <= area[3]


def _layer(
    scene: UploadedScene, asked: SceneQuestion, tiles: Sequence[Tile], answers: dict[str, Answer]
) -> layers.Layer:
    width, height = scene.picture.size
    if asked.task == "detect":
        return layers.objects(tiles, answers, width, height, _SAME_OBJECT, asked.least)
    return layers.grid(asked.task, asked.target, tiles, answers, width, height)


def _check_field(scene: UploadedScene, asked: SceneQuestion, field: tuple[str, AlphaEarth]) -> None:
    """Raises InputError where the field has nothing of the image."""
    if asked.year is None:
        raise InputError("Year: found none; expected that of the prior, as 2024, or no prior")
    if scene.geometry is None:
        raise InputError(f"{scene.name}: no place is known, and so no prior; type its bounds, or ask without a prior")
    grid = (_COVERAGE_GRID, _COVERAGE_GRID)
    spatiotemporal_anchors(scene.geometry, asked.year, source=field[1], grid=grid, resolution="match")


def _prior(scene: UploadedScene, asked: SceneQuestion, tile: Tile, field: AlphaEarth) -> Prior:
    """The anchors of a tile; none where the field has no data."""
    assert asked.year is not None
    grid = (ANCHORS_PER_SIDE, ANCHORS_PER_SIDE)
    return spatiotemporal_anchors(
        scene.geometry, asked.year, source=field, grid=grid, window=tile.window, missing="empty"
    )
