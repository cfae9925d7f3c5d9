"""What a model said about a scene, and the forms in which others take it."""

import html
import json
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.windows import Window

from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.radiometry import Stretch
from fusargpt.geo.reading import Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.scene_picture import ScenePicture, scene_picture
from fusargpt.inference.questions import Failure
from fusargpt.installation import command_for
from fusargpt.scenes import quicklook, writing
from fusargpt.scenes.layers import Place
from fusargpt.scenes.output_crs import check_output_crs
from fusargpt.scenes.quicklook import Drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class SceneFile:
    """How the scene of a result is read again: its path, how it was read, its grey levels and the part that counts."""

    path: str
    reading: Reading
    stretch: Stretch | None
    window: Window

    def picture(self) -> ScenePicture:
        """Raises InputError for a scene that cannot be read any more."""
        with SarScene.open(self.path, self.reading) as scene:
            return scene_picture(scene, self.stretch, self.window)


@dataclass(frozen=True)
class SceneResult:
    """What a model said about a scene.

    Attributes:
        places: the objects of a detection, or the tiles (and cells) of a layer.
        problems: a line for each answer that could not be read in whole.
        failures: tiles without an answer.
        width: of the scene in pixels.
        height: likewise.
        geometry: None where the scene has no georeference.
        provenance: scene, model, prior, options, and how many tiles were asked and skipped; plain JSON.
        source: of which pictures are made.
        drawn: what stands on them beside the places.
        files: that were written.
    """

    places: list[Place]
    problems: list[str]
    failures: list[Failure]
    width: int
    height: int
    geometry: Geometry | None
    provenance: dict[str, Any]
    source: SceneFile = field(repr=False)
    drawn: Drawn = field(repr=False)
    files: tuple[Path, ...] = ()

    def feature_collection(self, decimals: int = writing.DECIMALS) -> dict[str, Any]:
        """GeoJSON, with so many decimals of degrees.

        Raises:
            InputError: the scene has no georeference.
        """
        if self.geometry is None:
            raise InputError(f"{self.provenance['scene']}: no georeference, and so no map")
        return writing.feature_collection(self.places, self.geometry, self.provenance, decimals)

    def coco(self) -> dict[str, object]:
        """COCO detection JSON of one image; of a detection alone."""
        return writing.coco(self.places, self.width, self.height, self.provenance)

    def layer(self) -> dict[str, Any]:
        """The places of the other tasks in pixels of the scene, as JSON."""
        return writing.layer_in_pixels(self.places, self.width, self.height, self.provenance)

    def to_gdf(self, crs: str | None = None) -> Any:
        """A geopandas.GeoDataFrame: a row for each place, with the columns of the files.

        Args:
            crs: of the geometries, as "EPSG:32611"; None has WGS84 longitude and latitude.

        Raises:
            InputError: the scene has no georeference, an unknown CRS, or geopandas is not installed.
        """
        geopandas = _imported("geopandas", "to_gdf", command_for("maps"))
        table = writing.Table.of(self.feature_collection(writing.EXACT), crs and check_output_crs(crs))
        return geopandas.GeoDataFrame(table.columns, geometry=table.shapes, crs=table.crs)

    def to_supervision(self) -> Any:
        """A supervision.Detections of the boxes in pixels of the scene.

        `xyxy` float32 [N, 4], `class_id` int [N] by the sorted labels, `confidence` float32 [N] where all boxes have
        scores, and `data["class_name"]`.

        Raises:
            InputError: not a detection, or supervision is not installed.
        """
        if self.provenance["task"] != "detect":
            raise InputError(f"to_supervision: found the places of {self.provenance['task']}; expected those of detect")
        # It brings video codecs under the GPL, and so is no extra of this package.
        supervision = _imported("supervision", "to_supervision", "pip install supervision")
        labels = [place.properties["label"] for place in self.places]
        scores = [place.properties.get("score") for place in self.places]
        names = sorted(set(labels))
        return supervision.Detections(
            xyxy=np.array([place.box for place in self.places], np.float32).reshape(-1, 4),
            confidence=np.array(scores, np.float32) if scores and None not in scores else None,
            class_id=np.array([names.index(label) for label in labels], int),
            data={"class_name": np.array(labels, str)},
        )

    def to_folium(self) -> Any:
        """A folium.GeoJson layer in the colours of the quick-look, each place with what is said of it.

        `layer.add_to(folium.Map())` shows it, `map.fit_bounds(layer.get_bounds())` where it is.

        Raises:
            InputError: the scene has no georeference, or folium is not installed.
        """
        folium = _imported("folium", "to_folium", command_for("maps"))
        collection = self.feature_collection()
        numbers = quicklook.description_numbers(self.places)
        told = _TOLD[self.provenance["task"]]
        for feature, place in zip(collection["features"], self.places, strict=True):
            mark = quicklook.mark_of(place, self.drawn, numbers)
            shown = {name: feature["properties"].get(name) for name in told}
            # The texts of models and of files become part of a page.
            feature["properties"] = {
                name: "" if value is None else html.escape(str(value)) for name, value in shown.items()
            } | {"style": _style(mark)}
        tooltip = folium.GeoJsonTooltip(fields=list(told), sticky=True) if collection["features"] else None
        return folium.GeoJson(
            json.dumps({"type": "FeatureCollection", "features": collection["features"]}),
            name=self.provenance["task"],
            style_function=lambda feature: feature["properties"]["style"],
            tooltip=tooltip,
        )

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """The scene with its places in matplotlib axes, in pixels of the scene; returns the axes.

        Args:
            axes: to draw in; None makes a figure.

        Raises:
            InputError: the scene cannot be read any more, or matplotlib is not installed.
        """
        _imported("matplotlib", "plot", command_for("maps"))
        from fusargpt.scenes.plotting import plot

        return plot(self.source.picture(), self.places, self.drawn, axes)


_OF_BOXES = ("label", "score", "length_m", "width_m", "heading_deg", "heading_within_deg", "cut")
_OF_TILES = ("confidence", "kind", "skipped", "tile")
_TOLD = {
    "detect": _OF_BOXES,
    "count": ("count", "count_low", "count_high", *_OF_TILES),
    "localize": ("cells", "cell", *_OF_TILES),
    "classify": ("class", *_OF_TILES),
    "describe": ("description", *_OF_TILES),
}
"""What a map shows of a place."""


def _style(mark: quicklook.Mark) -> dict[str, object]:
    """As Leaflet paths have it; hatching is dashed there."""
    colour = "#{:02x}{:02x}{:02x}".format(*mark.colour)
    weight, dashes = max(mark.line, 1), {"dashArray": "4 4"} if mark.hatched else {}
    return {"color": colour, "weight": weight, "fillColor": colour, "fillOpacity": mark.fill / 255, **dashes}


def _imported(package: str, method: str, command: str) -> Any:
    """Raises InputError that says how a package is installed which this method alone needs."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise InputError(f"{method} needs {package}; this brings it: {command}") from error
