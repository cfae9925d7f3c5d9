"""What a description says, in a form that can be compared: a key for each phrase, and phrases read back."""

import re
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.target_dimensions import NO_TARGETS, TargetDescription
from fusargpt.tasks.wordings import count_of

LANDFORM_COLUMN, TARGET_COLUMN = "description", "target_description"
PART_WEIGHT_COLUMN = "part_weight"
PART_SOURCE_COLUMN = "part_source"
DOUBTED_COLUMN = "doubted"
TARGET_PREFIX = "target_"
DIMENSIONS: tuple[str, ...] = (
    *(item.name for item in fields(Description)),
    *(f"{TARGET_PREFIX}{item.name}" for item in fields(TargetDescription)),
)
"""The sixteen: eight of the place, eight of its targets."""

_COUNTED = re.compile(r"(\S+) \S.*")
_CLASS = re.compile(r"([^()]+?)(?: \(([^()]+)\))?")


def known_phrases(description: Description | None, targets: TargetDescription | None) -> dict[str, str]:
    """Phrases by dimension, in the order of `DIMENSIONS`; without what is not known."""
    return phrases_of(
        {
            LANDFORM_COLUMN: None if description is None else vars(description),
            TARGET_COLUMN: None if targets is None else vars(targets),
        }
    )


def phrases_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Phrases by dimension of a row of `captions`; what is null there is left out.

    Raises:
        InputError: the row has not both columns `description` and `target_description`.
    """
    found: dict[str, str] = {}
    for column, prefix in ((LANDFORM_COLUMN, ""), (TARGET_COLUMN, TARGET_PREFIX)):
        if column not in row:
            raise InputError(
                f"row: no column {column}; expected a row of `captions` with both descriptions; make it anew"
            )
        columns: Mapping[str, str | None] = row[column] or {}
        found |= {f"{prefix}{name}": phrase for name, phrase in columns.items() if phrase is not None}
    return found


def part_weights(row: Mapping[str, Any]) -> NDArray[np.float32]:
    """float32 [16]: how far each part of a row of `captions` is trusted, in the order of `DIMENSIONS`.

    1 where the row has no column `part_weight`; 0 is for a part that is held to be false.

    Raises:
        InputError: a column that holds something else than sixteen numbers from 0 to 1.
    """
    found = row.get(PART_WEIGHT_COLUMN, [1.0] * len(DIMENSIONS))
    weights = np.asarray(found if isinstance(found, list) else [np.nan], np.float32)
    if weights.shape != (len(DIMENSIONS),) or not bool(((weights >= 0) & (weights <= 1)).all()):
        raise InputError(f"{PART_WEIGHT_COLUMN}: found {found!r}, expected {len(DIMENSIONS)} numbers from 0 to 1")
    return weights


def trusted_phrases(row: Mapping[str, Any]) -> dict[str, str]:
    """`phrases_of` without the parts whose weight is 0; raises as that and `part_weights` do."""
    weights = dict(zip(DIMENSIONS, part_weights(row).tolist(), strict=True))
    return {dimension: phrase for dimension, phrase in phrases_of(row).items() if weights[dimension] > 0}


def doubted_phrases(row: Mapping[str, Any]) -> dict[str, str]:
    """What a row of a cleaned dataset said, before it was cleaned, of the parts whose weight is 0.

    Raises:
        InputError: as `part_weights`.
    """
    parts = zip(DIMENSIONS, part_weights(row).tolist(), row[PART_SOURCE_COLUMN], strict=True)
    return {dimension: source for dimension, weight, source in parts if weight == 0}


@lru_cache(maxsize=100_000)
def fact_key(dimension: str, phrase: str) -> int:
    """A number in 1..2**63-1 for what `phrase` says in `dimension`, the same in every release; 0 says nothing.

    Raises:
        ValueError: another dimension than those of `DIMENSIONS`.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension: found {dimension!r}, expected one of {', '.join(DIMENSIONS)}")
    digest = blake2b(f"{dimension}\0{phrase}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (2**63 - 1) + 1


def fact_keys(phrases: Mapping[str, str]) -> NDArray[np.int64]:
    """int64 [16]: the key of each dimension's phrase, 0 where there is none.

    Raises:
        ValueError: another dimension than those of `DIMENSIONS`.
    """
    keys = np.zeros(len(DIMENSIONS), np.int64)
    for dimension, phrase in phrases.items():
        key = fact_key(dimension, phrase)
        keys[DIMENSIONS.index(dimension)] = key
    return keys


def parse_phrase(dimension: str, phrase: str) -> int | str | frozenset[str]:
    """What a phrase says, to compare with what is true.

    Returns:
        target_count: the number of targets. target_category: the names of their classes and finer classes. terrain: the
        land cover that comes first, the largest. Any other dimension, or a terrain that is unknown: the phrase itself.

    Raises:
        ValueError: another dimension, or a phrase that this dimension cannot have.
    """
    if dimension not in DIMENSIONS:
        raise ValueError(f"dimension: found {dimension!r}, expected one of {', '.join(DIMENSIONS)}")
    if dimension == "target_count":
        return sum(counts_in(phrase).values())
    if dimension == "target_category":
        classes = classes_in(phrase)
        return frozenset(classes).union(*classes.values())
    if dimension == "terrain":
        cover = phrase.removeprefix("mostly ").removeprefix("nothing but ").removeprefix("traces of ")
        # "grass" would do for "grassland" too: a name ends where the phrase ends or goes on in signs or "and".
        return next((name for name in LANDCOVER_CLASSES if re.match(rf"{name}(?:$|,| \(| and )", cover)), phrase)
    return phrase


def counts_in(phrase: str) -> dict[str, int]:
    """The counted nouns of a phrase of `target_count`: {"ships": 3}; empty for no targets.

    Raises:
        ValueError: not such a phrase.
    """
    if phrase == NO_TARGETS.count:
        return {}
    counts: dict[str, int] = {}
    for part in re.split(r", | and ", phrase):
        count = count_of(part.partition(" ")[0]) if _COUNTED.fullmatch(part) else None
        if count is None:
            raise ValueError(f"target_count: found {phrase!r}, expected counted nouns as 'three ships'")
        counts[part.partition(" ")[2]] = count
    return counts


def classes_in(phrase: str) -> dict[str, set[str]]:
    """The classes of a phrase of `target_category`, each with its finer ones: {"ship": {"tanker"}}.

    Raises:
        ValueError: not such a phrase.
    """
    if phrase == NO_TARGETS.category:
        return {}
    classes: dict[str, set[str]] = {}
    for part in re.split(r"(?:, | and )(?![^(]*\))", phrase):
        match = _CLASS.fullmatch(part)
        if match is None:
            raise ValueError(f"target_category: found {phrase!r}, expected classes as 'ship (tanker)'")
        classes[match[1]] = set(re.split(r", | and ", match[2])) if match[2] else set()
    return classes
