"""Answers as GeoJSON (RFC 7946): what a detection boxes and a localization names, as polygons on Earth."""

from collections.abc import Mapping, Sequence
from typing import Any

from fusargpt.errors import naming
from fusargpt.geo.box_drawing import clip_box
from fusargpt.geo.geojson import box_polygon
from fusargpt.tasks.prompts import GRID_SIDE
from space_app.one_question import GivenAnswer
from space_app.scenes import UploadedScene


def feature_collection(scene: UploadedScene, answers: Sequence[GivenAnswer]) -> dict[str, Any]:
    """The outline of the image, and for each answer its boxes or cells, each with the question it answers.

    Raises:
        InputError: the image has no place, or a part of it lies nowhere on Earth.
    """
    width, height = scene.seen.size
    features = [_feature(scene, (0, 0, width, height), {"kind": "image", "name": scene.name})]
    for answer in answers:
        asked = {"question": answer.question, "anchors": answer.anchors, "answer": answer.text}
        if answer.boxes is None and answer.cells is None:
            features.append(_feature(scene, (0, 0, width, height), {"kind": "answer", **asked}))
        for cell in answer.cells or ():
            features.append(_feature(scene, _cell(cell, width, height), {"kind": "cell", "cell": cell, **asked}))
        for (box, label), score in answer.shown:
            if inside := clip_box(box, width, height):
                sure = {} if score is None else {"score": round(score, 4), "calibrated": answer.calibrated}
                properties = {"kind": "box", "label": label, **sure, "bbox_2d": box, **asked}
                features.append(_feature(scene, inside, properties))
    return {"type": "FeatureCollection", "fusargpt": {"read_as": scene.read_as}, "features": features}


def _cell(cell: int, width: int, height: int) -> tuple[float, float, float, float]:
    row, column = divmod(cell - 1, GRID_SIDE)
    x, y = width / GRID_SIDE, height / GRID_SIDE
    return column * x, row * y, (column + 1) * x, (row + 1) * y


def _feature(
    scene: UploadedScene, box: tuple[float, float, float, float], properties: Mapping[str, object]
) -> dict[str, object]:
    with naming(scene.name):
        return {"type": "Feature", "properties": properties, "geometry": box_polygon(scene.lonlat, box)}
