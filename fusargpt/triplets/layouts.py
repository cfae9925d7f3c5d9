"""How published sets of annotated pictures lie in their folders, by the names of their formats.

`{split}` stands for what a set calls a split: train, val, valid, validation or test. Of the layouts of a format the
first that a folder has is taken.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.triplets.manifest import SPLITS

SPLIT_WORDS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_SPLIT = "{split}"


@dataclass(frozen=True)
class Layout:
    """Places in the folder of a set.

    Attributes:
        images: folder of the pictures.
        annotations: folder of one file a picture, or the COCO file.
        lists: of the pictures of a split; "" where there are none.
    """

    images: str
    annotations: str
    lists: str = ""


@dataclass(frozen=True)
class Format:
    """What is read of a format.

    Attributes:
        suffix: of its annotations; ".json" is one file for many pictures, another suffix one for each.
        layouts: in which it is published.
        may_lack: whether a picture without a file of annotations holds no objects, instead of being an error.
    """

    suffix: str
    layouts: tuple[Layout, ...]
    may_lack: bool = False


FORMATS: dict[str, Format] = {
    "coco": Format(
        ".json",
        (
            Layout("{split}2017", "annotations/instances_{split}2017.json"),
            Layout("{split}", "{split}/_annotations.coco.json"),
        ),
    ),
    "dota": Format(".txt", (Layout("{split}/images", "{split}/labelTxt"), Layout("images", "labelTxt"))),
    "hrsid": Format(".json", (Layout("JPEGImages", "annotations/{split}2017.json"),)),
    "sardet": Format(
        ".json",
        (
            Layout("JPEGImages/{split}", "Annotations/{split}.json"),
            Layout("JPEGImages", "Annotations/{split}.json"),
        ),
    ),
    "voc": Format(".xml", (Layout("JPEGImages", "Annotations", "ImageSets/Main/{split}.txt"),)),
    "yolo": Format(
        ".txt",
        (
            Layout("images/{split}", "labels/{split}"),
            Layout("{split}/images", "{split}/labels"),
            Layout("images", "labels"),
        ),
        may_lack=True,
    ),
}


@dataclass(frozen=True)
class Part:
    """Pictures and their annotations.

    Attributes:
        images: folder of the pictures.
        annotations: folder, or COCO file.
        split: of all of them; None where lists say it, or nobody.
        lists: from a split to the file that lists its pictures.
    """

    images: Path
    annotations: Path
    split: str | None
    lists: Mapping[str, Path]


def parts_of(
    kind: str,
    folder: Path,
    images: str | None = None,
    annotations: str | None = None,
    splits: Mapping[str, str] | None = None,
) -> list[Part]:
    """The parts of a set, as it is published or as one says that it lies.

    Args:
        kind: of `FORMATS`.
        folder: of the set.
        images: folder of the pictures in it; None takes that of the format.
        annotations: folder or COCO file in it; likewise.
        splits: from train, validation or test to the file that lists its pictures, or to its COCO file.

    Raises:
        InputError: another format or split, a folder that lies in none of the format's layouts, or one that is named
            and is not there.
    """
    if kind not in FORMATS:
        raise InputError(f"format: found {kind!r}; expected one of {', '.join(FORMATS)}")
    splits = splits or {}
    for split in splits:
        if split not in SPLITS:
            raise InputError(f"split: found {split!r}; expected one of {', '.join(SPLITS)}")
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file' if folder.exists() else 'no such folder'}; expected the folder of a set")
    form = FORMATS[kind]
    if images is None and annotations is None and not splits:
        return _published(kind, form, folder)
    pictures = folder / (images or _whole(layout.images for layout in form.layouts))
    if not pictures.is_dir():
        raise InputError(f"{pictures}: no such folder; name that of the pictures with --images")
    if form.suffix == ".json":
        files = {split: folder / path for split, path in splits.items()}
        if (annotations is None) == (not files):
            raise InputError("expected either --annotations FILE.json, or the COCO file of each split as --split")
        return [
            Part(pictures, path, split, {})
            for split, path in (files.items() if annotations is None else [(None, folder / annotations)])
        ]
    labels = folder / (annotations or _whole(layout.annotations for layout in form.layouts))
    if not labels.is_dir():
        raise InputError(f"{labels}: no such folder; name that of the {form.suffix} files with --annotations")
    return [Part(pictures, labels, None, {split: folder / path for split, path in splits.items()})]


def _whole(places: Iterable[str]) -> str:
    """The first place that is of all splits; the set's folder where there is none."""
    return next((place for place in places if _SPLIT not in place), ".")


def _published(kind: str, form: Format, folder: Path) -> list[Part]:
    for layout in form.layouts:
        words = SPLIT_WORDS if _SPLIT in layout.images + layout.annotations else [""]
        parts = [part for word in words if (part := _part(layout, form, folder, word)) is not None]
        if parts:
            return parts
    expected = " or ".join(f"{layout.images} with {layout.annotations}" for layout in form.layouts)
    raise InputError(
        f"{folder}: not as a set of {kind} lies: expected {expected} ({_SPLIT}: {', '.join(SPLIT_WORDS)}); name other "
        "places with --images and --annotations"
    )


def _part(layout: Layout, form: Format, folder: Path, word: str) -> Part | None:
    images, annotations = (folder / path.format(split=word) for path in (layout.images, layout.annotations))
    there = annotations.is_file() if form.suffix == ".json" else annotations.is_dir()
    if not (there and images.is_dir()):
        return None
    lists = {
        split: path
        for name, split in SPLIT_WORDS.items()
        if layout.lists and (path := folder / layout.lists.format(split=name)).is_file()
    }
    return Part(images, annotations, SPLIT_WORDS.get(word), lists)
