"""An image searched by words: its tiles embedded as they come, within the page's time, and kept for the next words."""

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.heat_map import heat_map
from fusargpt.embedding.ranking import best_rows, scores
from fusargpt.errors import InputError, naming
from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.image import MIN_SIDE
from fusargpt.geo.prior import Prior
from fusargpt.scenes.tiles import cut
from space_app.accelerator import on_gpu
from space_app.drawing import enlarge
from space_app.limits import MAX_TILES, MAX_WORDS
from space_app.scenes import UploadedScene

SHOWN = 10
"""Of the best tiles, listed and framed."""
_BATCH = 16
_LONGEST_SIDE = 2048
_KEPT = 8
"""Images whose vectors are remembered: 1,024 of 64 numbers are 256 kB."""
_WAITING_SECONDS = 0.5

Box = tuple[int, int, int, int]
State = Literal["searching", "whole", "out of time"]


@dataclass(frozen=True, eq=False)
class Searched:
    """An image as far as it has been searched.

    Attributes:
        scene: the image.
        words: that were searched for.
        side: of a tile in pixels.
        tiles: of the whole image.
        boxes: int32 [N, 4] of those with a score.
        scores: float32 [N].
        anchors: of the prior; None without one.
        state: whether more comes, and if not, why.
        unknown: words that the model does not know.
    """

    scene: UploadedScene
    words: str
    side: int
    tiles: int
    boxes: NDArray[np.int32]
    scores: NDArray[np.float32]
    anchors: int | None
    state: State
    unknown: tuple[str, ...]

    @property
    def best(self) -> list[int]:
        """Rows of the best tiles, the best first."""
        return best_rows(self.scores, SHOWN).tolist()

    def draw(self) -> Image.Image:
        """The heat map over the image, at most 2,048 pixels on a side."""
        picture = enlarge(self.scene.picture)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        return heat_map(picture, self.scene.picture.size, self.boxes, self.scores, self.best, self.words)

    def as_json(self) -> dict[str, Any]:
        """What was found, best first; boxes in pixels of the file, centres in degrees or None."""
        found: list[dict[str, Any]] = []
        for rank, row in enumerate(self.best, 1):
            box = self.boxes[row].tolist()
            told = {"rank": rank, "score": round(float(self.scores[row]), 4), "bbox_pixels": box}
            found.append({**told, "centre": self._centre(box)})
        return {
            "image": self.scene.name,
            "read_as": self.scene.read_as,
            "words": self.words,
            "unknown": list(self.unknown),
            "tile": self.side,
            "tiles": self.tiles,
            "searched": len(self.scores),
            "anchors": self.anchors,
            "state": self.state,
            "found": found,
        }

    def feature_collection(self) -> dict[str, Any] | None:
        """All tiles with their scores as GeoJSON, the best with their ranks; None where no place is known.

        Raises:
            InputError: a part of the image lies nowhere on Earth.
        """
        geometry = self.scene.geometry
        if geometry is None:
            return None
        ranks = {row: rank for rank, row in enumerate(self.best, 1)}
        features: list[dict[str, Any]] = []
        for row, (box, score) in enumerate(zip(self.boxes.tolist(), self.scores.tolist(), strict=True)):
            properties = {"score": round(score, 4), "rank": ranks.get(row), "bbox_pixels": box}
            with naming(self.scene.name):
                polygon = box_polygon(geometry.to_lonlat, box, 1)
            features.append({"type": "Feature", "properties": properties, "geometry": polygon})
        about = {"words": self.words, "read_as": self.scene.read_as}
        return {"type": "FeatureCollection", "fusargpt": about, "features": features}

    def _centre(self, box: Sequence[int]) -> list[float] | None:
        if self.scene.geometry is None:
            return None
        x1, y1, x2, y2 = box
        lonlat = self.scene.geometry.to_lonlat(np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))
        return [round(float(degrees), 6) for degrees in lonlat[0]]


