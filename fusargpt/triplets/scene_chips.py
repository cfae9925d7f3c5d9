"""From one scene to its chips as the model sees them: pictures with objects, anchors and the land cover beneath."""

import io
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.windows import Window

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.scene_prior import alpha_earth
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.embeddings import EMBEDDING_SIZE, quantize
from fusargpt.geo.geometry import WGS84
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_LONLAT, PRIOR_POSITIONS, Prior
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.tiling import chip_windows, resize
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.questions import box_order
from fusargpt.tasks.target_dimensions import TargetBox
from fusargpt.triplets.annotations import SceneBoxes, read_boxes
from fusargpt.triplets.boxes import PlacedBoxes, assign, scale
from fusargpt.triplets.cover import LandCover
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_files import Picture, open_scene
from fusargpt.triplets.settings import BuildSettings

_WITHOUT_ANCHORS = "to build such chips without anchors, choose missing_prior empty (--missing-prior empty)"


class ChipObject(TypedDict):
    """An object in the picture of a chip, in pixels of it."""

    bbox_2d: list[int]
    label: str
    fine_label: str


@dataclass(frozen=True)
class ChipImage:
    """One chip as the model sees it.

    Attributes:
        name: of the scene, and of the window where there are several.
        window: of the scene.
        picture: 8 bit, in the size in which the model sees it.
        objects: that belong to the chip.
        corners: of each of them (x, y) in pixels of the picture, also beyond its edges; empty for an upright box.
        cut: classes of which the chip shows parts of objects that are not its own.
    """

    name: str
    window: Window
    picture: Image.Image
    objects: list[ChipObject]
    corners: list[list[list[float]]]
    cut: tuple[str, ...]

    @property
    def labelled_boxes(self) -> list[LabelledBox]:
        return [LabelledBox(item["bbox_2d"], item["label"]) for item in self.objects]

    @property
    def target_boxes(self) -> list[TargetBox]:
        return [TargetBox(item["bbox_2d"], item["label"], item["fine_label"]) for item in self.objects]


@dataclass(frozen=True)
class SceneChips:
    """One open scene with all that its chips share; see `open_chips`."""

    scene: SarScene | Picture
    land_cover: LandCover | None
    row: SceneRow
    settings: BuildSettings
    windows: list[Window]
    stretch: Stretch | None
    boxes: SceneBoxes | None
    objects: PlacedBoxes
    crowds: PlacedBoxes
    year: int | None

    def image(self, number: int) -> ChipImage | None:
        """The chip of a window; None where too much of it is without data."""
        window = self.windows[number]
        if _share_without_data(*self.scene.read(window)) > self.settings.max_nodata:
            return None
        grey = Image.fromarray(self.scene.chip(window, stretch=self.stretch))
        width, height = self.settings.seen_size(*grey.size)
        name = self.row.id
        if len(self.windows) > 1:
            name += f"/x{window.col_off}y{window.row_off}"
        left, top = window.col_off, window.row_off
        edges = (left, top, left + window.width, top + window.height)
        boxes, cut = assign(self.objects.near(edges), edges, self.settings.min_visible, self.crowds.near(edges))
        factors = width / window.width, height / window.height
        placed = sorted(
            ((list(scale(box, *factors, width, height)), box) for box in boxes), key=lambda pair: box_order(pair[0])
        )
        objects: list[ChipObject] = [
            {"bbox_2d": edges, "label": box.label, "fine_label": box.fine_label} for edges, box in placed
        ]
        corners = [[[x * factors[0], y * factors[1]] for x, y in box.corners] for _, box in placed]
        return ChipImage(name, window, resize(grey, (width, height)), objects, corners, cut)

    def fields(self, image: ChipImage) -> dict[str, Any]:
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
            "corners": image.corners,
        }

    def cover(self, image: ChipImage) -> NDArray[np.int8] | None:
        """Land cover beneath the picture's pixels, as `LandCover.beneath` has it; None without a raster of it."""
        if self.land_cover is None or self.scene.geometry is None:
            return None
        size = image.picture.height, image.picture.width
        return self.land_cover.beneath(self.scene.geometry, image.window, size)

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


@contextmanager
def open_chips(row: SceneRow, settings: BuildSettings) -> Generator[SceneChips]:
    """The chips of a scene; no more of it is in memory than one of them.

    Raises:
        InputError: anything about the scene, its boxes or land cover that is not as it should be.
    """
    with ExitStack() as stack:
        scene = stack.enter_context(open_scene(row))
        cover = None if row.land_cover is None else stack.enter_context(LandCover(row.land_cover))
        if cover is not None and scene.geometry is None:
            raise InputError("land_cover for a scene without georeference; leave it out")
        boxes = None
        if row.boxes is not None:
            boxes = read_boxes(row.boxes, row.scene, scene.width, scene.height, scene.geometry, settings.names)
        placed = boxes or SceneBoxes(())
        yield SceneChips(
            scene=scene,
            land_cover=cover,
            row=row,
            settings=settings,
            windows=chip_windows(scene.width, scene.height, settings.chip_size, settings.overlap),
            stretch=scene.stretch(),
            boxes=boxes,
            objects=PlacedBoxes(placed.boxes),
            crowds=PlacedBoxes(placed.crowds),
            year=row.year or (scene.acquired.year if scene.acquired else None),
        )


def _share_without_data(values: np.ndarray, valid: NDArray[np.bool_]) -> float:
    """Share of a chip's pixels that show nothing: without data, or all of one value."""
    seen = values[valid]
    return 1.0 if not seen.size or (seen == seen[0]).all() else 1 - seen.size / values.size


def _empty_prior() -> Prior:
    return Prior(np.zeros((0, EMBEDDING_SIZE), np.float32), np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float64))
