"""The wordings of a description: sentences for each of the eight dimensions, and orders in which they are told.

A slot is filled as it stands; `terrain`, `functionality` and `layout` are noun phrases, the other five are clauses.
"""

from collections.abc import Sequence
from math import floor, log10

from fusargpt.tasks.target_names import plural

SENTENCES: dict[str, tuple[str, ...]] = {
    "terrain": (
        "The terrain is {}.",
        "The land cover is {}.",
        "The image shows {}.",
        "By area, the ground is {}.",
    ),
    "functionality": (
        "Functionally, this is {}.",
        "By its use, the place is {}.",
        "The place can be read as {}.",
        "Its function: {}.",
    ),
    "distribution": (
        "{}.",
        "Within the frame, {}.",
        "As for their distribution, {}.",
        "Seen place by place, {}.",
    ),
    "layout": (
        "The layout is {}.",
        "The place is laid out as {}.",
        "The ground forms {}.",
        "Its pattern is {}.",
    ),
    "boundary": (
        "{}.",
        "Looking at the edges, {}.",
        "Concerning edges, {}.",
        "Where outlines are concerned, {}.",
    ),
    "buildings": (
        "{}.",
        "On the built side, {}.",
        "As far as construction goes, {}.",
    ),
    "roads": (
        "{}.",
        "As for transport, {}.",
        "Regarding traffic, {}.",
    ),
    "water": (
        "{}.",
        "Hydrologically, {}.",
        "On the hydrological side, {}.",
        "In terms of hydrology, {}.",
    ),
}

# Of the targets' dimensions: `count` and `category` are noun phrases, so are the others but `location` and
# `distribution`, adverbials of one target or many.
TARGET_SENTENCES: dict[str, tuple[str, ...]] = {
    "count": (
        "The image holds {}.",
        "In number: {}.",
        "One counts {}.",
        "Here are {} to be seen.",
    ),
    "location": (
        "Targets are found {}.",
        "Location of targets: {}.",
        "Looking for targets, one finds them {}.",
        "As seen in the frame, targets lie {}.",
    ),
    "feature": (
        "Targets have {}.",
        "Form of targets: {}.",
        "Their outlines make {}.",
        "Drawn around targets are {}.",
    ),
    "size": (
        "Size of targets: {}.",
        "Targets measure {}.",
        "From corner to corner, targets are {}.",
        "Their extent: {}.",
    ),
    "category": (
        "Category of targets: {}.",
        "By category one finds {}.",
        "The classes present: {}.",
        "Told by class: {}.",
    ),
    "distribution": (
        "Targets stand {}.",
        "Arrangement of targets: {}.",
        "With respect to each other, targets are {}.",
        "How targets are grouped: {}.",
    ),
    "region": (
        "Beneath targets: {}.",
        "Targets stand on {}.",
        "What carries targets is {}.",
        "The region of targets is {}.",
    ),
    "environment": (
        "Around targets: {}.",
        "Targets are surrounded by {}.",
        "The environment of targets is {}.",
        "Close to targets one sees {}.",
    ),
}

ORDERS: tuple[tuple[str, ...], ...] = (
    ("terrain", "functionality", "distribution", "layout", "boundary", "buildings", "roads", "water"),
    ("terrain", "distribution", "layout", "boundary", "water", "buildings", "roads", "functionality"),
    ("functionality", "terrain", "distribution", "water", "buildings", "roads", "layout", "boundary"),
    ("terrain", "water", "buildings", "roads", "distribution", "boundary", "layout", "functionality"),
    ("layout", "terrain", "boundary", "distribution", "water", "buildings", "roads", "functionality"),
    ("functionality", "layout", "terrain", "distribution", "boundary", "water", "buildings", "roads"),
    ("terrain", "layout", "distribution", "buildings", "roads", "water", "boundary", "functionality"),
    ("functionality", "terrain", "buildings", "roads", "water", "layout", "boundary", "distribution"),
)


PLURAL_CLASSES = {"trees", "crops", "shrubs"}  # of land cover
_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def number(count: int) -> str:
    """A count in words up to twelve, in digits beyond: "three", "14", "1,200"."""
    return _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"


def count_of(word: str) -> int | None:
    """The count that `number` wrote; None where it did not write the word."""
    if word in _NUMBERS:
        return _NUMBERS.index(word)
    digits = word.replace(",", "")
    count = int(digits) if digits.isascii() and digits.isdigit() else 0
    return count if number(count) == word else None


def several(noun: str, count: int) -> str:
    """A counted noun: "one ship", "three aircraft", "14 vehicles"."""
    return f"{number(count)} {noun if count == 1 else plural(noun)}"


def series(parts: Sequence[str]) -> str:
    """Parts with commas and a last "and": "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def percent(share: float) -> str:
    """A share in [0, 1] in whole percent; what would round to 0 or 100 without being so is told by its limit."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "under 1%"
    if rounded == 100 and share < 1:
        return "over 99%"
    return f"{rounded}%"


def area(square_metres: float) -> str:
    """An area to two digits: "0.4 ha", "43 ha", "2.5 km²"."""
    if square_metres >= 9.95e5:
        return f"{two_digits(square_metres / 1e6)} km²"
    return f"{two_digits(square_metres / 1e4)} ha"


def distance(metres: float) -> str:
    """A length to two digits: "40 m", "820 m", "2.5 km"."""
    return f"{two_digits(metres / 1000)} km" if metres >= 995 else f"{two_digits(metres)} m"


def two_digits(value: float) -> str:
    """A positive number rounded to two significant digits, never in powers of ten: "0.012", "4", "43", "820"."""
    rounded = float(f"{value:.1e}")
    if rounded >= 10:
        return f"{rounded:.0f}"
    return f"{rounded:.{1 - floor(log10(rounded))}f}".rstrip("0").rstrip(".")
