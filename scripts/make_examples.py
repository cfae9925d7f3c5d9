"""Write the demo's example scenes: python -m scripts.make_examples

Simulated scenes of the test split, so that the model has not trained on them: a GeoTIFF of grey levels each, a
thumbnail, a prior, and examples.json, which says what is truly there and which question each is for. Beside them lies a
simulated AlphaEarth field of the same places, in the layout of the published one, so that anchors can be fetched
without a network. The places are free choices on coasts and plains; what the scenes show is not there.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84, project
from fusargpt.geo.prior import save_prior
from fusargpt.simulator.records import SPLIT_SEEDS, answer
from fusargpt.simulator.rendering import render_sar
from fusargpt.simulator.simulated_scene import RESOLUTION_M, Scene, simulate_scene
from fusargpt.simulator.vector_field import VectorField
from fusargpt.simulator.world_files import north_up_grid
from fusargpt.tasks.target_names import plural

FOLDER = Path(__file__).parents[1] / "space_app" / "examples"
YEAR = 2024
ANCHORS_PER_SIDE = 8
_AEF_PIXEL_M = 10.0


@dataclass(frozen=True)
class Example:
    """A seed counted from the split's first, a UTM zone with a place in it, and the question that the scene is for."""

    name: str
    seed: int
    crs: str
    zone: str
    lonlat: tuple[float, float]
    task: str
    target: str


# Each is for a question that the default model answers as the truth has it, which a test holds.
EXAMPLES = (
    Example("harbour", 2, "EPSG:32632", "32N", (8.05, 53.57), "count", "ship"),
    Example("airfield", 64, "EPSG:32614", "14N", (-99.05, 38.45), "detect", "aircraft"),
    Example("inland", 260, "EPSG:32720", "20S", (-61.40, -33.20), "describe", "ship"),
)


def make_examples(folder: Path) -> None:
    """Write the scenes, their field and their list into `folder`; what is there under the same names is replaced."""
    scenes = [simulate_scene(SPLIT_SEEDS["test"] + example.seed) for example in EXAMPLES]
    places = [_geometry(example, scene) for example, scene in zip(EXAMPLES, scenes, strict=True)]
    field = folder / "aef"
    for example, scene, (geometry, transform) in zip(EXAMPLES, scenes, places, strict=True):
        _write_scene(folder, example, scene, transform)
        _write_tile(field, example, scene, geometry)
    write_index(field)
    source = AlphaEarth(field)
    for example, (geometry, _) in zip(EXAMPLES, places, strict=True):
        grid = (ANCHORS_PER_SIDE, ANCHORS_PER_SIDE)
        save_prior(folder / f"{example.name}.npz", spatiotemporal_anchors(geometry, YEAR, source=source, grid=grid))
    listed = [_entry(example, scene) for example, scene in zip(EXAMPLES, scenes, strict=True)]
    (folder / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")


def _geometry(example: Example, scene: Scene) -> tuple[Geometry, Affine]:
    height, width = scene.region.shape
    x, y = np.round(project(WGS84, example.crs, np.array([example.lonlat]))[0] / _AEF_PIXEL_M) * _AEF_PIXEL_M
    transform = Affine(RESOLUTION_M, 0, x, 0, -RESOLUTION_M, y)
    return Geometry.from_affine(transform, example.crs, width, height), transform


def _write_scene(folder: Path, example: Example, scene: Scene, transform: Affine) -> None:
    # Grey levels, which are taken as they are: what the model is trained on is stretched between fixed limits.
    image = render_sar(scene)
    image.save(folder / f"{example.name}.png", optimize=True)
    with rasterio.open(
        folder / f"{example.name}.tif",
        "w",
        width=image.width,
        height=image.height,
        crs=example.crs,
        transform=transform,
        driver="GTiff",
        dtype="uint8",
        count=1,
        compress="deflate",
        predictor=2,
    ) as dataset:
        dataset.update_tags(ACQUISITION_DATETIME=f"{YEAR}-06-15T05:40:12Z", SENSOR="simulated")
        dataset.write(np.asarray(image), 1)
        dataset.set_band_description(1, "VV")


def _write_tile(field: Path, example: Example, scene: Scene, geometry: Geometry) -> None:
    grid, height, width = north_up_grid(geometry.bounds(), example.crs, _AEF_PIXEL_M)
    # South-up, as published tiles are.
    south = grid.f - height * _AEF_PIXEL_M
    transform = Affine(_AEF_PIXEL_M, 0, grid.c, 0, _AEF_PIXEL_M, south)
    codes = VectorField.of(scene, geometry, YEAR).tile(example.crs, transform, height, width)
    path = field / str(YEAR) / example.zone / f"{example.name}.tiff"
    write_tile(path, codes, crs=example.crs, transform=transform, overviews=False)


def _entry(example: Example, scene: Scene) -> dict[str, str]:
    return {
        "image": f"{example.name}.tif",
        "thumbnail": f"{example.name}.png",
        "prior": f"{example.name}.npz",
        "caption": f"{answer(scene, 'count', example.target)} {plural(example.target)}",
        "task": example.task,
        "target": example.target,
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    make_examples(FOLDER)
