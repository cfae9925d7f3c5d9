"""From one scene to its triplets: chips with anchors, questions and descriptions. The same on one machine and on many.

A chip gives up to two kinds of rows, for the two configs of the dataset:

- `captions`: one row, when the manifest has a caption and the scene is one chip, or when there is land cover to write
  a description from. A caption of a scene that is cut into several chips is true of none of them and is not used.
- `instructions`: a row for each question, when the scene's objects were annotated. A chip that shows less than half of
  an object is asked nothing about its class, see `fusargpt.triplets.boxes`, and no description is written for it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.geo.prior import PRIOR_POSITIONS
from fusargpt.tasks.eight_dimensions import describe_place
from fusargpt.tasks.prompts import prompt
from fusargpt.tasks.questions import conversation, questions_about
from fusargpt.tasks.stable_random import share, whole_number
from fusargpt.tasks.target_dimensions import TargetDescription, describe_targets
from fusargpt.triplets.manifest import SceneRow
from fusargpt.triplets.scene_chips import ChipImage, SceneChips, open_chips
from fusargpt.triplets.settings import BuildSettings

BUILDER_VERSION = 5
"""Raised by every change of what a scene yields, so that parts of an earlier release are not mixed in."""
CHIPS_PER_PART = 256
"""What one worker does at a time of a large scene."""


@dataclass(frozen=True)
class Part:
    """A stretch of one scene's chips.

    Attributes:
        row: of the manifest.
        targets: the classes that the annotations of the whole dataset cover.
        first: number of the first chip, in the order of `fusargpt.geo.tiling.chip_windows`.
        last: number after the last chip.
    """

    row: SceneRow
    targets: tuple[str, ...]
    first: int
    last: int


@dataclass
class Chip:
    """The rows of one chip for each config, what was counted, and, of a part's first, what its scene was read as."""

    captions: list[dict[str, object]] = field(default_factory=list)
    instructions: list[dict[str, object]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    read_as: str = ""


def chips_of(part: Part, settings: BuildSettings) -> Iterator[Chip]:
    """The chips of a part one after the other; of the scene no more is in memory than one of them.

    Raises:
        InputError: anything about the scene, its boxes, land cover or anchors that is not as it should be.
    """
    with open_chips(part.row, settings) as chips:
        rows = _Rows(chips, part)
        for number in range(part.first, part.last):
            yield rows.chip(number)


@dataclass(frozen=True)
class _Rows:
    """Makes rows of the chips of an open scene."""

    chips: SceneChips
    part: Part

    def chip(self, number: int) -> Chip:
        chips = self.chips
        outside = chips.boxes.outside if chips.boxes is not None and number == 0 else 0
        counts = Counter({"polygons outside their scene": outside})
        read_as = str(chips.scene.read_as(stretch=chips.stretch)) if number == self.part.first else ""
        image = chips.image(number)
        if image is None:
            return Chip(counts=counts + Counter({"chips without enough data": 1}), read_as=read_as)
        chip = Chip(
            read_as=read_as, counts=counts + Counter({"chips": 1, "chips with cut objects": int(bool(image.cut))})
        )
        fields = chips.fields(image)
        chip.counts["chips without anchors"] += not fields[PRIOR_POSITIONS]
        self._describe(chip, image, fields)
        self._ask(chip, image, fields)
        return chip

    def _describe(self, chip: Chip, image: ChipImage, fields: dict[str, Any]) -> None:
        caption, description = self.part.row.caption, None
        if caption is not None and len(self.chips.windows) > 1:
            chip.counts["captions not used"] += 1
            caption = None
        wanted = (caption is None or self.chips.boxes is not None) and not image.cut
        classes = self.chips.cover(image) if wanted else None
        if caption is None and classes is not None:
            written = describe_place(classes, image.labelled_boxes, fields["resolution_m"])
            caption, description = written.text(whole_number(image.name, "describe")), asdict(written)
        if caption is not None:
            question = prompt("describe", wording=whole_number(image.name, "describe", "wording"))
            targets = self._describe_targets(image, classes, fields["resolution_m"])
            columns = {
                **conversation("describe", question, caption),
                "description": description,
                "target_description": None if targets is None else asdict(targets),
            }
            chip.captions.append({"id": f"{image.name}/describe", **fields, **columns})

    def _describe_targets(
        self, image: ChipImage, classes: NDArray[np.integer] | None, resolution_m: float | None
    ) -> TargetDescription | None:
        """None where the scene's objects were not annotated, or the chip shows parts of some only."""
        if self.chips.boxes is None or image.cut:
            return None
        return describe_targets(image.target_boxes, image.picture.size, classes, resolution_m)

    def _ask(self, chip: Chip, image: ChipImage, fields: dict[str, Any]) -> None:
        if self.chips.boxes is None:
            return
        if not image.objects and not image.cut and share(image.name, "empty") >= self.chips.settings.keep_empty:
            chip.counts["chips without objects, left out"] += 1
            return
        size = image.picture.size
        for question in questions_about(image.name, image.labelled_boxes, image.cut, self.part.targets, *size):
            key = "-".join(filter(None, (question.task, question.target)))
            columns = conversation(question.task, question.prompt, question.answer)
            chip.instructions.append({"id": f"{image.name}/{key}", **fields, **columns})
