"""What is claimed about an image, one statement a dimension, and how it got there.

A claim names its evidence and the stage that made it. Stages add claims, replace them or take them back; nothing else
passes from one to the next but the working land cover and targets of `Findings`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusargpt.tasks.eight_dimensions import Description
from fusargpt.tasks.target_dimensions import TargetBox, TargetDescription

Schema = Literal["scene", "landform", "target"]
LANDFORM = tuple(item.name for item in fields(Description))
TARGET = tuple(item.name for item in fields(TargetDescription))
DIMENSIONS: dict[Schema, tuple[str, ...]] = {
    "scene": ("location", "season", "cover", "caption", "backscatter", "contrast", "candidates"),
    "landform": LANDFORM,
    "target": TARGET,
}
"""Of each schema. Those of "scene" are observations: they enter no caption, later stages reason with them."""


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes:
        schema: "landform" and "target" are the two of eight parts; "scene" holds observations.
        dimension: of `DIMENSIONS[schema]`.
        text: a phrase in lower case without a full stop.
        facts: what it says, as plain JSON by name; what rules compare.
        evidence: what it rests on, in words.
        confidence: 0 to 1; see docs/how-to/captions.md for what it means of each kind of evidence.
        stage: that made it, of `fusargpt.captioning.stages.STAGES`.

    Raises:
        ValueError: another schema or dimension, an empty text, or a confidence outside 0 to 1.
    """

    schema: Schema
    dimension: str
    text: str
    facts: Mapping[str, Any]
    evidence: str
    confidence: float
    stage: str

    def __post_init__(self) -> None:
        if self.dimension not in DIMENSIONS.get(self.schema, ()):
            raise ValueError(f"dimension: found {self.schema}.{self.dimension}, which there is not")
        if not self.text.strip():
            raise ValueError(f"{self.schema}.{self.dimension}: found an empty text, expected a phrase")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence: found {self.confidence}, expected 0 to 1")

    @property
    def key(self) -> tuple[Schema, str]:
        return self.schema, self.dimension

    def as_json(self) -> dict[str, Any]:
        """Plain JSON, the confidence to three digits."""
        return {**asdict(self), "facts": dict(self.facts), "confidence": round(self.confidence, 3)}


@dataclass(frozen=True)
class Change:
    """What a stage did to a claim of an earlier one: the texts before and after, None after one that was dropped."""

    schema: Schema
    dimension: str
    before: str
    after: str | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Findings:
    """What is held to be true at one point of the chain. Immutable: stages return another one.

    Attributes:
        claims: by schema and dimension, at most one each.
        changes: what the last stage changed of what others had claimed.
        regions: the working land cover, as far as anything is known of it.
        targets: the working targets; None where nothing is known of any.
    """

    claims: Mapping[tuple[Schema, str], Claim] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    regions: "Regions | None" = None
    targets: tuple[TargetBox, ...] | None = None

    def claim(self, schema: Schema, dimension: str) -> Claim | None:
        return self.claims.get((schema, dimension))

    def of_stage(self, stage: str) -> list[Claim]:
        """The claims of a stage that still stand."""
        return [claim for claim in self.claims.values() if claim.stage == stage]

    def saying(self, claims: Iterable[Claim], reason: str = "") -> "Findings":
        """With `claims`, each in place of the one that its dimension had; one that says the same changes nothing."""
        standing, changes = dict(self.claims), list(self.changes)
        for claim in claims:
            before = standing.get(claim.key)
            if before is not None and before.text == claim.text and before.facts == claim.facts:
                continue
            if before is not None and before.text != claim.text and before.stage != claim.stage:
                changes.append(Change(*claim.key, before.text, claim.text, reason or claim.evidence))
            standing[claim.key] = claim
        return replace(self, claims=standing, changes=tuple(changes))

    def without(self, key: tuple[Schema, str], reason: str) -> "Findings":
        """Without the claim of a dimension, if it has one."""
        if key not in self.claims:
            return self
        dropped = Change(*key, self.claims[key].text, None, reason)
        standing = {name: claim for name, claim in self.claims.items() if name != key}
        return replace(self, claims=standing, changes=(*self.changes, dropped))

    def record(self, schema: Schema) -> dict[str, str | None] | None:
        """The phrases of a schema by dimension, None where nothing is said; None where nothing is said at all."""
        said = {name: claim.text for name in DIMENSIONS[schema] if (claim := self.claim(schema, name)) is not None}
        return {name: said.get(name) for name in DIMENSIONS[schema]} if said else None


@dataclass(frozen=True, eq=False)
class Regions:
    """Land cover as regions of one class each, so that a class can be corrected with all that rests on it.

    Attributes:
        labels: int [H, W], the region of each pixel; -1 where nothing is known.
        log_odds: float64 [R, 9], how well each of the nine classes fits each region: log probabilities, up to a
            constant a region.
        source: "raster" or "prototypes".
    """

    labels: NDArray[np.integer]
    log_odds: NDArray[np.float64]
    source: Literal["raster", "prototypes"]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of the classes of each region, [R, 9]."""
        odds = np.exp(self.log_odds - self.log_odds.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    @property
    def classes(self) -> NDArray[np.int64]:
        """The most probable class of each region, [R]."""
        return self.log_odds.argmax(1)

    @property
    def cover(self) -> NDArray[np.int64]:
        """Dynamic World classes [H, W] of the pixels, -1 where unknown."""
        return np.append(self.classes, -1)[self.labels]

    @property
    def confidence(self) -> float:
        """Mean probability of what is claimed of the pixels that are known; 0 where none is."""
        known = self.labels[self.labels >= 0]
        return float(self.probabilities.max(1)[known].mean()) if known.size else 0.0
