"""What a visitor takes home: the drawn image, the answers as JSON, and as GeoJSON where the image has a place."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from space_app.boxes_geojson import feature_collection
from space_app.limits import Scratch
from space_app.one_question import GivenAnswer
from space_app.scenes import UploadedScene


@dataclass(frozen=True)
class Downloads:
    """Paths of the files of one question; `geojson` is None where no place is known."""

    pictures: tuple[str, ...]
    json: str
    geojson: str | None


def report(scene: UploadedScene, model: str, answers: Sequence[GivenAnswer]) -> dict[str, Any]:
    """The answers with what they are about, as JSON holds it. Boxes are in pixels of the image as the model sees it."""
    return {
        "image": scene.name,
        "image_size": list(scene.picture.size),
        "seen_size": list(scene.seen.size),
        "read_as": scene.read_as,
        "acquired": None if scene.acquired is None else scene.acquired.isoformat(),
        "model": model,
        "answers": [answer.as_json() for answer in answers],
    }


def write_downloads(
    scratch: Scratch, scene: UploadedScene, model: str, answers: Sequence[GivenAnswer], pictures: Sequence[Image.Image]
) -> Downloads:
    """Write the files of one question, `pictures` one for each answer.

    Raises:
        InputError: a place that lies nowhere on Earth.
    """
    folder = scratch.new_folder()
    names = ["fusargpt.png"] if len(pictures) == 1 else ["fusargpt-with-prior.png", "fusargpt-without-prior.png"]
    drawn = []
    for name, picture in zip(names, pictures, strict=True):
        picture.save(folder / name)
        drawn.append(str(folder / name))
    written = write_json(folder / "fusargpt.json", report(scene, model, answers))
    geojson = None
    if scene.geometry is not None:
        geojson = write_json(folder / "fusargpt.geojson", feature_collection(scene, answers))
    return Downloads(tuple(drawn), written, geojson)


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """One picture of one or two, with a gap between them."""
    gap = 12 * (len(pictures) - 1)
    joined = Image.new("RGB", (sum(picture.width for picture in pictures) + gap, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width + 12
    return joined


def write_json(path: Path, content: dict[str, Any]) -> str:
    """The path of a file that holds `content`."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(path)
