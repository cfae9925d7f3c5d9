"""Screening: what taking a part out of a caption does to alignment and matching, and how likely the part is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusargpt.scio.judge import Judge, Seen
from fusargpt.scio.planting import Planted
from fusargpt.scio.settings import ScioSettings
from fusargpt.scio.texts import Probe, groups, probe

OBJECTIVES = ("itc", "itm", "mlm")
"""What speaks against a part: the gain of cosine and of the log-odds of matching without it, and nats a token of it."""
Evidence = tuple[float, float, float]
_DIGITS = 6


class Asked(NamedTuple):
    """A probe of the image at a place of the batch, and what it is asked for."""

    image: int
    of: tuple[Any, ...]
    probe: Probe


def screen(
    judge: Judge,
    seen: Seen,
    names: Sequence[str],
    captions: Sequence[Mapping[str, str]],
    planted: Sequence[Planted | None],
    settings: ScioSettings,
    *key: str,
) -> list[dict[str, Any]]:
    """For each image, as plain JSON: `id`, `vector`, `evidence` by dimension, and `planted`, an error's own.

    A caption of fewer parts than can be judged by each other has no evidence.
    """
    asked: list[Asked] = []
    for image, (name, caption, error) in enumerate(zip(names, captions, planted, strict=True)):
        for draw in map(str, range(settings.draws)):
            for group in groups(list(caption), settings.together, *key, name, draw):
                asked += [Asked(image, (False, part), probe(caption, group, part, name, draw)) for part in group]
                if error is not None and error.dimension in group:
                    told = {**caption, error.dimension: error.phrase}
                    asked.append(Asked(image, (True, error.dimension), probe(told, group, error.dimension, name, draw)))
    found = _means(asked, weigh(judge, seen, asked))
    rows: list[dict[str, Any]] = []
    for image, (name, error) in enumerate(zip(names, planted, strict=True)):
        evidence = {of[1]: values for (place, *of), values in found.items() if place == image and not of[0]}
        row: dict[str, Any] = {
            "id": name,
            "vector": [round(value, _DIGITS) for value in seen.vectors[image].tolist()],
            "evidence": evidence,
            "planted": None,
        }
        if error is not None and (image, True, error.dimension) in found:
            row["planted"] = {**error._asdict(), "evidence": found[image, True, error.dimension]}
        rows.append(row)
    return rows


def weigh(judge: Judge, seen: Seen, asked: Sequence[Asked]) -> list[Evidence]:
    """The evidence of each probe; texts that are asked twice are read once."""
    if not asked:
        return []
    texts = list(dict.fromkeys((one.image, text) for one in asked for text in (one.probe.whole, one.probe.rest)))
    fits = dict(
        zip(texts, judge.fits(seen, [text for _, text in texts], [image for image, _ in texts]).tolist(), strict=True)
    )
    surprise = judge.surprise(
        seen, [one.probe.whole for one in asked], [one.probe.span for one in asked], [one.image for one in asked]
    ).tolist()
    found: list[Evidence] = []
    for one, nats in zip(asked, surprise, strict=True):
        whole, rest = (fits[one.image, text] for text in (one.probe.whole, one.probe.rest))
        found.append((rest[0] - whole[0], rest[1] - whole[1], nats))
    return found


def _means(asked: Sequence[Asked], evidence: Sequence[Evidence]) -> dict[tuple[Any, ...], list[float]]:
    """Over draws, by image and what was asked for."""
    found: dict[tuple[Any, ...], list[Evidence]] = {}
    for one, values in zip(asked, evidence, strict=True):
        found.setdefault((one.image, *one.of), []).append(values)
    return {
        of: [round(value, _DIGITS) for value in np.mean(np.array(values), 0).tolist()] for of, values in found.items()
    }
