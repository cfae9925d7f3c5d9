"""Fourth stage: which targets there are, by boxes that were given, or by the bright objects of the third stage."""

from dataclasses import asdict, replace

from fusargpt.captioning.claims import Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.rules.landforms import WITH_TARGETS, landform_claims
from fusargpt.tasks.target_dimensions import TargetBox, describe_targets
from fusargpt.tasks.wordings import several

STAGE = "instances"
GIVEN, DETECTED, BRIGHT = 0.95, 0.7, 0.4
"""Confidence in targets: annotated ones, those of a detector, and bright objects."""


def instances(observation: Observation, findings: Findings) -> Findings:
    """Adds the eight target parts, and names targets in the landform parts that are claimed already."""
    targets = targets_of(observation, findings)
    findings = replace(findings, changes=(), targets=targets)
    if targets is None:
        return findings
    findings = findings.saying(target_claims(observation, findings, STAGE))
    parts = tuple(name for name in WITH_TARGETS if findings.claim("landform", name) is not None)
    reason = several("target", len(targets)) if targets else ""
    return findings.saying(landform_claims(observation, findings, STAGE, parts), reason)


def targets_of(observation: Observation, findings: Findings) -> tuple[TargetBox, ...] | None:
    """The targets to begin with; None where nothing says whether there are any."""
    if observation.targets is not None:
        return tuple(observation.targets)
    candidates = findings.claim("scene", "candidates")
    if candidates is None:
        return None
    return tuple(TargetBox(item["bbox_2d"], item["label"]) for item in candidates.facts["boxes"])


def target_claims(observation: Observation, findings: Findings, stage: str) -> list[Claim]:
    """The target parts that can be said of the working targets and land cover."""
    targets, size = findings.targets, observation.image.size
    if targets is None:
        return []
    cover = None if findings.regions is None else findings.regions.cover
    described = asdict(describe_targets(targets, size, cover, observation.resolution_m))
    evidence, confidence = _trust(observation)
    facts = {"targets": [{"bbox_2d": list(item.box), "label": item.label} for item in targets]}
    return [
        Claim("target", part, phrase, facts if part == "count" else {}, evidence, confidence, stage)
        for part, phrase in described.items()
        if phrase is not None
    ]


def _trust(observation: Observation) -> tuple[str, float]:
    if observation.targets is None:
        return "bright objects on dark ground", BRIGHT
    return ("boxes that were annotated", GIVEN) if observation.vetted else ("boxes of a detector", DETECTED)
