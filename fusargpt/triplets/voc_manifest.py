"""The manifest of a folder of pictures with VOC, YOLO or DOTA annotations, as SAR detection sets are published:

python -m fusargpt.triplets.voc_manifest --images DIR --annotations DIR --split train=train.txt --out manifest.jsonl

Each split file lists the images of a split, one a line, with or without suffix; without split files every image is
taken, and each annotation needs one. An annotation has the name of its image and ends in .xml, or in .txt.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import output_file
from fusargpt.triplets.box_texts import CLASSES
from fusargpt.triplets.manifest import SPLITS

_ANNOTATIONS = (".xml", ".txt")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def voc_manifest(
    images: Path, annotations: Path, splits: Mapping[str, Path], columns: Mapping[str, str]
) -> list[dict[str, str]]:
    """The rows of a manifest, paths absolute.

    Args:
        images: the folder of the pictures.
        annotations: the folder of the .xml or .txt files.
        splits: from train, validation or test to the file that lists it; empty takes every image, without a split.
        columns: what to say of every scene, as {"license": "apache-2.0"}.

    Raises:
        InputError: a missing folder, list, image or annotation, an image that is listed twice, or two of one name.
    """
    found = _pictures(images)
    if not splits:
        _check_all_are_pictured(annotations, found, images)
    listed: dict[str, str | None] = dict.fromkeys(found) if not splits else {}
    for split, path in splits.items():
        if split not in SPLITS:
            raise InputError(f"split: found {split!r}; expected one of {', '.join(SPLITS)}")
        for number, name in _lines(path):
            if name not in found:
                raise InputError(f"{path}, line {number}: no image {name!r} in {images}")
            if name in listed:
                raise InputError(f"{path}, line {number}: {name!r} is listed already, in {listed[name]}")
            listed[name] = split
    rows = []
    for name, split in listed.items():
        boxes = _annotation(annotations, name, found[name].name)
        row = {"scene": str(found[name]), "id": name, "boxes": str(boxes), **columns}
        rows.append(row if split is None else {**row, "split": split})
    return rows


def _annotation(folder: Path, name: str, picture: str) -> Path:
    there = [path for suffix in _ANNOTATIONS if (path := (folder / f"{name}{suffix}").absolute()).is_file()]
    if len(there) > 1:
        raise InputError(f"{there[0]}: and {there[1].name}, two annotations of {picture}; expected one")
    if not there:
        expected = (folder / f"{name}.xml").absolute()
        raise InputError(f"{expected}: no such file; expected the annotation of {picture}, or one in .txt")
    return there[0]


def _pictures(folder: Path) -> dict[str, Path]:
    """By their names without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() not in _SUFFIXES or path.is_dir():
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
        raise InputError(f"{folder}: no picture; expected a folder of {', '.join(_SUFFIXES)} files")
    return found


def _check_all_are_pictured(annotations: Path, found: Mapping[str, Path], images: Path) -> None:
    files = sorted(path for suffix in _ANNOTATIONS for path in annotations.glob(f"*{suffix}"))
    without = [path.name for path in files if path.stem not in found and path.name != CLASSES]
    if without:
        more = f" and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise InputError(
            f"{annotations}: {without[0]}{more} without a picture in {images}; expected one of "
            f"{', '.join(_SUFFIXES)} for each, or a list of those to take as --split"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        if not path.is_file():
            raise OSError("no such file" if not path.exists() else "a folder or a pipe")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a list of images, one a line") from error
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name:
            yield number, Path(name).stem if Path(name).suffix.lower() in _SUFFIXES else name


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", metavar="DIR", type=Path, required=True)
    parser.add_argument("--annotations", metavar="DIR", type=Path, required=True)
    parser.add_argument("--split", metavar="NAME=FILE", action="append", default=[], help="train, validation or test")
    parser.add_argument("--sensor", help="of all images")
    parser.add_argument("--license", help="of all images, as apache-2.0")
    parser.add_argument("--out", metavar="FILE.jsonl", type=Path, required=True)
    options = parser.parse_args(arguments)
    columns = {name: text for name, text in vars(options).items() if name in ("sensor", "license") and text}
    try:
        if options.out.exists():
            raise InputError(f"{options.out}: exists already; remove it or choose another --out")
        splits = dict(_pair(text) for text in options.split)
        rows = voc_manifest(options.images, options.annotations, splits, columns)
        with output_file(options.out, "choose another --out") as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    except InputError as error:
        print(f"voc_manifest: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(rows)} rows in {options.out}")
    return 0


def _pair(text: str) -> tuple[str, Path]:
    split, separator, path = text.partition("=")
    if not separator or not path:
        raise InputError(f"--split {text}: expected a split and its list, as train=train.txt")
    return split, Path(path)


if __name__ == "__main__":
    sys.exit(main())
