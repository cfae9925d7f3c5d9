"""What `fusargpt ask` hands over beside the text: one JSON object, and a picture of the image with its boxes."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fusargpt.errors import InputError
from fusargpt.files import check_writable, output_file
from fusargpt.geo.box_drawing import COLOURS, OTHER_COLOUR, draw_box
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.headers import file_format_of
from fusargpt.geo.picture_frame import Around, Mark, font_of, framed, wrapped
from fusargpt.geo.reading import ReadAs, Reading
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.scene_picture import LONGEST_SIDE, ScenePicture
from fusargpt.inference.answer_boxes import AnswerBoxes
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.tasks.answers import Parsed, parse_cells, parse_class, parse_count

_REMEDY = "choose another --out"
_MOST_LINES = 14
_LINE = 3
_SMALL_SIDE = 1024


@dataclass(frozen=True)
class Asked:
    """One question and its answer.

    Attributes:
        image: file.
        size: width and height of it in pixels.
        seen: those of the image as the model sees it.
        task: None for a free question.
        question: as it was put.
        answer: as it was given.
        boxes: in the answer; None where it is of another form.
        model: as named.
        prior: where its anchors come from, plain JSON; None without one.
        read_as: what was assumed of the file.
        geometry: None where the file has no georeference.
        withheld: what the model wrote, where `answer` is that it cannot tell; else None.
    """

    image: Path
    size: tuple[int, int]
    seen: tuple[int, int]
    task: str | None
    question: str
    answer: str
    boxes: AnswerBoxes | None
    model: str
    prior: dict[str, Any] | None
    read_as: ReadAs
    geometry: Geometry | None
    withheld: str | None = None

    def as_json(self) -> str:
        """One object on one line; see docs/index.md."""
        value, problems = self._value()
        written = self.answer if self.withheld is None else self.withheld
        sure = written if isinstance(written, ScoredAnswer) else ScoredAnswer(written)
        place = None
        if self.geometry is not None:
            place = {"bounds": [round(edge, 7) for edge in self.geometry.bounds()], "crs": self.geometry.crs}
        return json.dumps(
            {
                "image": str(self.image),
                "size": list(self.size),
                "seen": list(self.seen),
                "place": place,
                "read_as": self.read_as.as_json(),
                "model": self.model,
                "prior": self.prior,
                "task": self.task,
                "question": self.question,
                "answer": str(self.answer),
                "confidence": None if sure.confidence is None else round(sure.confidence, 4),
                "calibrated": sure.calibrated,
                "interval": None if sure.counts is None else list(sure.counts.interval),
                "withheld": None if self.withheld is None else str(self.withheld),
                "value": value,
                "boxes": None if self.boxes is None else self.boxes.as_json(self.geometry),
                "problems": problems,
            }
        )

    def _value(self) -> tuple[object, list[str]]:
        """What the answer of a task says, None where it cannot be read; and what could not be."""
        if self.withheld is not None:
            return None, []
        if self.boxes is not None:
            return len(self.boxes.boxes), [*self.boxes.problems, *self.boxes.beside]
        parsed: Parsed[Any]
        if self.task == "count":
            parsed = parse_count(self.answer)
        elif self.task == "classify":
            parsed = parse_class(self.answer)
        elif self.task == "localize":
            cells = parse_cells(self.answer)
            parsed = Parsed(None if cells.problems else sorted(cells.value), cells.problems)
        else:
            return None, []
        return parsed.value, list(parsed.problems)

    def draw(self, image: Image.Image) -> Image.Image:
        """The image, RGB, in a size to look at, with the boxes on it, the question above and what they mean below."""
        side = max(image.size)
        # Small ones by a whole number, so that each pixel is a square.
        scale = min(LONGEST_SIDE / side, float(max(1, _SMALL_SIDE // side)))
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        filtered = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
        picture = ScenePicture(image.resize(size, filtered), scale)
        boxes = [] if self.boxes is None else self.boxes.boxes
        for box in boxes:
            draw_box(picture.image, picture.at(box.pixels), box.label, tab=False)
        labels = Counter(box.label for box in boxes)
        legend = [
            (Mark(COLOURS.get(label, OTHER_COLOUR), line=_LINE), f"{label} ({count:,})")
            for label, count in labels.most_common()
        ]
        if self.boxes is None:
            said = self.answer
        else:
            said = "no boxes" if not boxes else f"{len(boxes):,} {'box' if len(boxes) == 1 else 'boxes'}"
        width = max(picture.image.width, 560)
        lines = wrapped(said, width - 40, font_of(width))
        lines = lines if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], "..."]
        notes = [*lines, f"{self.image.name}, {Path(self.model).name}"]
        metres = None if self.geometry is None else picture.metres_per_pixel(self.geometry)
        return framed(picture.image, Around(self.question, notes, legend), metres, scale)


def check_picture(out: Path, image: Path) -> None:
    """Raises InputError for a picture that cannot be written, or is there already."""
    if out.suffix.lower() != ".png":
        raise InputError(f"--out: found {out.name}; expected a name that ends in .png")
    if out.exists():
        if out.samefile(image):
            raise InputError(f"{out}: is the image itself; {_REMEDY}")
        raise InputError(f"{out}: exists already; remove it or {_REMEDY}")
    check_writable(out, _REMEDY)


def save(picture: Image.Image, out: Path) -> None:
    """Raises InputError where the file cannot be written."""
    with output_file(out, _REMEDY) as partial:
        picture.save(partial, format="PNG")


def geometry_of(image: Path, reading: Reading) -> Geometry | None:
    """Where a file lies; None for pictures, and for TIFFs without a georeference that can be used."""
    if file_format_of(image) != "TIFF":
        return None
    with SarScene.open(image, reading) as scene:
        return scene.geometry
