"""Second stage: what the place is used for, by its land cover."""

from dataclasses import replace

from fusargpt.captioning.claims import Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.rules.landforms import landform_claims

STAGE = "function"


def function(observation: Observation, findings: Findings) -> Findings:
    """Adds `functionality`, where land cover is known; unknown otherwise."""
    findings = replace(findings, changes=())
    return findings.saying(landform_claims(observation, findings, STAGE, ("functionality",)))
