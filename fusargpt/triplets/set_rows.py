"""The rows of a manifest of a set of annotated pictures: each picture with its annotations, and its split."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import reason
from fusargpt.triplets.annotations import coco_file
from fusargpt.triplets.box_texts import CLASSES
from fusargpt.triplets.layouts import Format, Part

Row = dict[str, str]
"""Columns of a manifest by name: `scene`, `id`, `boxes` ("[]" for no objects) and perhaps `split`."""

NO_OBJECTS = "[]"
_PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def rows_of(form: Format, parts: Sequence[Part]) -> list[Row]:
    """The rows of all parts, paths absolute; ids are the names of the pictures, behind their split where two have one.

    Raises:
        InputError: a missing list, picture or annotation, a picture that is listed twice, or two of one name.
    """
    rows = [row for part in parts for row in (_of_coco(part) if form.suffix == ".json" else _of_pairs(form, part))]
    scenes = Counter(row["scene"] for row in rows)
    twice = next((scene for scene, count in scenes.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: belongs to two splits, or stands in a list twice; expected each picture once")
    names = Counter(row["id"] for row in rows)
    for row in rows:
        if names[row["id"]] > 1:
            row["id"] = "-".join((row.get("split", Path(row["scene"]).parent.name), row["id"]))
    clash = next((name for name, count in Counter(row["id"] for row in rows).items() if count > 1), None)
    if clash is not None:
        raise InputError(f"two pictures are called {clash!r}; rename one of them")
    return rows


def _of_coco(part: Part) -> list[Row]:
    file = coco_file(str(part.annotations))
    rows, missing = [], []
    for name in file.file_names:
        # With the folders that the file names, or without them; never a picture outside of the set's folder.
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        places = (*([part.images / name] if inside else []), part.images / Path(name).name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            missing.append(name)
        else:
            rows.append(_row(path, str(part.annotations.absolute()), part.split))
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(f"{part.annotations}: {missing[0]}{more} not in {part.images}; expected the pictures it names")
    if not rows:
        raise InputError(f"{part.annotations}: no images; expected some")
    return rows


def _of_pairs(form: Format, part: Part) -> list[Row]:
    found = _pictures(part.images)
    if not part.lists:
        _check_all_are_pictured(form, part, found)
    listed: dict[str, str | None] = {} if part.lists else dict.fromkeys(found, part.split)
    for split, path in part.lists.items():
        for number, name in _lines(path):
            if name not in found:
                raise InputError(f"{path}, line {number}: no image {name!r} in {part.images}")
            if name in listed:
                raise InputError(f"{path}, line {number}: {name!r} is listed already, in {listed[name]}")
            listed[name] = split
    return [_row(found[name], _annotation(form, part, found[name]), split) for name, split in listed.items()]


def _row(picture: Path, boxes: str, split: str | None) -> Row:
    row = {"scene": str(picture.absolute()), "id": picture.stem, "boxes": boxes}
    return row if split is None else {**row, "split": split}


def _annotation(form: Format, part: Part, picture: Path) -> str:
    path = (part.annotations / f"{picture.stem}{form.suffix}").absolute()
    if path.is_file():
        return str(path)
    if form.may_lack and not path.exists():
        return NO_OBJECTS
    raise InputError(f"{path}: no such file; expected the annotation of {picture.name}")


def _pictures(folder: Path) -> dict[str, Path]:
    """By their names without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in _PICTURES or path.is_dir():
            continue
        if not path.is_file():
            raise InputError(f"{path}: a pipe, a device or a broken link; expected a picture")
        if path.stem in found:
            raise InputError(
                f"{folder}: {found[path.stem].name} and {path.name} are both {path.stem!r}, of which there is one "
                "annotation; remove or rename one of them"
            )
        found[path.stem] = path.absolute()
    if not found:
        raise InputError(f"{folder}: no picture; expected a folder of {', '.join(_PICTURES)} files")
    return found


def _check_all_are_pictured(form: Format, part: Part, found: dict[str, Path]) -> None:
    files = sorted(part.annotations.glob(f"*{form.suffix}"))
    without = [path.name for path in files if path.stem not in found and path.name != CLASSES]
    if len(without) == len(files) - (CLASSES in [path.name for path in files]):
        raise InputError(f"{part.annotations}: no {form.suffix} file of a picture in {part.images}; expected some")
    if without:
        more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise InputError(
            f"{part.annotations}: {without[0]}{more} without a picture in {part.images}; expected one of "
            f"{', '.join(_PICTURES)} for each, or a list of those to take as --split"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        if not path.is_file():
            raise OSError("no such file" if not path.exists() else "a folder or a pipe")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; expected a list of images, one a line") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)}); expected a list of images, one a line") from error
    for number, line in enumerate(lines, start=1):
        # A list may hold paths.
        name = Path(line.strip()).name
        if name:
            yield number, Path(name).stem if Path(name).suffix.lower() in _PICTURES else name
