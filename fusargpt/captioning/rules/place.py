"""First stage: where the image lies, when it was taken, and what land it shows by raster or AlphaEarth."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from fusargpt.captioning.claims import Claim, Findings, Regions
from fusargpt.captioning.distances import nearest_in
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.prototypes import embedding_log_odds
from fusargpt.captioning.rules.landforms import PLACE_PARTS, cover_shares, landform_claims
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior import Prior
from fusargpt.tasks.cover_measures import patches
from fusargpt.tasks.wordings import percent, series

STAGE = "place"
RASTER_TRUST = 0.738
"""How often Dynamic World is of one mind with experts (Brown et al. 2022, Scientific Data 9, 251)."""
ALIKE = 0.93
"""Cosine of two AlphaEarth vectors of one region, from here on."""
_TROPIC = 23.44
_SEASONS = ("winter", "spring", "summer", "autumn")


def place(observation: Observation, findings: Findings) -> Findings:
    """Adds coordinates, season, land cover with its margin, and the landform parts that land cover alone tells."""
    regions = regions_of(observation)
    findings = Findings(findings.claims, (), regions, findings.targets)
    claims = [*_location(observation), *_season(observation)]
    if regions is not None:
        claims.append(_cover(findings, regions))
    claims += landform_claims(observation, findings, STAGE, PLACE_PARTS)
    return findings.saying(claims)


def regions_of(observation: Observation) -> Regions | None:
    """The land cover by the raster where there is one, else by AlphaEarth; None without both."""
    if observation.cover is not None and (observation.cover >= 0).any():
        return _from_raster(observation.cover)
    if observation.prior is not None and len(observation.prior.embeddings):
        return _from_prior(observation.prior, observation.image.size)
    return None


def _from_raster(cover: NDArray[np.integer]) -> Regions:
    labels, sizes = patches(cover, cover >= 0)
    classes = np.zeros(len(sizes), np.int64)
    classes[labels[labels > 0] - 1] = cover[labels > 0]
    other = (1 - RASTER_TRUST) / (len(LANDCOVER_CLASSES) - 1)
    odds = np.full((len(sizes), len(LANDCOVER_CLASSES)), np.log(other))
    odds[np.arange(len(sizes)), classes] = np.log(RASTER_TRUST)
    return Regions(labels.astype(np.int64) - 1, odds, "raster")


def _from_prior(prior: Prior, size: tuple[int, int]) -> Regions:
    """Anchors of like vectors are one region; a pixel is its nearest anchor's."""
    members = groups(prior.embeddings)
    means = np.stack([prior.embeddings[members == group].mean(0) for group in range(members.max() + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return Regions(members[nearest_anchor(prior, size)], embedding_log_odds(means), "prototypes")


def groups(vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """The group of each unit vector [N], from 0 on: vectors join the group whose first one they are most alike."""
    firsts: list[int] = []
    members = np.zeros(len(vectors), np.int64)
    for index, vector in enumerate(vectors):
        alike = vectors[firsts] @ vector
        if firsts and alike.max() >= ALIKE:
            members[index] = int(alike.argmax())
        else:
            members[index] = len(firsts)
            firsts.append(index)
    return members


def nearest_anchor(prior: Prior, size: tuple[int, int]) -> NDArray[np.int64]:
    """Index of the nearest anchor to each pixel of an image of `size` (width, height), [H, W]."""
    width, height = size
    anchor_at = np.full((height, width), -1)
    rows, columns = np.rint(prior.positions * (height - 1, width - 1)).astype(int).T
    anchor_at[rows, columns] = np.arange(len(rows))
    return anchor_at[nearest_in(anchor_at >= 0)]


def _location(observation: Observation) -> list[Claim]:
    if observation.bounds is None:
        return []
    west, south, east, north = observation.bounds
    longitude, latitude = (west + east) / 2, (south + north) / 2
    hemisphere = "northern" if latitude >= 0 else "southern"
    belt = ", in the tropics" if abs(latitude) < _TROPIC else ""
    text = (
        f"{abs(latitude):.2f}° {'N' if latitude >= 0 else 'S'}, "
        f"{abs(longitude):.2f}° {'E' if longitude >= 0 else 'W'}, {hemisphere} hemisphere{belt}"
    )
    facts = {"longitude": round(longitude, 5), "latitude": round(latitude, 5)}
    return [Claim("scene", "location", text, facts, "the georeference", 1.0, STAGE)]


def _season(observation: Observation) -> list[Claim]:
    if not observation.acquired or observation.bounds is None:
        return []
    day = date.fromisoformat(observation.acquired)
    latitude = (observation.bounds[1] + observation.bounds[3]) / 2
    facts = {"month": day.month}
    if abs(latitude) < _TROPIC:
        text = f"{day:%B}, in the tropics without summer and winter"
    else:
        quarter = (day.month % 12 // 3 + (0 if latitude >= 0 else 2)) % 4
        text = f"{day:%B}, {_SEASONS[quarter]} there"
    return [Claim("scene", "season", text, facts, "date and latitude", 1.0, STAGE)]


def _cover(findings: Findings, regions: Regions) -> Claim:
    shares = cover_shares(findings)
    margins = _margins(regions)
    text = series([f"{name} ({percent(share)}{margins.get(name, '')})" for name, share in shares.items()])
    if regions.source == "raster":
        evidence = f"raster of Dynamic World, of one mind with experts in {RASTER_TRUST:.0%}"
    else:
        evidence = f"{len(regions.log_odds)} groups of AlphaEarth vectors, each by its nearest class prototype"
    return Claim("scene", "cover", text, {"shares": shares}, evidence, regions.confidence, STAGE)


def _margins(regions: Regions) -> dict[str, str]:
    """Of classes that are told by prototypes: the runner-up of their least certain region, where it is near."""
    if regions.source == "raster":
        return {}
    margins: dict[str, str] = {}
    for odds in regions.probabilities[np.argsort(-regions.probabilities.max(1))]:
        first, second = np.argsort(-odds)[:2]
        margins[LANDCOVER_CLASSES[first]] = (
            f", p {odds[first]:.2f} before {LANDCOVER_CLASSES[second]} {odds[second]:.2f}"
        )
    return margins
