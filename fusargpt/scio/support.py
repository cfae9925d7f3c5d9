"""Whether a phrase can be true beside what else is held to be true of an image, whatever the image shows."""

import re
from collections.abc import Mapping

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.facts import TARGET_PREFIX, classes_in, counts_in, parse_phrase
from fusargpt.tasks.false_facts import possible_targets
from fusargpt.tasks.target_dimensions import NO_TARGETS

# Other phrases know these under names of their own: "open water", "no buildings", "farmland".
_RENAMED = {"water", "built area", "crops"}
_OF_TERRAIN = ("boundary", "target_region", "target_environment")
_COUNT, _CATEGORY = f"{TARGET_PREFIX}count", f"{TARGET_PREFIX}category"


def supported(phrases: Mapping[str, str], dimension: str, phrase: str) -> bool:
    """Whether `phrase` is one that its dimension can have, and contradicts none of the trusted `phrases`.

    Targets have to be there or not in all parts alike, and as many as each part needs; a part names only land covers
    that the terrain names, and the classes that are counted are those of the category.
    """
    try:
        parse_phrase(dimension, phrase)
    except ValueError:
        return False
    told = {**phrases, dimension: phrase}
    return _targets_agree(told) and _covers_agree(told)


def _targets_agree(told: Mapping[str, str]) -> bool:
    targets = {name: phrase for name, phrase in told.items() if name.startswith(TARGET_PREFIX)}
    absent = {phrase == vars(NO_TARGETS)[name.removeprefix(TARGET_PREFIX)] for name, phrase in targets.items()}
    if len(absent) > 1:
        return False
    if absent != {False} or _COUNT not in told:
        return True
    try:
        counts = counts_in(told[_COUNT])
        ranges = [possible_targets(name, phrase) for name, phrase in told.items() if name != _COUNT]
        labels = classes_in(told[_CATEGORY]) if _CATEGORY in told else None
    except ValueError:
        return False
    if not all(fewest <= sum(counts.values()) <= most for fewest, most in ranges):
        return False
    return labels is None or len(labels) == len(counts)


def _covers_agree(told: Mapping[str, str]) -> bool:
    if "terrain" not in told:
        return True
    known = _covers(told["terrain"]) | _RENAMED
    return all(_covers(told[name]) <= known for name in _OF_TERRAIN if name in told)


def _covers(phrase: str) -> set[str]:
    return {name for name in LANDCOVER_CLASSES if re.search(rf"\b{name}\b", phrase)}
