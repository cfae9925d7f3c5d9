"""What came of rounds and of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusargpt.scio.parts import Caption
from fusargpt.scio.round import Screened


@dataclass
class RoundReport:
    """What came of one round.

    Attributes:
        number: from 1.
        auroc: of planted errors.
        share: of the judged parts that were flagged.
        accepted, dropped: parts.
        screened: all that was found out.
        found: what stands in the place of flagged parts, by row and dimension.
        before: captions as the round found them.
    """

    number: int
    auroc: float
    share: float
    accepted: int
    dropped: int
    screened: Screened
    found: Mapping[tuple[int, str], Mapping[str, Any]]
    before: Sequence[Caption]


@dataclass(frozen=True)
class ScioReport:
    """What came of a run.

    Attributes:
        out: the folder.
        rounds: that counted.
        stopped: why there were no more.
        origins: how many parts are of each.
        written, left_out: rows.
        unjudged: rows of too few parts.
        captions: as they are now.
    """

    out: Path
    rounds: list[RoundReport]
    stopped: str
    origins: dict[str, int]
    written: int
    left_out: int
    unjudged: int
    captions: list[Caption] = field(repr=False)
