"""Classes of targets, as they are named in questions and answers: which names can be classes, plural and article.

A class is what a dataset calls it: "bridge", "oil tank", "large-vehicle". Nothing heavy is imported here.
"""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from fusargpt.errors import InputError

TARGETS = ("ship", "aircraft")
"""The classes of the simulator, and so of the models that come with the package."""

_LONGEST = 60
# A letter somewhere: the number of a class without its name is none.
_NAME = re.compile(rf"(?=.*[^\W\d_])\w(?:[\w .+/&'-]{{0,{_LONGEST - 2}}}\w)?")
_RESERVED = ("none", "ignore")
# By the end of the noun; what is not here follows the rule.
_PLURALS = {"craft": "craft", "debris": "debris", "shelf": "shelves", "wharf": "wharves"}
_HISSING = ("s", "x", "z", "ch", "sh")
# Letters whose names begin with a vowel, of what is spelt, and vowels that sound like a consonant.
_SPELT_WITH_AN = "AEFHILMNORSX"
_NO_VOWELS = ("eu", "one", "uni", "use")


def check_target(name: str, field: str = "target") -> None:
    """Raises InputError for what can be no class: a name that a question or an answer could not hold in one piece."""
    plain = _NAME.fullmatch(name) and "  " not in name and " and " not in name
    if not plain or name.casefold() in _RESERVED:
        raise InputError(
            f"{field}: found {name!r}; expected the name of a class, as oil tank: at most {_LONGEST} letters, digits, "
            f"spaces and signs of -_.+/&', without 'and', and neither None nor ignore"
        )


def check_distinct(names: Iterable[str]) -> None:
    """Raises InputError for two classes that answers could not tell apart: "Ship" and "ship"."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(
                f"classes: found {other!r} and {name!r}, which are one class in answers; say that one is the other "
                f"with --label {other}={name}"
            )


def check_known(target: str, known: Sequence[str] | None, model: str) -> None:
    """Raises InputError for a class that the model was not trained to find; None knows whatever it knows."""
    if known is None or target in known:
        return
    close = get_close_matches(target, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    raise InputError(
        f"target: found {target!r}{meant}, which {model} was not trained to find; it knows {', '.join(known)}; name "
        "one of them or a model that was trained on it, or ask in words of your own"
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Classes in the order in which they are listed and asked about: those of `TARGETS` first, then by name."""
    found = set(names)
    return (*(name for name in TARGETS if name in found), *sorted(found.difference(TARGETS)))


def plural(noun: str) -> str:
    """The plural of a class: "bridges", "ferries", "oil tanks"; "aircraft" and its like stay as they are."""
    small = noun.lower()
    for ending, several in _PLURALS.items():
        if small.endswith(ending):
            return noun[: -len(ending)] + several
    if small.endswith(_HISSING):
        return f"{noun}es"
    if small.endswith("y") and not small.endswith(("ay", "ey", "oy", "uy")):
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def with_article(noun: str) -> str:
    """A class with its article: "a ship", "an oil tank", "an SUV", "a unit"."""
    spelt = noun[0].isupper() and not noun[1:2].islower()
    vowel = (
        noun[0] in _SPELT_WITH_AN if spelt else noun[0].lower() in "aeiou" and not noun.lower().startswith(_NO_VOWELS)
    )
    return f"{'an' if vowel else 'a'} {noun}"
