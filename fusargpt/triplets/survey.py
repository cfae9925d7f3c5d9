"""What has to be known of all scenes before the first chip is cut: where they lie, how large, what is annotated."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Bounds
from fusargpt.geo.remote import shown
from fusargpt.geo.tiling import chip_windows
from fusargpt.triplets.annotations import labels_of, read_boxes
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_files import open_scene
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.splits import Located


@dataclass(frozen=True)
class SceneFailure:
    """A scene that could not be built, and why, in one line."""

    row: SceneRow
    reason: str

    def __str__(self) -> str:
        return f"{self.row.origin}: {self.reason}"

    @staticmethod
    def of(row: SceneRow, error: Exception) -> "SceneFailure":
        """Of what went wrong: an InputError says it itself, from anything else it takes the type, too."""
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        reason, scene = " ".join(reason.split()), shown(row.scene)
        return SceneFailure(row, reason if scene in reason else f"{scene}: {reason}")


@dataclass(frozen=True)
class Surveyed:
    """What the headers of a scene say.

    Attributes:
        row: of the manifest.
        chips: into which it is to be cut.
        bounds: degrees, or None where it has no georeference.
        outline: its corners (longitude, latitude) in order, degrees; longitudes run on across the antimeridian.
        labels: classes of its annotations.
        inside: annotated objects that it shows.
        outside: polygons of its file that lie elsewhere.
    """

    row: SceneRow
    chips: int
    bounds: Bounds | None
    outline: tuple[tuple[float, float], ...]
    labels: frozenset[str]
    inside: int = 0
    outside: int = 0

    @property
    def located(self) -> Located:
        return Located(self.row.id, self.row.origin, self.bounds, self.row.split)


def survey(
    rows: Sequence[SceneRow], settings: BuildSettings, threads: int
) -> tuple[list[Surveyed], list[SceneFailure]]:
    """The scenes that can be opened, and the others; both in the order of `rows`. Reads headers and annotations."""

    def look(row: SceneRow) -> Surveyed | SceneFailure:
        try:
            return _look(row, settings)
        # Whatever it is, it must not cost the other scenes.
        except Exception as error:
            return SceneFailure.of(row, error)

    # Threads: this waits for files and servers more than it computes.
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        found = list(pool.map(look, rows))
    scenes = [item for item in found if isinstance(item, Surveyed)]
    failures = [item for item in found if isinstance(item, SceneFailure)]
    astray = _astray(scenes, {failure.row.boxes for failure in failures if isinstance(failure.row.boxes, str)})
    failures = sorted([*failures, *astray], key=lambda failure: failure.row.number)
    lost = {failure.row.number for failure in astray}
    return [scene for scene in scenes if scene.row.number not in lost], failures


def _astray(scenes: Sequence[Surveyed], unsure: Collection[str]) -> list[SceneFailure]:
    """The scenes whose file of polygons has none in any scene: it is of other places, and says nothing of these.

    Args:
        scenes: that can be opened.
        unsure: files that belong to others, too, of which it is not known what they show.
    """
    files: dict[str, list[Surveyed]] = {}
    for scene in scenes:
        if isinstance(scene.row.boxes, str) and scene.row.boxes not in unsure:
            files.setdefault(scene.row.boxes, []).append(scene)
    return [
        SceneFailure(
            scene.row,
            f"{path}: none of its {scene.outside:,} polygons lies in a scene of the manifest; expected [longitude, "
            "latitude], longitude first, of objects in the scenes",
        )
        for path, members in files.items()
        if not any(member.inside for member in members)
        for scene in members
        if scene.outside
    ]


def _look(row: SceneRow, settings: BuildSettings) -> Surveyed:
    with open_scene(row) as scene:
        width, height, geometry = scene.width, scene.height, scene.geometry
    labels, inside, outside = frozenset[str](), 0, 0
    if row.boxes is not None:
        labels = frozenset(labels_of(row.boxes, row.scene, width, height, settings.names))
        boxes = read_boxes(row.boxes, row.scene, width, height, geometry, settings.names)
        inside, outside = boxes.inside, boxes.outside
    outline = ()
    if geometry is not None:
        corners = geometry.to_lonlat(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
        longitudes = np.unwrap(corners[:, 0], period=360)
        outline = tuple(zip(longitudes.tolist(), corners[:, 1].tolist(), strict=True))
    return Surveyed(
        row=row,
        chips=len(chip_windows(width, height, settings.chip_size, settings.overlap)),
        bounds=None if geometry is None else geometry.bounds(),
        outline=outline,
        labels=labels,
        inside=inside,
        outside=outside,
    )
