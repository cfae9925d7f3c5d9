"""Scores over images, with n and a 95 % bootstrap interval.

Every metric here is a function of sums over images: a share of images, a ratio of counts, BLEU of n-gram counts. A
tally keeps what each image adds to these sums, so that images can be drawn again, and two models that answered about
the same images can be compared image by image.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fusargpt.errors import InputError

BOOTSTRAP_DRAWS = 1000
_KEPT_DRAWS = 4_000_000  # images drawn: 32 MB


@dataclass(frozen=True)
class Score:
    """A score over `n` images and its 95 % interval; NaN where there is nothing to score.

    `percent`: a share, written in percent; otherwise a number in its own unit.
    """

    value: float
    low: float
    high: float
    n: int
    percent: bool = True

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        if self.percent:
            return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(sums: np.ndarray) -> np.ndarray:
    """First over second column of `sums` [draws, 2]; NaN where the second is 0."""
    with np.errstate(invalid="ignore"):
        return sums[:, 0] / sums[:, 1]


@dataclass(frozen=True, eq=False)
class Tally:
    """What every image adds to a score.

    Attributes:
        rows: float64 [n, k], one row an image.
        statistic: from sums of rows, [draws, k], to scores, [draws]; NaN where a score is not defined.
        percent: as in `Score`.
    """

    rows: np.ndarray
    statistic: Callable[[np.ndarray], np.ndarray] = ratio
    percent: bool = True

    @classmethod
    def mean(cls, values: Sequence[float], percent: bool = True) -> "Tally":
        """The mean of one value an image."""
        return cls(np.array([(value, 1) for value in values], float).reshape(-1, 2), percent=percent)

    @property
    def value(self) -> float:
        """The statistic over all images, without an interval."""
        return float(self.statistic(self.rows.sum(0)[None])[0])

    def score(self, seed: int = 0) -> Score:
        """The statistic over all images, and the percentiles 2.5 and 97.5 of it over images drawn with replacement.

        The same seed and n draw the same images. Draws in which the statistic is not defined are left out.
        """
        return _interval(self.values(seed), self)

    def values(self, seed: int) -> np.ndarray:
        """The statistic over all images, then over each draw: [1 + draws]."""
        n = len(self.rows)
        if n * BOOTSTRAP_DRAWS <= _KEPT_DRAWS:
            drawn = list(_times_drawn(n, seed) @ self.rows)
        else:
            rng = np.random.default_rng(seed)
            drawn = [self.rows[rng.integers(0, n, n)].sum(0) for _ in range(BOOTSTRAP_DRAWS)]
        return self.statistic(np.stack([self.rows.sum(0), *drawn]))


def difference(first: Tally, second: Tally, seed: int = 0) -> Score:
    """`first` minus `second` over the same images, drawn together: row i of both is the same image.

    Raises:
        ValueError: tallies of different metrics or numbers of images.
    """
    if first.rows.shape != second.rows.shape or first.statistic is not second.statistic:
        raise ValueError(f"tallies of one metric over the same images; found {first.rows.shape}, {second.rows.shape}")
    return _interval(first.values(seed) - second.values(seed), first)


def results(tallies: Mapping[str, Tally]) -> dict[str, float]:
    """The flat form of `evaluate`: for every metric `name` its `name`, `name_low`, `name_high` and `name_n`."""
    flat: dict[str, float] = {}
    for name, tally in tallies.items():
        score = tally.score()
        flat |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high, f"{name}_n": score.n}
    return flat


def pairs(answers: Sequence[str], references: Sequence[str]) -> list[tuple[str, str]]:
    """Answer and reference of every image.

    Raises:
        InputError: no image, or as many answers as there are not references.
    """
    if len(answers) != len(references):
        raise InputError(
            f"found {len(answers)} answers and {len(references)} references; expected one of each an image"
        )
    if not len(answers):
        raise InputError("no images to score; check the task and the split")
    checked: list[tuple[str, Sequence[object]]] = [("answers", answers), ("references", references)]
    for name, texts in checked:
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"{name}[{index}]: found {text!r}; expected a text")
    return list(zip(answers, references, strict=True))


def unreadable_reference(index: int, reference: str, expected: str) -> InputError:
    """The error for a reference that is not in its task's form."""
    return InputError(f"references[{index}]: found {reference!r}; expected {expected}")


@lru_cache(maxsize=3)
def _times_drawn(n: int, seed: int) -> np.ndarray:
    """How often each image is in each draw, float64 [draws, n]; kept, as a table of scores draws the same again."""
    rng = np.random.default_rng(seed)
    draws = range(BOOTSTRAP_DRAWS if n else 0)
    return np.array([np.bincount(rng.integers(0, n, n), minlength=n) for _ in draws], float).reshape(len(draws), n)


def _interval(values: np.ndarray, tally: Tally) -> Score:
    value, drawn = float(values[0]), values[1:]
    defined = drawn[~np.isnan(drawn)]
    low = high = math.nan
    if not math.isnan(value) and len(defined):
        low, high = (float(bound) for bound in np.percentile(defined, (2.5, 97.5)))
    return Score(value, low, high, len(tally.rows), tally.percent)
