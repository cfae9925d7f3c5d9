"""What is said of the places: sets of texts for retrieval, and the prompts of zero-shot classes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.places import Place
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.retrieval import true_pairs
from fusargpt.simulator.simulated_scene import MAX_TARGETS
from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.facts import TARGET_PREFIX, fact_keys
from fusargpt.tasks.part_texts import draw_part_text, part_text
from fusargpt.tasks.target_dimensions import NO_TARGETS, TargetDescription
from fusargpt.tasks.wordings import SENTENCES, TARGET_SENTENCES, several

LANDFORMS = tuple(item.name for item in fields(Description))
TARGETS = tuple(f"{TARGET_PREFIX}{item.name}" for item in fields(TargetDescription))
LONGEST = 640
"""Characters; longer texts are told without their last parts, for every model alike. 192 tokens of nano's hold them."""
TEXT_SETS = {
    "landforms": f"the eight parts about the place, without the last ones beyond {LONGEST} characters",
    "targets": "the eight parts about the targets",
    "parts": f"two to eight parts of both kinds, drawn by the place's seed, up to {LONGEST} characters",
    "caption": "the simulator's short caption",
}
"""The sets of texts, one text a place, and what they are."""


@dataclass(frozen=True, eq=False)
class TextSet:
    """One text a place.

    Attributes:
        texts: as a model reads them.
        true: bool [N, N], whether text j is true of place i: equal facts, or an equal caption.
    """

    texts: Sequence[str]
    true: NDArray[np.bool_]


def text_set(name: str, places: Sequence[Place]) -> TextSet:
    """A set of `TEXT_SETS`."""
    if name == "caption":
        captions = [place.caption for place in places]
        keys = np.unique(captions, return_inverse=True)[1]
        return TextSet(captions, keys[:, None] == keys[None])
    said = []
    for place in places:
        if name == "parts":
            text = draw_part_text(place.phrases, place.scene.seed)
        else:
            chosen = LANDFORMS if name == "landforms" else TARGETS
            known = [dimension for dimension in chosen if dimension in place.phrases]
            text = part_text(place.phrases, known, place.scene.seed)
        while len(text.text) > LONGEST:
            text = part_text(place.phrases, text.dimensions[:-1], text.wording)
        said.append(text)
    facts = np.stack([fact_keys(place.phrases) for place in places])
    return TextSet([text.text for text in said], true_pairs(facts, np.stack([text.facts for text in said])))


def cover_prompts() -> list[list[str]]:
    """The prompts of each land cover, in the captions' own form; the first is the one that is matched."""
    return [
        [wording.format(f"mostly {name}") for wording in SENTENCES["terrain"]]
        + [wording.format(f"nothing but {name}") for wording in SENTENCES["terrain"]]
        for name in LANDCOVER_CLASSES
    ]


def count_prompts(target: str) -> list[list[str]]:
    """The prompts of each count from 0 to `MAX_TARGETS` of a class, which differ in the count alone."""
    counted = [NO_TARGETS.count, *(several(target, count) for count in range(1, MAX_TARGETS + 1))]
    return [[wording.format(phrase) for wording in TARGET_SENTENCES["count"]] for phrase in counted]
