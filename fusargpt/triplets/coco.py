"""Annotations of many images in one JSON file, as COCO has them.

Ids are the same whether they are numbers or texts of numbers. What is marked `iscrowd` (or `ignore`) stands for an
unknown number of objects.
"""

from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from fusargpt.errors import InputError
from fusargpt.triplets.annotation_checks import check_size, finite_number

_FLAGS: dict[Any, bool] = {0: False, 1: True, "0": False, "1": True}
_CROWD = ("iscrowd", "ignore")


class Coco:
    """A file of annotations, by image.

    Raises:
        InputError: what is no COCO, ids that are there twice, or an annotation of an image that is not in the file.
    """

    def __init__(self, path: str, content: Mapping[str, Any]) -> None:
        self._path = path
        self._categories = _by_id(path, content, "categories")
        self._images = _by_id(path, content, "images")
        self._named: dict[str, list[int | str]] = {}
        for key, image in self._images.items():
            self._named.setdefault(_file_name(_of(path, "images", image, "file_name")), []).append(key)
        self._annotations: dict[int | str, list[tuple[str, Mapping[str, Any]]]] = {}
        for number, annotation in enumerate(_list(path, content, "annotations"), start=1):
            origin = f"annotations, number {number}"
            key = _id(path, origin, "image_id", _of(path, origin, annotation, "image_id"))
            if key not in self._images:
                raise InputError(f"{path}: {origin}: image_id: found {annotation['image_id']!r}, which no image has")
            self._annotations.setdefault(key, []).append((origin, annotation))

    @property
    def file_names(self) -> list[str]:
        """Of all images, in their order, as the file has them but for Windows' way to write folders."""
        return [_posix(image["file_name"]) for image in self._images.values()]

    def entries(self, scene: str, width: int, height: int) -> list[dict[str, Any]]:
        """The objects of a scene as inline entries.

        Args:
            scene: the raster's path; images are known by file name, and by their folders where two have one.
            width: of the scene in pixels.
            height: likewise.

        Raises:
            InputError: an image that the file does not know or knows twice, one of another size, or an annotation of a
                category that is not in the file.
        """
        path, name = self._path, _file_name(scene.split("?")[0])
        found = self._named.get(name, [])
        if len(found) > 1:
            place = f"/{_posix(scene.split('?')[0])}"
            found = [key for key in found if place.endswith(f"/{_posix(self._images[key]['file_name'])}")]
        if len(found) != 1:
            raise InputError(f"{path}: {len(found)} images are called {name!r}; expected the scene's, once")
        image = self._images[found[0]]
        check_size(path, image.get("width"), image.get("height"), width, height)
        entries = []
        for origin, annotation in self._annotations.get(found[0], []):
            category = _id(path, origin, "category_id", _of(path, origin, annotation, "category_id"))
            if category not in self._categories:
                raise InputError(f"{path}: {origin}: category_id: found {category!r}, which no category has")
            crowd = True in [_flag(path, origin, flag, annotation.get(flag)) for flag in _CROWD]  # all are checked
            label = _of(path, "categories", self._categories[category], "name")
            entries.append({"label": label, "bbox_2d": _corners(path, origin, annotation), "crowd": crowd})
        return entries


def _list(path: str, content: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = content.get(name)
    if not isinstance(found, list):
        raise InputError(f"{path}: not COCO as it should be; {name!r} is no list")
    return found


def _of(path: str, origin: str, record: Any, key: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise InputError(f"{path}: not COCO as it should be; {origin}: no {key!r}")
    return record[key]


def _by_id(path: str, content: Mapping[str, Any], name: str) -> dict[int | str, Mapping[str, Any]]:
    found: dict[int | str, Mapping[str, Any]] = {}
    for record in _list(path, content, name):
        key = _id(path, name, "id", _of(path, name, record, "id"))
        if key in found:
            raise InputError(f"{path}: {name}: the id {key!r} is there twice; expected one for each")
        found[key] = record
    return found


def _id(path: str, origin: str, name: str, value: Any) -> int | str:
    """A number, whether it is written as one, as 7.0 or as "7"; any other text as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: {origin}: {name}: found {value!r}; expected a number or a text")
    text = value.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _file_name(path: object) -> str:
    """Without its folders, which may be written in Windows' way."""
    return PureWindowsPath(str(path)).name


def _posix(path: object) -> str:
    return PureWindowsPath(str(path)).as_posix()


def _flag(path: str, origin: str, name: str, value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, int | float | str) or value not in _FLAGS:
        raise InputError(f"{path}: {origin}: {name}: found {value!r}; expected 0 or 1")
    return _FLAGS[value]


def _corners(path: str, origin: str, annotation: Mapping[str, Any]) -> list[float]:
    box = _of(path, origin, annotation, "bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{path}: {origin}: bbox: found {box!r}; expected [x, y, width, height]")
    try:
        x, y, box_width, box_height = (finite_number(value) for value in box)
    except InputError as error:
        raise InputError(f"{path}: {origin}: bbox: {error}") from error
    return [x, y, x + box_width, y + box_height]
