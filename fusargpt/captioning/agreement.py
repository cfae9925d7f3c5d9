"""Whether a phrase is true, where the true phrase of its dimension is known.

Words have to be the same and whole numbers equal; shares may be off by ten points of the image and lengths by 30 %,
which is what a map of another resolution makes of the same ground. Areas, which follow from shares, are not looked at.
A terrain is told by the shares of its classes, a distribution by the place of each class, a layout by its large
patches. A category that leaves finer classes out is true.
"""

import re

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.facts import TARGET_PREFIX, classes_in

SHARE, LENGTH = 0.1, 0.3
_AREA = re.compile(r" \(about [0-9.,]+ (?:ha|km²)\)")
_SHARE = re.compile(r"(under |over )?([0-9]+)%")
_LENGTH = re.compile(r"([0-9.,]+) (k?m)\b")
_CLASS = re.compile("|".join(LANDCOVER_CLASSES))
_PLACE = re.compile(
    r"everywhere in the image|over most of the image|across the image|across the middle|down the middle|"
    r"on the (?:left|right) side|in the (?:upper|lower) part|"
    r"in the (?:(?:upper|middle|lower) (?:left|centre|right)|centre)"
)
_SMALL_PATCHES = re.compile(r"(?: and )?\S+ small patch(?:es)?")
_MORE = re.compile(r", the larg(?:er|est) with (?:(?:under|over) )?[0-9]+% of the image")


def agrees(dimension: str, said: str, true: str) -> bool:
    """Whether `said` is true of an image of which `true` is, both of one of `fusargpt.tasks.facts.DIMENSIONS`.

    Raises:
        ValueError: another dimension, or a true phrase that this dimension cannot have.
    """
    if said == true:
        return True
    if dimension == "terrain":
        return _close(_covers(said), _covers(true))
    if dimension == "distribution":
        return _placed(said) == _placed(true) and _behind(said) == _behind(true)
    if dimension == "layout":
        return _alike(_large(said), _large(true))
    if dimension == f"{TARGET_PREFIX}category":
        return _same_classes(said, true)
    return _alike(said, true)


def _covers(phrase: str) -> dict[str, float]:
    """Shares of the classes of a terrain, 0 of traces; "nothing but" is all of it, and what has no share is unknown."""
    if phrase.startswith("nothing but"):
        return dict.fromkeys(_CLASS.findall(phrase), 1.0)
    told = phrase.partition("traces of")[0]
    return {match[0]: _share(told[match.end() :]) for match in _CLASS.finditer(told)}


def _share(text: str) -> float:
    match = re.match(rf" \({_SHARE.pattern}\)", text)
    return -1.0 if match is None else int(match[2]) / 100


def _close(said: dict[str, float], true: dict[str, float]) -> bool:
    if any(share < 0 for share in said.values()):
        return False
    return all(abs(said.get(name, 0) - true.get(name, 0)) <= SHARE + 1e-9 for name in {*said, *true})


def _placed(phrase: str) -> dict[str, str]:
    """The place of each class, in what a distribution says of land cover."""
    land, start, found = phrase.partition(";")[0], 0, dict[str, str]()
    for place in _PLACE.finditer(land):
        found |= dict.fromkeys(_CLASS.findall(land[start : place.start()]), place[0])
        start = place.end()
    return found


def _behind(phrase: str) -> str:
    """What a distribution says of targets, behind what it says of land cover."""
    return phrase.partition(";")[2]


def _large(phrase: str) -> str:
    return _MORE.sub("", _SMALL_PATCHES.sub("", phrase))


def _same_classes(said: str, true: str) -> bool:
    known = classes_in(true)
    try:
        found = classes_in(said)
    except ValueError:
        return False
    return found.keys() == known.keys() and all(found[label] <= known[label] for label in known)


def _alike(said: str, true: str) -> bool:
    """Equal but for numbers, and these as close as they have to be."""
    one, other = (_numbers(_AREA.sub("", phrase)) for phrase in (said, true))
    if one[0] != other[0]:
        return False
    shares = all(abs(a - b) <= SHARE + 1e-9 for a, b in zip(one[1], other[1], strict=True))
    return shares and all(abs(a - b) <= LENGTH * b for a, b in zip(one[2], other[2], strict=True))


def _numbers(phrase: str) -> tuple[str, list[float], list[float]]:
    """A phrase with marks in place of shares and lengths, and these: shares of 1, metres."""
    shares = [int(match[2]) / 100 for match in _SHARE.finditer(phrase)]
    rest = _SHARE.sub("%", phrase)
    lengths = [float(match[1].replace(",", "")) * (1000 if match[2] == "km" else 1) for match in _LENGTH.finditer(rest)]
    return _LENGTH.sub("m", rest), shares, lengths
