"""From one scene to its triplets: chips with anchors, questions and descriptions. The same on one machine and on many.

A chip gives up to two kinds of rows, for the two configs of the dataset:

- `captions`: one row, when the manifest has a caption and the scene is one chip, or when there is land cover to write
  a description from. A caption of a scene that is cut into several chips is true of none of them and is not used.
- `instructions`: a row for each question, when the scene's objects were annotated. A chip that shows less than half of
  an object is asked nothing about its class, see `fusargpt.triplets.boxes`, and no description is written for it.
"""

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.block_cache import BlockCache
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.embeddings import EMBEDDING_SIZE, quantize
from fusargpt.geo.geometry import WGS84
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS, Prior
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.remote import is_remote
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.tiling import chip_windows, resize
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import describe_place
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import box_order, conversation, questions_about
from fusargpt.tasks.stable_random import share, whole_number
from fusargpt.tasks.target_dimensions import TargetBox, TargetDescription, describe_targets
from fusargpt.triplets.annotations import SceneBoxes, read_boxes
from fusargpt.triplets.boxes import assign, scale
from fusargpt.triplets.cover import LandCover
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_files import Picture, open_scene
from fusargpt.triplets.settings import BuildSettings

BUILDER_VERSION = 3
"""Raised by every change of what a scene yields, so that parts of an earlier release are not mixed in."""
CHIPS_PER_PART = 256
"""What one worker does at a time of a large scene."""
_WITHOUT_ANCHORS = "to build such chips without anchors, add --missing-prior empty"


@dataclass(frozen=True)
class Part:
    """A stretch of one scene's chips.

    Attributes:
        row: of the manifest.
        targets: the classes that the annotations of the whole dataset cover.
        first: number of the first chip, counting row by row.
        last: number after the last chip.
    """

    row: SceneRow
    targets: tuple[str, ...]
    first: int
    last: int


