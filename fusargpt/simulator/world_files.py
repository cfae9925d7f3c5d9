"""Files of one simulated place, in the forms that users bring: SAR rasters, land cover, boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84, project
from fusargpt.simulator.simulated_scene import Scene, Target
from fusargpt.simulator.world_plan import Place

SENSOR = "simulated SAR"
COVER_NODATA = 255
NODATA_DB = -99.0
_AMPLITUDE_SCALE = 1000.0  # digital number of 0 dB
_CONTROL_POINTS = (6, 11)  # rows and columns of a grid over the scene, as Sentinel-1 products have one
_COVER_DEGREES = 9e-5  # about 10 m
_TILED = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}


def polarizations(place: Place) -> tuple[str, ...]:
    """One a band of the place's raster."""
    return ("VV", "VH") if place.storage in ("control points", "dual decibels") else ("VV",)


def data_mask(place: Place) -> NDArray[np.bool_]:
    """Where the scene holds data, bool [H, W]: not on the left border, which is slanted as orbits are."""
    valid = np.ones((place.height, place.width), bool)
    if place.storage in ("decibels", "control points"):
        widths = np.linspace(0.02, 0.07, place.height) * place.width
        valid &= np.arange(place.width) >= np.round(widths)[:, None]
    return valid


def write_scene(path: Path, place: Place, backscatter: Sequence[NDArray[np.float64]]) -> None:
    """Write the SAR raster.

    Args:
        path: of the file.
        place: says how values and georeference are stored.
        backscatter: dB [H, W] of each polarization.
    """
    amplitude = place.storage in ("rotated amplitude", "control points")
    valid = data_mask(place)
    profile: dict[str, Any] = {
        **_TILED,
        "width": place.width,
        "height": place.height,
        "count": len(backscatter),
        "dtype": "uint16" if amplitude else "float32",
        "predictor": 2 if amplitude else 3,
    }
    if place.storage == "control points":
        # As Sentinel-1 products: no transform, no CRS of one, and zeros without a word where there is no data.
        profile |= {"gcps": _control_points(place), "crs": CRS.from_string(WGS84)}
    else:
        profile |= {"transform": place.transform, "crs": place.crs, "nodata": 0 if amplitude else NODATA_DB}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.update_tags(ACQUISITION_DATETIME=f"{place.acquired}T05:40:12Z", SENSOR=SENSOR)
        for band, (name, decibels) in enumerate(zip(polarizations(place), backscatter, strict=True), start=1):
            if amplitude:
                digital = np.clip(np.rint(_AMPLITUDE_SCALE * 10 ** (decibels / 20)), 1, 65535).astype(np.uint16)
                values = np.where(valid, digital, np.uint16(0))
            else:
                values = np.where(valid, decibels.astype(np.float32), np.float32(NODATA_DB))
            dataset.write(values, band)
            dataset.set_band_description(band, name)


def write_land_cover(path: Path, place: Place, ground: Scene) -> None:
    """Write Dynamic World classes of the ground, uint8, nodata 255, 10 m; in UTM, or degrees for every third place."""
    geometry = place.ground_geometry
    if place.seed % 3 == 2:
        west, south, east, north = geometry.bounds()
        step = _COVER_DEGREES
        transform, crs = Affine(step, 0, west, 0, -step, north), WGS84
        height, width = int((north - south) / step) + 1, int((east - west) / step) + 1
    else:
        transform, height, width = north_up_grid(geometry.bounds(), place.crs, step=10.0)
        crs = place.crs
    rows, columns = np.indices((height, width), np.float64)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], -1)
    found = geometry.to_pixel(Geometry.from_affine(transform, crs, width, height).to_lonlat(centres))
    inside = ((found >= 0) & (found < ground.region.shape[::-1])).all(1)
    cover = np.full(height * width, COVER_NODATA, np.uint8)
    x, y = found[inside].astype(np.int64).T
    cover[inside] = ground.landcover[ground.region[y, x]]
    profile: dict[str, Any] = {
        **_TILED,
        "width": width,
        "height": height,
        "count": 1,
        "dtype": "uint8",
        "nodata": COVER_NODATA,
    }
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform) as dataset:
        dataset.write(cover.reshape(height, width), 1)


