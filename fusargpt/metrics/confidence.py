"""How far confidences can be trusted: calibration error, and the risk of the answers that are given.

Expected calibration error (Naeini et al., AAAI 2015; Guo et al., arXiv:1706.04599): what has a confidence falls into
one of ten bins of equal width; of each bin it is the distance between the mean confidence and the share that is right,
averaged with the numbers of the bins as weights. Resampled images have a little more of it than the images themselves,
so that its interval lies rather too high than too low.

Risk and coverage (Geifman and El-Yaniv, arXiv:1705.08500): answers are given the surest first; coverage is the share
that is given, risk the mean loss of those. The area under that curve is the mean risk over the coverages that the
answers reach. Confidences are ranked in hundredths, and answers of one hundredth come together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusargpt.metrics.tally import Tally

BINS = 10
"""[0, 0.1), [0.1, 0.2), ..., [0.9, 1]."""
RANKS = 101
"""Confidences of 0, 0.01, ..., 1."""


@dataclass(frozen=True)
class Bin:
    """What fell into one bin of confidences: how much, its mean confidence, and the share of it that is right."""

    n: int
    confidence: float
    right: float


def calibration_tally(images: Sequence[Sequence[tuple[float, bool]]]) -> Tally:
    """The expected calibration error.

    Args:
        images: of each, the confidence in [0, 1] of everything said of it, and whether it is right.
    """
    rows = np.zeros((len(images), 3, BINS))
    for row, said in zip(rows, images, strict=True):
        for confidence, right in said:
            bin_ = min(int(confidence * BINS), BINS - 1)
            row[:, bin_] += (1, confidence, right)
    return Tally(rows.reshape(len(images), -1), _calibration_error)


def reliability(tally: Tally) -> list[Bin]:
    """The bins of a `calibration_tally`; those into which nothing fell are left out."""
    counts, confidences, rights = tally.rows.sum(0).reshape(3, BINS)
    return [
        Bin(int(n), float(confidence / n), float(right / n))
        for n, confidence, right in zip(counts, confidences, rights, strict=True)
        if n
    ]


def risk_tally(confidences: Sequence[float], risks: Sequence[float]) -> Tally:
    """The area under the curve of risk over coverage.

    Args:
        confidences: in [0, 1], of one answer an image.
        risks: its loss, 0 for a right answer and 1 for a wrong one, or between.
    """
    rows = np.zeros((len(confidences), 2, RANKS))
    ranks = np.rint(np.asarray(confidences, float) * (RANKS - 1)).astype(int)
    for row, rank, risk in zip(rows, ranks, risks, strict=True):
        row[:, rank] = 1, risk
    return Tally(rows.reshape(len(confidences), -1), _area)


def risk_coverage(tally: Tally) -> list[tuple[float, float]]:
    """(coverage, risk) of a `risk_tally`, by rising coverage, the last one of all answers."""
    given, lost = _given_and_lost(tally.rows.sum(0)[None])
    reached = np.flatnonzero(np.diff(given[0], prepend=0))
    return [(float(given[0, at] / given[0, -1]), float(lost[0, at] / given[0, at])) for at in reached]


def _calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of sums of rows [draws, 3 BINS]; NaN where nothing was said."""
    counts, confidences, rights = np.moveaxis(sums.reshape(len(sums), 3, BINS), 1, 0)
    with np.errstate(invalid="ignore"):
        return np.abs(confidences - rights).sum(1) / counts.sum(1)


def _given_and_lost(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Answers and their losses [2, draws, RANKS] so far, the surest first, of sums of rows [draws, 2 RANKS]."""
    return np.moveaxis(sums.reshape(len(sums), 2, RANKS), 1, 0)[..., ::-1].cumsum(-1)


def _area(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    given, lost = _given_and_lost(sums)
    with np.errstate(invalid="ignore"):
        risk = np.where(given > 0, lost / np.maximum(given, 1), 0)
        return (np.diff(given, prepend=0, axis=-1) * risk).sum(-1) / given[:, -1]
