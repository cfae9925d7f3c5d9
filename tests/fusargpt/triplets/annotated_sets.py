"""Small sets of annotated pictures, as each format is published: two pictures of 64 x 48, an empty one among them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)
BOXES = (("bridge", (10, 12, 30, 20)), ("oil tank", (40, 8, 52, 20)))


def picture(path: Path) -> str:
    """A grey picture of noise; returns its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name) + ord(path.name[0]))
    Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0]), dtype=np.uint8)).save(path)
    return path.name


def coco(path: Path, names: Sequence[str], **changes: Any) -> None:
    """A COCO file of pictures, of which all but the last show `BOXES`."""
    labels = [label for label, _ in BOXES]
    content: dict[str, Any] = {
        "images": [
            {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]} for number, name in enumerate(names)
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, start=1)],
        "annotations": [
            {"id": 10 * image + category, "image_id": image, "category_id": category, "bbox": [x, y, x2 - x, y2 - y]}
            for image in range(len(names) - 1)
            for category, (_, (x, y, x2, y2)) in enumerate(BOXES, start=1)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | changes))


def write_coco(root: Path) -> None:
    for split in ("train", "val"):
        names = [picture(root / f"{split}2017" / f"{name}.png") for name in "ab"]
        coco(root / "annotations" / f"instances_{split}2017.json", names)


def write_hrsid(root: Path) -> None:
    for split in ("train", "test"):
        coco(
            root / "annotations" / f"{split}2017.json",
            [picture(root / "JPEGImages" / f"{split}_{name}.jpg") for name in "ab"],
        )
    # It repeats both, and is passed over.
    coco(root / "annotations" / "train_test2017.json", ["train_a.jpg", "test_a.jpg"])


def write_sardet(root: Path) -> None:
    for split in ("train", "val", "test"):
        coco(
            root / "Annotations" / f"{split}.json",
            [picture(root / "JPEGImages" / split / f"{split}_{name}.png") for name in "ab"],
        )


def write_voc(root: Path) -> None:
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
    for split in ("train", "val"):
        for name in "ab":
            picture(root / "JPEGImages" / f"{split}_{name}.png")
            edges = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for _, box in BOXES]
            inside = "".join(
                f"<object><name>{label}</name><bndbox>"
                + "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in found.items())
                + "</bndbox></object>"
                for (label, _), found in zip(BOXES, edges, strict=True)
                if name == "a"
            )
            path = root / "Annotations" / f"{split}_{name}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"<annotation>{size}{inside}</annotation>")
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{split}_a\n{split}_b\n")


def write_yolo(root: Path) -> None:
    for split in ("train", "val"):
        for name in "ab":
            picture(root / "images" / split / f"{name}.png")
        lines = [
            f"{number} {(x + x2) / 2 / SIZE[0]} {(y + y2) / 2 / SIZE[1]} {(x2 - x) / SIZE[0]} {(y2 - y) / SIZE[1]}\n"
            for number, (_, (x, y, x2, y2)) in enumerate(BOXES)
        ]
        path = root / "labels" / split / "a.txt"
        path.parent.mkdir(parents=True)
        path.write_text("".join(lines))
    (root / "data.yaml").write_text("names:\n  0: bridge\n  1: oil tank\n")


def write_dota(root: Path) -> None:
    for split in ("train", "val"):
        lines = [
            f"{x} {y} {x2} {y} {x2} {y2} {x} {y2} {label.replace(' ', '-')} 0\n" for label, (x, y, x2, y2) in BOXES
        ]
        for name in "ab":
            picture(root / split / "images" / f"{name}.png")
            path = root / split / "labelTxt" / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text("imagesource:SAR\ngsd:null\n" + ("".join(lines) if name == "a" else ""))


SETS: dict[str, Callable[[Path], None]] = {
    "coco": write_coco,
    "dota": write_dota,
    "hrsid": write_hrsid,
    "sardet": write_sardet,
    "voc": write_voc,
    "yolo": write_yolo,
}
