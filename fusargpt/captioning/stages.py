"""The five stages in their order, and the chain that runs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fusargpt.captioning.claims import Change, Claim, Findings
from fusargpt.captioning.observation import Observation
from fusargpt.captioning.rules import calibration, function, instances, place, radar
from fusargpt.errors import InputError

PLACE, FUNCTION, RADAR = place.STAGE, function.STAGE, radar.STAGE
INSTANCES, CALIBRATION = instances.STAGE, calibration.STAGE
STAGES = (PLACE, FUNCTION, RADAR, INSTANCES, CALIBRATION)
Rule = Callable[[Observation, Findings], Findings]
"""A stage by rules. Pure: the same observation and findings give the same findings."""
RULES: Mapping[str, Rule] = {
    PLACE: place.place,
    FUNCTION: function.function,
    RADAR: radar.radar,
    INSTANCES: instances.instances,
    CALIBRATION: calibration.calibration,
}


class Stopped(Exception):
    """A model can be asked no more in this run, for the reason it says; what was begun is left for the next."""


@dataclass(frozen=True)
class Asked:
    """What a stage asked of a model.

    Attributes:
        model: its name.
        prompt: SHA-256 of all that it was shown, the image among it.
        prompt_tokens, answer_tokens: as the model counts them.
    """

    model: str
    prompt: str
    prompt_tokens: int
    answer_tokens: int


class Backend(Protocol):
    """Does the work of stages."""

    @property
    def name(self) -> str:
        """Of the backend and its model: what captions depend on."""
        ...

    def run(self, stage: str, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        """The findings after a stage of `STAGES`, and what was asked for them; `changes` of it are this stage's."""
        ...


class RulesBackend:
    """Rules over land cover, boxes, backscatter and AlphaEarth prototypes: no model, the same every time."""

    name = "rules"

    def run(self, stage: str, observation: Observation, findings: Findings) -> tuple[Findings, tuple[Asked, ...]]:
        return RULES[stage](observation, findings), ()


@dataclass(frozen=True)
class Step:
    """One stage of one image: the claims that it made, what it changed of earlier ones, and what it asked."""

    stage: str
    claims: tuple[Claim, ...]
    changes: tuple[Change, ...]
    asked: tuple[Asked, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "claims": [claim.as_json() for claim in self.claims],
            "changes": [change.as_json() for change in self.changes],
            "asked": [vars(asked) for asked in self.asked],
        }


@dataclass(frozen=True, eq=False)
class Caption:
    """What came of an image: all steps, and what is held to be true after the last."""

    steps: tuple[Step, ...]
    findings: Findings


def caption(observation: Observation, backend: Backend, stages: Sequence[str] = STAGES) -> Caption:
    """Run `stages`, a part of `STAGES` in its order, on one image.

    Raises:
        InputError: nothing could be claimed of either schema.
    """
    findings, steps = Findings(), []
    for stage in stages:
        findings, asked = backend.run(stage, observation, findings)
        made = tuple(claim for claim in findings.claims.values() if claim.stage == stage)
        steps.append(Step(stage, made, findings.changes, asked))
    if findings.record("landform") is None and findings.record("target") is None:
        raise InputError(
            "nothing can be said: no land cover, no AlphaEarth prior and no boxes came with the image that stages "
            f"{', '.join(stages)} could use"
        )
    return Caption(tuple(steps), findings)


def chosen_stages(names: Sequence[str]) -> tuple[str, ...]:
    """Stages by their numbers from 1 on or their names, in the order of `STAGES`.

    Raises:
        InputError: another name or number, or none.
    """
    numbered = {str(number): stage for number, stage in enumerate(STAGES, start=1)}
    unknown = [name for name in names if name not in numbered and name not in STAGES]
    if unknown or not names:
        expected = ", ".join(f"{number} ({stage})" for number, stage in numbered.items())
        raise InputError(f"stages: found {unknown[0] if unknown else 'none'!r}; expected of {expected}")
    chosen = {numbered.get(name, name) for name in names}
    return tuple(stage for stage in STAGES if stage in chosen)
