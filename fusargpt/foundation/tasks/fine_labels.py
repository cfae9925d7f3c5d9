"""The finer class of one target, read of the pooled features of a chip about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fusargpt.foundation.places import Place, View
from fusargpt.foundation.probes import Labelled
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES, TUNED, told
from fusargpt.metrics.tally import Tally
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, RESOLUTION_M

CHIP_PIXELS = 56  # 280 m: room about the longest ship; one third of an image, so that sizes stay comparable
FINE_LABELS = {
    "ship": ("fishing vessel", "cargo ship", "tanker"),
    "aircraft": ("narrow-body airliner", "wide-body airliner"),
}
MOST_CHIPS = {"train": 1500, "validation": 500, "test": 1000}


@dataclass(frozen=True, eq=False)
class Chip:
    """A target and its surroundings."""

    view: View
    label: int


class FineLabelProbe:
    """Chips of one class; they are shown without a prior, whose anchors are the whole image's.

    Args:
        label: "ship" or "aircraft".
    """

    headline = "accuracy"

    def __init__(self, label: str) -> None:
        self.name = f"probe-{label}-chips"
        self.how = (
            f"the finer class ({', '.join(FINE_LABELS[label])}) of chips of {CHIP_PIXELS} pixels about one {label}, "
            f"enlarged to {IMAGE_SIZE} and shown without a prior, at most {MOST_CHIPS['train']:,} to train, "
            f"{MOST_CHIPS['validation']} to choose and {MOST_CHIPS['test']:,} to test; {PROBES}; {TUNED}"
        )
        self.classes = FINE_LABELS[label]
        self._label = label

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        def labelled(split: str) -> Labelled:
            chips = chips_of(subject.places(split), self._label, MOST_CHIPS[split])
            views = [chip.view for chip in chips]
            pooled = subject.features_of(f"{self._label}-chips-{split}", views).pooled
            return Labelled(pooled, np.array([chip.label for chip in chips]))

        return told(subject.entry, self.classes, labelled)


def chips_of(places: Sequence[Place], label: str, most: int) -> list[Chip]:
    """The first `most` targets of a class, each cut out about its centre; beyond the image its edge goes on."""
    chips: list[Chip] = []
    for place in places:
        for target in place.targets:
            if target.label == label and len(chips) < most:
                chips.append(Chip(_cut(place, target.box), FINE_LABELS[label].index(target.fine_label)))
    return chips


def _cut(place: Place, box: tuple[float, float, float, float]) -> View:
    half = CHIP_PIXELS // 2
    image = np.pad(np.asarray(place.view.picture), half, mode="edge")
    row, column = int(box[1] + box[3]) // 2, int(box[0] + box[2]) // 2
    chip = Image.fromarray(image[row : row + CHIP_PIXELS, column : column + CHIP_PIXELS])
    acquisition = {**place.view.acquisition, "resolution_m": RESOLUTION_M * CHIP_PIXELS / IMAGE_SIZE}
    return View(chip.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), None, acquisition)