def north_up_grid(bounds: tuple[float, float, float, float], crs: str, step: float) -> tuple[Affine, int, int]:
    """Transform, height and width of a north-up raster that covers `bounds` (degrees) in whole steps of `crs`."""
    west, south, east, north = bounds
    steps = np.linspace(0, 1, 9)
    edges = [(west + (east - west) * t, latitude) for t in steps for latitude in (south, north)]
    edges += [(longitude, south + (north - south) * t) for t in steps for longitude in (west, east)]
    corners = project(WGS84, crs, np.array(edges)) / step
    left, bottom = np.floor(corners.min(0))
    right, top = np.ceil(corners.max(0))
    return Affine(step, 0, left * step, 0, -step, top * step), int(top - bottom), int(right - left)


def polygon(target: Target, geometry: Geometry) -> list[list[float]]:
    """The corners of a target's box, [longitude, latitude] each."""
    x1, y1, x2, y2 = target.box
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    return geometry.to_lonlat(corners).tolist()


def inline_boxes(scene: Scene, geometry: Geometry | None) -> list[dict[str, object]]:
    """Boxes as a JSONL manifest holds them: in pixels, or with a `geometry` as polygons."""
    return [
        {
            **({"bbox_2d": list(target.box)} if geometry is None else {"polygon": polygon(target, geometry)}),
            "label": target.label,
            "fine_label": target.fine_label,
        }
        for target in scene.targets
    ]


def features(scene: Scene, geometry: Geometry) -> list[dict[str, object]]:
    """The boxes as GeoJSON features."""
    return [
        {
            "type": "Feature",
            "properties": {"label": target.label, "fine_label": target.fine_label},
            "geometry": {"type": "Polygon", "coordinates": [[*(ring := polygon(target, geometry)), ring[0]]]},
        }
        for target in scene.targets
    ]


def write_voc(path: Path, file_name: str, scene: Scene) -> None:
    """Write the boxes as a PASCAL VOC file, edges in pixels."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    size = ElementTree.SubElement(root, "size")
    for name, value in zip(("width", "height", "depth"), (*scene.region.shape[::-1], 1), strict=True):
        ElementTree.SubElement(size, name).text = str(value)
    for target in scene.targets:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = target.label
        box = ElementTree.SubElement(item, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), target.box, strict=True):
            ElementTree.SubElement(box, name).text = str(value)
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root) + b"\n")


def coco(images: Sequence[tuple[str, Scene]]) -> dict[str, object]:
    """One COCO file of several scenes, by file name."""
    labels = ("ship", "aircraft")
    annotations = [
        {
            "id": 0,
            "image_id": number,
            "category_id": labels.index(target.label) + 1,
            "bbox": [target.box[0], target.box[1], target.box[2] - target.box[0], target.box[3] - target.box[1]],
            "iscrowd": 0,
        }
        for number, (_, scene) in enumerate(images, start=1)
        for target in scene.targets
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {
        "images": [
            {"id": number, "file_name": name, "width": scene.region.shape[1], "height": scene.region.shape[0]}
            for number, (name, scene) in enumerate(images, start=1)
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, start=1)],
        "annotations": annotations,
    }


def _control_points(place: Place) -> list[GroundControlPoint]:
    down, across = _CONTROL_POINTS
    rows, columns = np.meshgrid(np.linspace(0, place.height, down), np.linspace(0, place.width, across), indexing="ij")
    pixels = np.stack([columns.ravel(), rows.ravel()], -1)
    places = place.geometry.to_lonlat(pixels)
    return [
        GroundControlPoint(row=float(y), col=float(x), x=float(longitude), y=float(latitude), z=0.0, id=str(number))
        for number, ((x, y), (longitude, latitude)) in enumerate(zip(pixels, places, strict=True), start=1)
    ]
