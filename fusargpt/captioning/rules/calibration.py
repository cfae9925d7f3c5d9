"""Fifth stage: what contradicts what, and which of the two gives way.

A ship lies on water or within its own length of some, an aircraft on built ground. Where it does not, either the land
cover is wrong or the target: the odds of both decide. What no class can be as long as is no target of it. What is left
is told anew, and what is less certain than `least` is left unsaid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fusargpt.captioning.claims import Claim, Findings, Regions
from fusargpt.captioning.distances import distance_to
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.rules.instances import target_claims
from fusargpt.captioning.rules.landforms import resay
from fusargpt.captioning.rules.sizes import GROUND, LENGTHS_M, possible
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.target_dimensions import TargetBox
from fusargpt.tasks.target_names import with_article
from fusargpt.tasks.wordings import series, several

STAGE = "calibration"
LEAST_CONFIDENCE = 0.3
WRONG_TARGET = {"annotated": 0.05, "detected": 0.3, "bright": 0.5}
"""How often a target is none, or of another class, by where it comes from."""
_SAME = 0.7  # intersection over union of two boxes around one thing


@dataclass(frozen=True)
class _Working:
    """Land cover and targets while they are being made to agree, and why what was changed."""

    observation: Observation
    regions: Regions | None
    targets: tuple[TargetBox, ...] | None
    reasons: tuple[str, ...] = ()


def calibration(observation: Observation, findings: Findings, least: float = LEAST_CONFIDENCE) -> Findings:
    """Resolves contradictions between targets, their sizes and the land cover, and drops what is too uncertain."""
    findings = replace(findings, changes=())
    working = _Working(observation, findings.regions, findings.targets)
    for rule in RULES:
        working = rule(working)
    if working.reasons:
        reason = series(list(dict.fromkeys(working.reasons)))
        findings = replace(findings, regions=working.regions, targets=working.targets)
        findings = findings.saying(_standing(findings, target_claims(observation, findings, STAGE)), reason)
        findings = resay(observation, findings, STAGE, reason)
    for claim in list(findings.claims.values()):
        if claim.schema != "scene" and claim.confidence < least:
            findings = findings.without(claim.key, f"confidence {claim.confidence:.2f}, below {least:.2f}")
    return findings


def _standing(findings: Findings, claims: list[Claim]) -> list[Claim]:
    """Those of dimensions in which something is claimed; others were never asked for."""
    return [claim for claim in claims if claim.key in findings.claims]


def _no_doubles(working: _Working) -> _Working:
    if not working.targets:
        return working
    kept: list[TargetBox] = []
    for target in working.targets:
        if all(target.label != other.label or _overlap(target.box, other.box) < _SAME for other in kept):
            kept.append(target)
    dropped = len(working.targets) - len(kept)
    if not dropped:
        return working
    reason = f"{several('box', dropped)} around a target that has one already"
    return replace(working, targets=tuple(kept), reasons=(*working.reasons, reason))


def _possible_sizes(working: _Working) -> _Working:
    if not working.targets:
        return working
    resolution_m = working.observation.resolution_m
    kept, reasons = [], list(working.reasons)
    for target in working.targets:
        if possible(target.label, tuple(target.box), resolution_m):
            kept.append(target)
            continue
        length = max(target.box[2] - target.box[0], target.box[3] - target.box[1]) * (resolution_m or 0)
        low, high = LENGTHS_M[target.label]
        reasons.append(f"{length:.0f} m is no length of {with_article(target.label)} ({low:.0f} to {high:.0f} m)")
    return replace(working, targets=tuple(kept), reasons=tuple(reasons))


def _on_their_ground(working: _Working) -> _Working:
    regions = working.regions
    if not working.targets or regions is None:
        return working
    wrong = WRONG_TARGET["bright" if working.observation.targets is None else _origin(working.observation)]
    stranded = _stranded(working.targets, regions)
    if not stranded:
        return working
    odds, reasons = regions.log_odds.copy(), list(working.reasons)
    # Per region, because the targets on one speak together: all are wrong, or the land cover is.
    for index in sorted({region for region, _ in stranded.values()}):
        for ground in dict.fromkeys(GROUND.values()):
            those = [at for at, (region, needs) in stranded.items() if region == index and needs == ground]
            of_ground = LANDCOVER_CLASSES.index(ground)
            gap = float(odds[index, of_ground] - odds[index].max())
            if those and gap + len(those) * np.log((1 - wrong) / wrong) > 0:
                before = LANDCOVER_CLASSES[odds[index].argmax()]
                odds[index, of_ground] = odds[index].max() - gap
                label = working.targets[those[0]].label
                reasons.append(f"{several(label, len(those))} on what was taken for {before}: it is {ground}")
    regions = replace(regions, log_odds=odds)
    still = _stranded(working.targets, regions)
    kept: list[TargetBox] = []
    for at, target in enumerate(working.targets):
        if at not in still:
            kept.append(target)
            continue
        other = _other_class(working.observation, target, regions, still[at][0])
        beneath = LANDCOVER_CLASSES[regions.classes[still[at][0]]]
        if other is not None:
            kept.append(TargetBox(target.box, other))
            reasons.append(
                f"{with_article(target.label)} on {beneath}, where {with_article(other)} of that size can be"
            )
        else:
            reasons.append(f"{with_article(target.label)} on {beneath}, without {GROUND[target.label]} near it")
    return _Working(working.observation, regions, tuple(kept), tuple(reasons))


RULES: tuple[Callable[[_Working], _Working], ...] = (_no_doubles, _possible_sizes, _on_their_ground)


def _stranded(targets: tuple[TargetBox, ...], regions: Regions) -> dict[int, tuple[int, str]]:
    """By number, targets with no ground of theirs beneath or within their own length: their region, their ground."""
    cover = regions.cover
    away: dict[str, NDArray[np.float64]] = {}
    found: dict[int, tuple[int, str]] = {}
    for number, target in enumerate(targets):
        ground = GROUND.get(target.label)
        if ground is None:
            continue
        if ground not in away:
            away[ground] = distance_to(cover == LANDCOVER_CLASSES.index(ground))
        window = _window(target.box, cover.shape)
        beneath = regions.labels[window]
        if not (beneath >= 0).any():
            continue
        length = max(target.box[2] - target.box[0], target.box[3] - target.box[1])
        if away[ground][window].min() > length:
            found[number] = int(np.bincount(beneath[beneath >= 0]).argmax()), ground
    return found


def _other_class(observation: Observation, target: TargetBox, regions: Regions, region: int) -> str | None:
    beneath = LANDCOVER_CLASSES[regions.classes[region]]
    for label, ground in GROUND.items():
        fits = possible(label, tuple(target.box), observation.resolution_m) and observation.resolution_m is not None
        if label != target.label and ground == beneath and fits:
            return label
    return None


def _origin(observation: Observation) -> str:
    return "annotated" if observation.vetted else "detected"


def _window(box: Sequence[float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = box
    left, top = max(int(x1), 0), max(int(y1), 0)
    return slice(top, max(min(int(np.ceil(y2)), shape[0]), top + 1)), slice(
        left, max(min(int(np.ceil(x2)), shape[1]), left + 1)
    )


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    a, b = np.asarray(one, float), np.asarray(other, float)
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)
