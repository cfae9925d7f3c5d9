"""What a chat model is shown at each stage, and the JSON that it has to answer with."""

from collections.abc import Sequence
from typing import Any

from fusargpt.captioning.claims import LANDFORM, TARGET, Claim, Findings, Schema
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.rules.sizes import LENGTHS_M
from fusargpt.captioning.stages import FUNCTION, INSTANCES, PLACE, RADAR
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.tasks.target_names import with_article

PROMPTS_VERSION = 1
"""Raised by every change of what is asked, so that captions of two kinds are not mixed."""
KEEP, CORRECT, DROP = "keep", "correct", "drop"
SYSTEM = (
    "You describe synthetic aperture radar (SAR) images for a data set. Say only what the image and the listed facts "
    "show. Leave out every dimension that you do not know: nothing is better than a guess. Each text is a phrase of "
    "plain words in lower case, without a full stop and without 'possibly', 'likely' or 'may'. Answer with JSON alone."
)
_FORMS: dict[Schema, dict[str, str]] = {
    "scene": {},
    "landform": {
        "terrain": "land covers, the largest first, with shares: 'mostly water (61%) and trees (39%)'",
        "functionality": "what the place is used for: 'open water, with shipping (three ships)'",
        "distribution": "where each land cover lies: 'water lies on the left side and trees in the upper right'",
        "layout": "how many patches there are: 'two large patches and one small patch on 840 m by 840 m'",
        "boundary": "the longest boundary: 'the boundary between water and trees is bent and about 790 m long'",
        "buildings": "built area: 'built area covers 12% (about 8.5 ha), in one compact patch in the centre', or 'no "
        "buildings are mapped'",
        "roads": "roads and runways that can be seen, or 'no roads are annotated'",
        "water": "'water covers 61% (about 43 ha) and reaches the left edge', or 'no water is mapped'",
    },
    "target": {
        "count": "'three ships', 'one aircraft and two ships', or 'no targets'",
        "location": "cells of a 3 x 3 grid that hold targets: 'in the upper left and the centre'",
        "feature": "form of their boxes: 'boxes mostly wider than high'",
        "size": "their extent by classes of metres: '50 to 150 m across'",
        "category": "classes: 'ship (cargo ship and tanker)'",
        "distribution": "'alone', 'close together', 'in a row' or 'scattered'",
        "region": "the land cover beneath them: 'water'",
        "environment": "the land cover around them: 'built area and water'",
    },
}
_ASKED: dict[str, tuple[str, dict[Schema, Sequence[str]]]] = {
    PLACE: (
        "Where does the image lie, and what land does it show? Use coordinates, season and land cover.",
        {"landform": ("terrain", "distribution", "layout", "boundary", "water")},
    ),
    FUNCTION: (
        "What is this place used for, and what has been built here?",
        {"landform": ("functionality", "buildings", "roads")},
    ),
    RADAR: (
        "Compare what is claimed with the backscatter. Calm water mirrors the pulse away and is dark, and so is smooth "
        "pavement; metal and walls are bright; vegetation is an even grey. Layover, shadow and side lobes (bright "
        "crosses about strong points) are traces of the sensor and no objects. Claim anew what has to be corrected.",
        {"landform": LANDFORM},
    ),
    INSTANCES: (
        "Which targets are there? Lengths in metres follow from the boxes and the resolution. "
        + "; ".join(
            f"{with_article(label)} is {low:.0f} to {high:.0f} m long" for label, (low, high) in LENGTHS_M.items()
        )
        + ". Without boxes, count only what the image shows clearly.",
        {"target": TARGET},
    ),
}
_CALIBRATION = (
    "Do the claims agree with each other, with the image, and with the findings of the checks? Ships need water, "
    "aircraft need pavement, shares add up to 100 %, counts are those of the boxes. Give a verdict on every claim: "
    f"'{KEEP}', '{CORRECT}' with the phrase that should stand there, or '{DROP}', and the reason."
)


