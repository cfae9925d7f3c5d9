"""What is embedded, whatever it is: images, and where each of them lies."""

from typing import Protocol

from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.geojson import box_polygon
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.sar_scene import SarScene
from fusargpt.inference.questions import Answer, Failure, Item, Question

TASK = "embed"
"""Of the items."""
Box = tuple[int, int, int, int]
"""[x1, y1, x2, y2] in pixels of the image."""


class Source(Protocol):
    """Images to embed.

    Attributes:
        name: as outputs have it.
    """

    name: str

    def items(self) -> tuple[list[Item], list[Failure]]:
        """All that can be embedded, and what cannot. InputError where nothing can."""
        ...

    def read(self, item: Item) -> Question | Answer:
        """The image of an item with its prior, or why there is none. What it raises costs the item."""
        ...

    def box(self, item: Item, answer: Answer) -> Box:
        """Of an item in its image."""
        ...

    def outline(self, item: Item, box: Box) -> dict[str, object] | None:
        """Of a box on Earth as a GeoJSON geometry; None where no place is known."""
        ...


def acquisition_of(scene: SarScene) -> Acquisition:
    """What a scene says of itself."""
    return Acquisition(
        None if scene.geometry is None else scene.geometry.resolution_m(),
        scene.sensor or None,
        scene.polarization or None,
        scene.acquired,
    )


def outline_of(geometry: Geometry | None, box: Box) -> dict[str, object] | None:
    """A box of an image on Earth; None for an image without a place."""
    return None if geometry is None else box_polygon(geometry.to_lonlat, box)
