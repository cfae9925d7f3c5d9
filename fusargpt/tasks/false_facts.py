"""Facts exchanged for others that are false of the same scene, for texts that a model has to tell from the true one.

An exchange goes through all that a text says, so that no sentence contradicts another and only the image tells. The
number of targets is one more or one less; a land cover, a class or a finer class is one that the scene does not have;
places are mirrored. That it is false follows from what the phrases of `eight_dimensions` and `target_dimensions` mean:
counts are exact, all classes are named, and of two places of one thing at most one is true.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.facts import TARGET_PREFIX, classes_in, counts_in
from fusargpt.tasks.stable_random import whole_number
from fusargpt.tasks.target_dimensions import (
    CELL_NAMES,
    MOST_IN,
    NO_TARGETS,
    SIZE_CLASSES_M,
    UNKNOWN_GROUND,
    category,
    in_cells,
)
from fusargpt.tasks.target_names import TARGETS, plural
from fusargpt.tasks.wordings import PLURAL_CLASSES, series, several

FINE_LABELS = {
    "ship": ("cargo ship", "fishing vessel", "tanker"),
    "aircraft": ("narrow-body airliner", "wide-body airliner"),
}
"""What a finer class is exchanged for; those of the simulator."""

Phrases = dict[str, str]

# Other phrases know these under names of their own: "open water", "no buildings", "farmland".
_RENAMED = ("water", "built area", "crops")
_MANY = 1_000_000_000
_PLACES = ("target_location", "distribution", "buildings", "water")
_EDGES = ("upper", "lower", "left", "right")
_MIRRORS = ({"left": "right", "right": "left"}, {"upper": "lower", "lower": "upper"})


def false_phrases(phrases: Mapping[str, str], said: Sequence[str], seed: int) -> Phrases | None:
    """The phrases of the dimensions `said` with one fact exchanged, always the same for a seed.

    Args:
        phrases: all that is known of the scene.
        said: of these, the dimensions that the text speaks of.
        seed: chooses between kinds of exchange, and what is exchanged.

    Returns:
        All phrases of `said`: those that the exchange does not touch as they were, and at least one that is false of
        the scene. None where nothing can be exchanged for what is known to be false.
    """
    told = {dimension: phrases[dimension] for dimension in said}

    def draw(*name: str) -> int:
        return whole_number("false", str(seed), *name)

    # Numbers are what is hardest to see and the most often repeated: where they can be exchanged, every other time.
    exchanges = sorted(_EXCHANGES, key=lambda exchange: draw("kind", exchange.__name__))
    for exchange in (_count, *exchanges) if draw("number") % 2 else exchanges:
        try:
            exchanged = exchange(phrases, told, draw)
        except ValueError:
            # Captions by models contradict themselves, or say things in forms of their own.
            continue
        changed = {name: phrase for name, phrase in exchanged.items() if phrase != told[name]}
        if changed:
            return told | changed
    return None


_Draw = Callable[..., int]


def _count(phrases: Mapping[str, str], told: Phrases, draw: _Draw) -> Phrases:
    """One target more or less."""
    if "target_count" not in phrases or "target_category" not in phrases:
        return {}
    counts, total = counts_in(phrases["target_count"]), sum(counts_in(phrases["target_count"]).values())
    labels = sorted(classes_in(phrases["target_category"])) or list(TARGETS)
    label = labels[draw("label") % len(labels)]
    count = counts.get(label if label in counts else plural(label), 0)
    other = count + 1 if not count or draw("more") % 2 else count - 1
    ranges = [possible_targets(name, phrase) for name, phrase in told.items() if name != "target_count"]
    if not all(fewest <= total - count + other <= most for fewest, most in ranges):
        return {}
    if not count or not other:
        if total > 1 or "functionality" in told or "distribution" in told or "target_count" not in told:
            return {}
        return {"target_count": several(label, 1) if other else str(NO_TARGETS.count)}
    old, new = several(label, count), several(label, other)
    changed: Phrases = {}
    for name in {"target_count", "functionality"} & told.keys():
        changed[name] = re.sub(rf"\b{re.escape(old)}(?![\w-])", new, told[name])
    if "distribution" in told:
        # A list of cells says how many are in each, and "across the image" are four or more.
        clause = re.compile(rf"\b{re.escape(old)} (?:is|are) (in the (?:\w+ )?\w+$|across the image$)")
        clauses = told["distribution"].split("; ")
        found = [match for part in clauses if (match := clause.match(part))]
        if not found or (found[0][1].startswith("across") and other < 4):
            return {}
        verb = "is" if other == 1 else "are"
        changed["distribution"] = "; ".join(
            f"{new} {verb} {match[1]}" if (match := clause.match(part)) else part for part in clauses
        )
    return changed


def possible_targets(dimension: str, phrase: str) -> tuple[int, int]:
    """The fewest and the most targets of which a phrase of another dimension may be true.

    Raises:
        ValueError: a category or a size that this dimension cannot have.
    """
    fewest, most = 1, _MANY
    if dimension == "layout":
        fewest, most = (3, _MANY) if "object" in phrase else (0, 2)
    elif not dimension.startswith(TARGET_PREFIX):
        fewest = 0
    elif dimension == "target_location":
        fewest = 4 + phrase.startswith(MOST_IN) if phrase.startswith("all over") else len(_listed(phrase))
    elif dimension == "target_feature":
        fewest = 3 if "mostly" in phrase else 2 if "different" in phrase else 1
    elif dimension == "target_size":
        edges = [int(edge) for edge in re.findall(r"\d+", phrase)]
        if not edges:
            raise ValueError(f"target_size: found {phrase!r}, expected metres as '50 to 100 m across'")
        fewest = 2 if sum(edges[0] <= edge <= edges[-1] for edge in SIZE_CLASSES_M) > 2 else 1
    elif dimension == "target_category":
        fewest = sum(max(1, len(fine)) for fine in classes_in(phrase).values())
    elif dimension == "target_distribution":
        fewest, most = {"alone": (1, 1), "in a row": (3, _MANY)}.get(phrase, (2, _MANY))
    elif dimension == "target_region":
        fewest = len(_listed(phrase))
    return fewest, most


def _listed(phrase: str) -> list[str]:
    return re.split(r", | and ", phrase)


def _cover(phrases: Mapping[str, str], told: Phrases, draw: _Draw) -> Phrases:
    """A land cover that the scene does not have in place of one that it has."""
    terrain = phrases.get("terrain", "unknown")
    if "unknown" in terrain:
        return {}
    named = [name for name in LANDCOVER_CLASSES if _names(terrain, name)]
    olds = [name for name in named if name not in _RENAMED and any(_names(phrase, name) for phrase in told.values())]
    news = [name for name in LANDCOVER_CLASSES if name not in (*_RENAMED, *named)]
    if not olds or not news:
        return {}
    old, new = olds[draw("old") % len(olds)], news[draw("new") % len(news)]
    changed: Phrases = {}
    for name, phrase in told.items():
        exchanged = re.sub(rf"\b{old}\b", new, phrase)
        if name == "terrain":
            changed[name] = exchanged
        elif name in ("target_region", "target_environment"):
            changed[name] = _in_order(exchanged)
        elif name == "boundary":
            changed[name] = re.sub(r"(?<=between )(.+? and .+?)(?=,? is )", lambda pair: _in_order(pair[1]), exchanged)
        elif name == "distribution" and re.match(r"[^;]* lies? ", phrase):
            places, *objects = phrase.split("; ")
            places = re.sub(rf"\b{old}\b", new, places)
            verb = "lie" if new in PLURAL_CLASSES else "lies"
            changed[name] = "; ".join([re.sub(rf"^{new} lies? ", f"{new} {verb} ", places), *objects])
    return changed


def _names(phrase: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", phrase) is not None


def _in_order(phrase: str) -> str:
    """Land covers in the order of their classes."""
    return series(sorted(_listed(phrase), key=[*LANDCOVER_CLASSES, UNKNOWN_GROUND].index))


def _class(phrases: Mapping[str, str], told: Phrases, draw: _Draw) -> Phrases:
    """Another class of target, or other finer classes of it."""
    if "target_category" not in told or "target_size" in told:
        return {}
    classes = classes_in(told["target_category"])
    if len(classes) != 1:
        return {}
    [(label, fine)] = classes.items()
    elsewhere = [
        name for name in ("functionality", "distribution", "target_region", "target_environment") if name in told
    ]
    if draw("finer") % 2 or elsewhere:
        known = FINE_LABELS.get(label, ())
        if not fine or not fine <= set(known):
            return {}
        absent = [name for name in known if name not in fine]
        gone = sorted(fine)[draw("gone") % len(fine)]
        added = {absent[draw("added") % len(absent)]} if absent else set[str]()
        return {"target_category": category({label: fine - {gone} | added})}
    if label not in TARGETS:
        return {}
    other = next(target for target in TARGETS if target != label)
    known = FINE_LABELS[other]
    start = draw("other")
    others = {known[(start + step) % len(known)] for step in range(len(fine))} if fine else set[str]()
    changed = {"target_category": category({other: others})}
    if "target_count" in told:
        (count,) = counts_in(told["target_count"]).values()
        changed["target_count"] = several(other, count)
    return changed


def _place(phrases: Mapping[str, str], told: Phrases, draw: _Draw) -> Phrases:
    """All places mirrored, left to right or top to bottom."""
    if any(edge in phrases.get("target_category", "").split() for edge in _EDGES):
        return {}
    first = draw("axis") % 2
    for mirror in (_MIRRORS[first], _MIRRORS[1 - first]):
        changed = {name: _mirrored(name, told[name], mirror) for name in _PLACES if name in told}
        changed = {name: phrase for name, phrase in changed.items() if _meant(phrase) != _meant(told[name])}
        if changed:
            # There may be another strip where its mirror image would be, so that this alone were not known as false.
            return changed | ({"roads": _mirrored("roads", told["roads"], mirror)} if "roads" in told else {})
    return {}


def _mirrored(dimension: str, phrase: str, mirror: Mapping[str, str]) -> str:
    """The same of the mirrored image, listed in the order that is usual there."""
    swapped = re.sub("|".join(rf"\b{side}\b" for side in mirror), lambda side: mirror[side[0]], phrase)
    if dimension == "target_location" and swapped.startswith("in "):
        places = _listed(swapped.removeprefix("in "))
        return in_cells([CELL_NAMES.index(place.removeprefix("the ")) for place in places])
    if dimension == "water":
        return re.sub(
            r"(?<=reaches the )(.+)(?= edge)",
            lambda edges: series(sorted(_listed(edges[1]), key=_EDGES.index)),
            swapped,
        )
    return swapped


def _meant(phrase: str) -> list[tuple[str, frozenset[str]]]:
    """What a phrase says of places, whatever the order in which it lists those of one thing."""
    clauses = [re.fullmatch(r"(.*? in |)(.*)", clause) for clause in phrase.split("; ")]
    return [(match[1], frozenset(_listed(match[2]))) for match in clauses if match]


_EXCHANGES = (_count, _cover, _class, _place)
