"""Third stage: what the backscatter shows, and whether the land cover that was claimed goes with it.

Rules of thumb: calm water mirrors the pulse away and is dark, and so is smooth pavement; metal and walls are bright;
everything else lies between and is told by little more than chance. So backscatter weighs classes against each other by
their statistics, but leaves built area the choice of being as dark as water.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fusargpt.captioning.backscatter import Levels, bright_objects, redraw, region_levels, to_unit
from fusargpt.captioning.claims import Claim, Findings, Regions
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.prototypes import backscatter_log_odds, expected_decibels
from fusargpt.captioning.rules.landforms import resay
from fusargpt.captioning.rules.sizes import GROUND, possible
from fusargpt.geo.land_classes import BUILT, LANDCOVER_CLASSES, WATER
from fusargpt.tasks.wordings import percent

STAGE = "radar"
PAVED = 0.3
"""Of built area: the chance that it is smooth pavement."""
_FEWEST_PIXELS = 100  # of a region whose level says something
_APART = 2.5  # standard deviations between what a class has and what is seen, from which on it is told


def radar(observation: Observation, findings: Findings) -> Findings:
    """Adds measured levels, draws the borders of land cover anew, weighs its classes, and looks for bright objects."""
    findings = replace(findings, changes=())
    if not observation.is_sar:
        return findings
    grey = observation.grey
    claims = [_levels(observation)]
    regions = findings.regions
    if regions is not None:
        if regions.source == "prototypes" and observation.prior is not None:
            regions = replace(regions, labels=redraw(grey, observation.prior, regions.labels))
        levels = region_levels(grey, regions.labels, len(regions.log_odds))
        claims += _contrast(observation, regions, levels)
        regions = _weighed(observation, regions, levels)
        findings = replace(findings, regions=regions)
        claims += _candidates(observation, regions, grey)
    findings = resay(observation, findings, STAGE, "borders and classes by backscatter")
    return findings.saying(claims)


def _levels(observation: Observation) -> Claim:
    levels = Levels.of(observation)
    text = (
        f"{levels.low:.1f} to {levels.high:.1f} {levels.unit} (5th to 95th percentile), median {levels.median:.1f}; "
        f"{percent(levels.dark)} dark and {percent(levels.bright)} bright"
    )
    facts = {name: round(value, 3) if isinstance(value, float) else value for name, value in vars(levels).items()}
    evidence = f"grey levels{', ' + observation.polarization if observation.polarization else ''}"
    return Claim("scene", "backscatter", text, facts, evidence, 1.0, STAGE)


def _contrast(observation: Observation, regions: Regions, levels: NDArray[np.float64]) -> list[Claim]:
    """The regions that are far brighter or darker than their class is, where levels are calibrated."""
    if observation.decibels is None or backscatter_log_odds(0.0, observation.polarization) is None:
        return []
    found: list[dict[str, object]] = []
    for index, landcover in enumerate(regions.classes):
        if np.isnan(levels[index]) or (regions.labels == index).sum() < _FEWEST_PIXELS:
            continue
        seen = to_unit(observation, float(levels[index]))
        mean, deviation = expected_decibels(int(landcover), observation.polarization)
        if abs(seen - mean) > _APART * deviation:
            found.append(
                {"class": LANDCOVER_CLASSES[landcover], "seen_db": round(seen, 1), "expected_db": round(mean, 1)}
            )
    if not found:
        return []
    parts = [f"{item['class']} at {item['seen_db']} dB, where {item['expected_db']} dB is usual" for item in found]
    return [Claim("scene", "contrast", "; ".join(parts), {"regions": found}, "class statistics", 1.0, STAGE)]


def _weighed(observation: Observation, regions: Regions, levels: NDArray[np.float64]) -> Regions:
    """Class odds with those of the backscatter, where levels are calibrated and the classes are AlphaEarth's.

    Those of a raster are left alone: on simulated places with planted errors it was right more often without.
    """
    if observation.decibels is None or regions.source == "raster":
        return regions
    odds = regions.log_odds.copy()
    for index, level in enumerate(levels):
        if np.isnan(level) or (regions.labels == index).sum() < _FEWEST_PIXELS:
            continue
        weights = backscatter_log_odds(to_unit(observation, float(level)), observation.polarization)
        if weights is not None:
            weights[BUILT] = np.logaddexp(np.log(1 - PAVED) + weights[BUILT], np.log(PAVED) + weights[WATER])
            odds[index] += weights
    return replace(regions, log_odds=odds)


def _candidates(observation: Observation, regions: Regions, grey: NDArray[np.float64]) -> list[Claim]:
    """Bright objects of a possible size on ground that carries targets, where nobody has annotated any."""
    if observation.targets is not None:
        return []
    boxes: list[dict[str, object]] = []
    for index, landcover in enumerate(regions.classes):
        labels = [name for name, ground in GROUND.items() if ground == LANDCOVER_CLASSES[landcover]]
        for box in bright_objects(grey, regions.labels == index) if labels else ():
            if possible(labels[0], box, observation.resolution_m):
                boxes.append({"bbox_2d": list(box), "label": labels[0]})
    text = f"{len(boxes)} bright objects on dark ground" if boxes else "no bright object on dark ground"
    return [Claim("scene", "candidates", text, {"boxes": boxes}, "levels above the ground", 0.5, STAGE)]