@dataclass
class Chip:
    """The rows of one chip for each config, what was counted, and, of a part's first, what its scene was read as."""

    captions: list[dict[str, object]] = field(default_factory=list)
    instructions: list[dict[str, object]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    read_as: str = ""


def chips_of(part: Part, settings: BuildSettings) -> Iterator[Chip]:
    """The chips of a part one after the other; of the scene no more is in memory than one of them.

    Raises:
        InputError: anything about the scene, its boxes, land cover or anchors that is not as it should be.
    """
    with ExitStack() as stack:
        scene = stack.enter_context(open_scene(part.row))
        cover = None if part.row.land_cover is None else stack.enter_context(LandCover(part.row.land_cover))
        if cover is not None and scene.geometry is None:
            raise InputError("land_cover for a scene without georeference; leave it out")
        cutter = _Cutter.of(scene, cover, part, settings)
        for number in range(part.first, part.last):
            yield cutter.chip(number)


class _Object(TypedDict):
    """An object in the picture of a chip, in pixels of it."""

    bbox_2d: list[int]
    label: str
    fine_label: str


@dataclass(frozen=True)
class _Image:
    """One chip as the model sees it: its name, window of the scene, picture and objects."""

    name: str
    window: Window
    picture: Image.Image
    objects: list[_Object]
    cut: tuple[str, ...]

    @property
    def labelled_boxes(self) -> list[LabelledBox]:
        return [LabelledBox(item["bbox_2d"], item["label"]) for item in self.objects]


@dataclass(frozen=True)
class _Cutter:
    """One open scene with all that its chips share."""

    scene: SarScene | Picture
    cover: LandCover | None
    part: Part
    settings: BuildSettings
    windows: list[Window]
    stretch: Stretch | None
    boxes: SceneBoxes | None
    year: int | None

    @staticmethod
    def of(scene: SarScene | Picture, cover: LandCover | None, part: Part, settings: BuildSettings) -> "_Cutter":
        row, width, height = part.row, scene.width, scene.height
        boxes = None
        if row.boxes is not None:
            boxes = read_boxes(row.boxes, row.scene, width, height, scene.geometry, settings.names)
        return _Cutter(
            scene=scene,
            cover=cover,
            part=part,
            settings=settings,
            windows=chip_windows(width, height, settings.chip_size, settings.overlap),
            stretch=scene.stretch(),
            boxes=boxes,
            year=row.year or (scene.acquired.year if scene.acquired else None),
        )

    def chip(self, number: int) -> Chip:
        window = self.windows[number]
        outside = self.boxes.outside if self.boxes is not None and number == 0 else 0
        counts = Counter({"polygons outside their scene": outside})
        read_as = str(self.scene.read_as(stretch=self.stretch)) if number == self.part.first else ""
        if _share_without_data(*self.scene.read(window)) > self.settings.max_nodata:
            return Chip(counts=counts + Counter({"chips without enough data": 1}), read_as=read_as)
        image = self._image(window)
        chip = Chip(
            read_as=read_as, counts=counts + Counter({"chips": 1, "chips with cut objects": int(bool(image.cut))})
        )
        fields = self._fields(image)
        chip.counts["chips without anchors"] += not fields[PRIOR_POSITIONS]
        self._describe(chip, image, fields)
        self._ask(chip, image, fields)
        return chip

    def _image(self, window: Window) -> _Image:
        grey = Image.fromarray(self.scene.chip(window, stretch=self.stretch))
        width, height = self.settings.seen_size(*grey.size)
        name = self.part.row.id
        if len(self.windows) > 1:
            name += f"/x{window.col_off}y{window.row_off}"
        left, top = window.col_off, window.row_off
        edges = (left, top, left + window.width, top + window.height)
        found = self.boxes or SceneBoxes(())
        boxes, cut = assign(found.boxes, edges, self.settings.min_visible, found.crowds)
        factors = width / window.width, height / window.height
        objects: list[_Object] = [
            {"bbox_2d": list(scale(box, *factors, width, height)), "label": box.label, "fine_label": box.fine_label}
            for box in boxes
        ]
        objects.sort(key=lambda item: box_order(item["bbox_2d"]))
        return _Image(name, window, resize(grey, (width, height)), objects, cut)

    def _fields(self, image: _Image) -> dict[str, Any]:
        """The columns that all rows of a chip share."""
        geometry, acquired, prior = self.scene.geometry, self.scene.acquired, self._prior(image.window)
        encoded = io.BytesIO()
        image.picture.save(encoded, format="PNG")
        shrunk = (image.window.width * image.window.height / (image.picture.width * image.picture.height)) ** 0.5
        return {
            "image": {"bytes": encoded.getvalue(), "path": None},
            PRIOR_EMBEDDINGS: quantize(prior.embeddings).tolist(),
            PRIOR_POSITIONS: prior.positions.tolist(),
            PRIOR_LONLAT: [] if prior.lonlat is None else prior.lonlat.tolist(),
            "year": self.year,
            "bounds": None if geometry is None else list(geometry.bounds(image.window)),
            "crs": "" if geometry is None else WGS84,
            "sensor": self.scene.sensor,
            "polarization": self.scene.polarization,
            "resolution_m": None if geometry is None else geometry.resolution_m(image.window) * shrunk,
            "acquired": acquired.isoformat() if acquired else "",
            "objects": image.objects,
        }

    def _prior(self, window: Window) -> Prior:
        settings = self.settings
        if settings.aef is None or (self.year is None and settings.missing_prior == "empty"):
            return _empty_prior()
        if self.year is None:
            reason = "no anchors, because the scene has no date; name one as acquired or year"
            raise NoPriorError(f"{reason}; {_WITHOUT_ANCHORS}")
        try:
            return spatiotemporal_anchors(
                self.scene.geometry,
                self.year,
                source=alpha_earth(settings.aef),
                grid=None if settings.anchors is None else (settings.anchors, settings.anchors),
                spacing_m=settings.anchor_spacing_m,
                window=window,
                resolution=settings.resolution,
                missing=settings.missing_prior,
            )
        except NoPriorError as error:
            raise NoPriorError(f"{error}; {_WITHOUT_ANCHORS}") from error

    def _describe(self, chip: Chip, image: _Image, fields: dict[str, Any]) -> None:
        caption, description = self.part.row.caption, None
        if caption is not None and len(self.windows) > 1:
            chip.counts["captions not used"] += 1
            caption = None
        geometry, classes = self.scene.geometry, None
        wanted = caption is None or self.boxes is not None
        if wanted and self.cover is not None and geometry is not None and not image.cut:
            classes = self.cover.beneath(geometry, image.window, (image.picture.height, image.picture.width))
        if caption is None and classes is not None:
            written = describe_place(classes, image.labelled_boxes, fields["resolution_m"])
            caption, description = written.text(whole_number(image.name, "describe")), asdict(written)
        if caption is not None:
            question = prompt("describe", wording=whole_number(image.name, "describe", "wording"))
            targets = self._describe_targets(image, classes, fields["resolution_m"])
            columns = {
                **conversation("describe", question, caption),
                "description": description,
                "target_description": None if targets is None else asdict(targets),
            }
            chip.captions.append({"id": f"{image.name}/describe", **fields, **columns})

    def _describe_targets(
        self, image: _Image, classes: NDArray[np.integer] | None, resolution_m: float | None
    ) -> TargetDescription | None:
        """None where the scene's objects were not annotated, or the chip shows parts of some only."""
        if self.boxes is None or image.cut:
            return None
        targets = [TargetBox(item["bbox_2d"], item["label"], item["fine_label"]) for item in image.objects]
        return describe_targets(targets, image.picture.size, classes, resolution_m)

    def _ask(self, chip: Chip, image: _Image, fields: dict[str, Any]) -> None:
        if self.boxes is None:
            return
        if not image.objects and not image.cut and share(image.name, "empty") >= self.settings.keep_empty:
            chip.counts["chips without objects, left out"] += 1
            return
        size = image.picture.size
        for question in questions_about(image.name, image.labelled_boxes, image.cut, self.part.targets, *size):
            key = "-".join(filter(None, (question.task, question.target)))
            columns = conversation(question.task, question.prompt, question.answer)
            chip.instructions.append({"id": f"{image.name}/{key}", **fields, **columns})


def _share_without_data(values: np.ndarray, valid: NDArray[np.bool_]) -> float:
    """Share of a chip's pixels that show nothing: without data, or all of one value."""
    seen = values[valid]
    return 1.0 if not seen.size or (seen == seen[0]).all() else 1 - seen.size / values.size


def _empty_prior() -> Prior:
    return Prior(np.zeros((0, EMBEDDING_SIZE), np.float32), np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float64))


@lru_cache(maxsize=1)
def alpha_earth(root: str) -> AlphaEarth:
    """One for each process: it keeps its tiles open. What comes from a server is kept on disk for all of them."""
    return AlphaEarth(root, BlockCache() if is_remote(root) else None)
