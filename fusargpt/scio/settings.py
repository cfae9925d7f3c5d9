"""How captions are cleaned. No torch here."""

from dataclasses import dataclass
from pathlib import Path

from fusargpt.errors import InputError

HALVES = ("a", "b")
FEWEST_TOGETHER = 3
"""Parts of a text from which one is taken out: two are left, so that `roads` never stands alone."""


@dataclass(frozen=True, kw_only=True)
class ScioSettings:
    """The options of `fusargpt scio`.

    Attributes:
        out: a new folder, or that of an earlier run with the same settings, which is gone on with.
        rounds: fit, screen, proofread and reconstruct so many times at most.
        precision: share of flagged parts that are to be wrong, estimated by planted errors.
        min_auroc: with which planted errors have to be told from the other parts, or the run ends.
        max_flagged: share of the parts of a dimension that may be flagged.
        together: parts of a text that are judged by each other.
        draws: texts in which each part is judged; the mean counts.
        reconstruct: whether other phrases are tried in place of flagged ones.
        seed: of halves, planted errors, orders and wordings.
        batch_rows: images judged at a time; the results of another number differ in last digits.

    Raises:
        InputError: a value outside its range.
    """

    out: Path
    rounds: int = 3
    precision: float = 0.8
    min_auroc: float = 0.65
    max_flagged: float = 0.4
    together: int = 4
    draws: int = 1
    reconstruct: bool = True
    seed: int = 0
    batch_rows: int = 16

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("draws", 1), ("batch_rows", 1), ("together", FEWEST_TOGETHER), ("seed", 0)):
            if vars(self)[name] < least:
                raise InputError(f"{name}: found {vars(self)[name]}; expected at least {least}")
        for name, low in (("precision", 0.0), ("min_auroc", 0.0), ("max_flagged", 0.0)):
            if not low < vars(self)[name] <= 1:
                raise InputError(f"{name}: found {vars(self)[name]:g}; expected a share above 0, up to 1")

    def as_json(self) -> dict[str, object]:
        """What results depend on, as plain JSON."""
        return {name: value for name, value in vars(self).items() if name != "out"}