class SceneSearch:
    """Searches images with one model, one after the other.

    Args:
        embedder: the model.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        # The model is bound to the function, not handed over with each call: what is handed over goes to another
        # process where a GPU is lent.
        self._embed = on_gpu(self._batches)
        self._place = threading.Lock()
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], list[NDArray[np.float32]]] = OrderedDict()

    def search(
        self, key: object, scene: UploadedScene, words: str, prior: Prior | None, side: int | None, seconds: float
    ) -> Generator[Searched]:
        """The image so far, longer with every batch of tiles; the last one is whole or out of time.

        Args:
            key: of the image, as it was read, and its prior; vectors of the same one are not made again.
            scene: the image.
            words: to search for.
            prior: of the whole image; each tile has the anchors within it.
            side: of a tile in pixels; None takes the square that the model sees.
            seconds: after which no further tile is looked at.

        Raises:
            InputError: no words, too many, or none that the model knows; a tile that is too small; or too many tiles.
        """
        words = words.strip()
        vector = self._vector(words)
        side = self._side(scene, side)
        width, height = scene.picture.size
        boxes = sorted((tile.inside(width, height) for tile in cut(width, height, side, 0)), key=lambda box: box[1::-1])
        unknown = tuple(self.embedder.unknown_words(words))
        kept = self._kept_of((key, side))
        anchors = None if prior is None else len(prior.embeddings)

        def searched(state: State) -> Searched:
            vectors = np.concatenate(kept) if kept else np.zeros((0, len(vector)), np.float32)
            done = np.array(boxes[: len(vectors)], np.int32).reshape(-1, 4)
            return Searched(scene, words, side, len(boxes), done, scores(vectors, vector), anchors, state, unknown)

        ends = time.monotonic() + seconds
        yield searched("searching")
        while not self._place.acquire(timeout=_WAITING_SECONDS):
            yield searched("searching")
        try:
            left = boxes[sum(map(len, kept)) :]
            for vectors in self._embed(scene.picture, prior, left, side, ends):
                kept.append(vectors)
                yield searched("searching")
        finally:
            self._place.release()
        yield searched("whole" if sum(map(len, kept)) == len(boxes) else "out of time")

    def _batches(
        self, picture: Image.Image, prior: Prior | None, boxes: Sequence[Box], side: int, ends: float
    ) -> Generator[NDArray[np.float32]]:
        """Vectors of tiles, batch by batch; at least of the first."""
        for start in range(0, len(boxes), _BATCH):
            if start and time.monotonic() > ends:
                return
            batch = boxes[start : start + _BATCH]
            # Over the edge of the image it is black, as where there is no data.
            pictures = [picture.crop((left, top, left + side, top + side)) for left, top, _, _ in batch]
            priors = [None if prior is None else _part(prior, box, side, picture) for box in batch]
            yield self.embedder.images(pictures, priors)

    def _vector(self, words: str) -> NDArray[np.float32]:
        if not words:
            raise InputError("Write first what to search for, as: ships at anchor off a port.")
        if len(words) > MAX_WORDS:
            raise InputError(f"{len(words):,} characters; at most {MAX_WORDS}. Search for less at once.")
        return self.embedder.texts([words])[0]

    def _side(self, scene: UploadedScene, side: int | None) -> int:
        side = self.embedder.side if side is None else side
        if side < MIN_SIDE:
            raise InputError(f"Tile: found {side} pixels; expected {MIN_SIDE} or more")
        width, height = scene.picture.size
        tiles = _count(width, height, side)
        if tiles > MAX_TILES:
            fits = next(number for number in range(side, width + height) if _count(width, height, number) <= MAX_TILES)
            raise InputError(
                f"Tile: {side} pixels make {tiles:,} tiles of this image; this page searches {MAX_TILES:,}. Choose "
                f"{fits} pixels or more"
            )
        return side

    def _kept_of(self, key: tuple[object, ...]) -> list[NDArray[np.float32]]:
        """Vectors of the first tiles of an image, to which further ones are added; the oldest images are forgotten."""
        with self._lock:
            kept = self._kept.setdefault(key, [])
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept


def _count(width: int, height: int, side: int) -> int:
    return -(-width // side) * -(-height // side)


def _part(prior: Prior, box: Box, side: int, picture: Image.Image) -> Prior | None:
    """The anchors within a tile; None where there are none."""
    left, top, _, _ = box
    part = prior.within((left, top, left + side, top + side), picture.width, picture.height)
    return part if len(part.embeddings) else None