def dimensions(stage: str) -> list[str]:
    """What a stage other than calibration may claim, as "landform.terrain"."""
    return [f"{schema}.{name}" for schema, names in _ASKED[stage][1].items() for name in names]


def claims_schema(stage: str) -> dict[str, Any]:
    """Of the answer at a stage other than calibration."""
    return _list_of(
        "claims",
        {
            "dimension": {"type": "string", "enum": dimensions(stage)},
            "text": {"type": "string"},
            "evidence": {"type": "string"},
            "confidence": {"type": "number"},
        },
    )


def verdicts_schema(claims: Sequence[Claim]) -> dict[str, Any]:
    """Of the answer at calibration, about these claims."""
    return _list_of(
        "verdicts",
        {
            "dimension": {"type": "string", "enum": [_name(claim) for claim in claims]},
            "verdict": {"type": "string", "enum": [KEEP, CORRECT, DROP]},
            "text": {"type": "string"},
            "reason": {"type": "string"},
        },
    )


def question(stage: str, observation: Observation, findings: Findings) -> str:
    """What is asked at a stage other than calibration; `findings` hold what was measured for it."""
    task, asked = _ASKED[stage]
    forms = [f"- {schema}.{name}: {_FORMS[schema][name]}" for schema, names in asked.items() for name in names]
    parts = [_facts(observation, findings), _standing(findings), task, "Dimensions, each at most once:", *forms]
    return "\n".join([*parts, 'Answer: {"claims": [{"dimension", "text", "evidence", "confidence" from 0 to 1}, ...]}'])


def calibration_question(observation: Observation, findings: Findings, checks: Sequence[str]) -> str:
    """What is asked at calibration; `checks` are the contradictions that rules found."""
    found = "\n".join(f"- {check}" for check in checks) or "- no contradiction"
    return "\n".join(
        [
            _facts(observation, findings),
            _standing(findings),
            f"Findings of the checks:\n{found}",
            _CALIBRATION,
            'Answer: {"verdicts": [{"dimension", "verdict", "text", "reason"}, ...]}',
        ]
    )


def _facts(observation: Observation, findings: Findings) -> str:
    width, height = observation.image.size
    lines = [f"image: {width} x {height} pixels"]
    for name, value in (("sensor", observation.sensor), ("polarization", observation.polarization)):
        lines += [f"{name}: {value}"] if value else []
    if observation.resolution_m is not None:
        ground = f"{width * observation.resolution_m:.0f} m by {height * observation.resolution_m:.0f} m"
        lines.append(f"resolution: {observation.resolution_m:g} m a pixel, so that the image shows {ground}")
    lines += [
        f"{claim.dimension}: {claim.text} ({claim.evidence})"
        for claim in findings.claims.values()
        if claim.schema == "scene"
    ]
    if findings.regions is not None:
        lines.append(f"classes of land cover: {', '.join(LANDCOVER_CLASSES)}")
    if findings.targets is not None:
        lines.append(f"boxes: {len(findings.targets)}")
        for target in findings.targets:
            x1, y1, x2, y2 = target.box
            metres = ""
            if observation.resolution_m is not None:
                metres = (
                    f", {(x2 - x1) * observation.resolution_m:.0f} m by {(y2 - y1) * observation.resolution_m:.0f} m"
                )
            fine = f" ({target.fine_label})" if target.fine_label else ""
            lines.append(f"  {target.label}{fine} at [{x1:g}, {y1:g}, {x2:g}, {y2:g}]{metres}")
    return "Facts:\n" + "\n".join(f"- {line}" for line in lines)


def _standing(findings: Findings) -> str:
    lines = [f"- {_name(claim)}: {claim.text}" for claim in findings.claims.values() if claim.schema != "scene"]
    return "Claimed so far:\n" + ("\n".join(lines) or "- nothing")


def _name(claim: Claim) -> str:
    return f"{claim.schema}.{claim.dimension}"


def _list_of(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {name: {"type": "array", "items": item}},
        "required": [name],
        "additionalProperties": False,
    }
