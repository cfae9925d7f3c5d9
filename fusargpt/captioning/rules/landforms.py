"""The eight landform parts of what is held to be true at one point of the chain, as claims."""

from dataclasses import asdict

import numpy as np

from fusargpt.captioning.claims import Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.answers import LabelledBox
from fusargpt.tasks.eight_dimensions import Description, describe_place

PLACE_PARTS = ("terrain", "distribution", "layout", "boundary", "buildings", "roads", "water")
"""What land cover says by itself; `functionality` is the second stage's."""
WITH_TARGETS = ("functionality", "distribution", "layout", "roads")
"""The parts in which targets are named or counted."""
# Told in metres, hectares or by what has a length.
_NEED_RESOLUTION = ("layout", "boundary", "buildings", "roads", "water")
_SOURCES = {
    "raster": "the land-cover raster",
    "prototypes": "AlphaEarth at the anchors, by the nearest class prototype",
}


def describe(observation: Observation, findings: Findings) -> Description | None:
    """The eight parts of the working land cover and targets; None without land cover."""
    if findings.regions is None or not (findings.regions.labels >= 0).any():
        return None
    objects = [LabelledBox(target.box, target.label) for target in findings.targets or ()]
    return describe_place(findings.regions.cover, objects, observation.resolution_m or 1.0)


def landform_claims(observation: Observation, findings: Findings, stage: str, parts: tuple[str, ...]) -> list[Claim]:
    """Those of `parts` that can be said; what needs the ground's resolution only where that is known."""
    described, regions = describe(observation, findings), findings.regions
    if described is None or regions is None:
        return []
    phrases = asdict(described)
    shares = cover_shares(findings)
    evidence = _SOURCES[regions.source]
    if findings.targets and stage != "place":
        evidence += f", and {len(findings.targets)} targets"
    return [
        Claim(
            "landform",
            part,
            phrases[part],
            {"shares": shares} if part == "terrain" else {},
            evidence,
            regions.confidence,
            stage,
        )
        for part in parts
        if part not in _NEED_RESOLUTION or observation.resolution_m is not None
    ]


def resay(observation: Observation, findings: Findings, stage: str, reason: str) -> Findings:
    """The parts that stand, said again of what has become of land cover and targets."""
    parts = tuple(name for schema, name in findings.claims if schema == "landform")
    return findings.saying(landform_claims(observation, findings, stage, parts), reason)


def cover_shares(findings: Findings) -> dict[str, float]:
    """Of the image by class, to three digits, the largest first; empty without land cover."""
    if findings.regions is None:
        return {}
    cover = findings.regions.cover
    counts = np.bincount(cover[cover >= 0], minlength=len(LANDCOVER_CLASSES)) / cover.size
    order = np.argsort(-counts, kind="stable")
    return {LANDCOVER_CLASSES[index]: round(float(counts[index]), 3) for index in order if counts[index] > 0}
