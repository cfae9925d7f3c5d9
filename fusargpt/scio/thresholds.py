"""From evidence to flags: scores by planted errors, and in each dimension the threshold that is as precise as asked.

Nobody knows which parts are wrong. What is known are two samples: errors that were planted, and the parts as they are,
right and wrong. If errors score as planted ones do, the parts above a threshold t are a share F(t) = (1 - e) f(t) + e
R(t) of all, R(t) being the share of planted errors above it, f(t) that of right parts and e that of wrong ones. So e
is at most the least F / R over thresholds, and with it flags at t are right in e R(t) / F(t) of cases (mixture
proportion estimation from positive and unlabelled data: Blanchard, Lee and Scott, JMLR 11, 2010). Where no threshold
parts right from wrong wholly, e is too large and so is the precision that is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.scio.settings import ScioSettings

ENOUGH_PLANTED = 30
"""Of a dimension, to have a threshold of its own; others share one."""
FEWEST_ABOVE = 10
"""Planted errors above a threshold, for the shares to mean something."""
_FARTHEST = 10.0  # spreads from the centre that count
_LEAST_SPREAD = 0.2  # of the spread of all dimensions
_NOTHING = 1e-9
_RIDGE = 0.1
_DIGITS = 6
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """Of one dimension.

    Attributes:
        score: from which on a part is flagged.
        precision: of flags, estimated.
        recall: of planted errors.
        wrong: share of all parts that are wrong, estimated.
        auroc: of planted errors against the parts as they are.
        parts, planted: how many were judged.
        shared: whether the dimension had too few planted errors for a threshold of its own.
    """

    score: float
    precision: float
    recall: float
    wrong: float
    auroc: float
    parts: int
    planted: int
    shared: bool


@dataclass(frozen=True)
class Calibration:
    """How one judge's evidence is read.

    Attributes:
        centres, spreads: [3] by dimension: median of the parts as they are, and 1.4826 times the median distance to it.
        weights: [3] of the objectives in the score.
        thresholds: by dimension.
        auroc: of all planted errors.
    """

    centres: Mapping[str, Floats]
    spreads: Mapping[str, Floats]
    weights: Floats
    thresholds: Mapping[str, Threshold]
    auroc: float

    def score(self, dimension: str, evidence: Sequence[float]) -> float:
        """How much speaks against a part: about 0 for most, the higher the worse."""
        z = _standardised(np.array([evidence], np.float64), self.centres[dimension], self.spreads[dimension])
        return float(_scores(z, self.weights)[0])

    def flags(self, dimension: str, evidence: Sequence[float]) -> bool:
        return self.score(dimension, evidence) >= self.thresholds[dimension].score

    def fits(self, dimension: str, evidence: Sequence[float]) -> bool:
        """Whether alignment and matching both gain by a part at least what they gain by the median one."""
        centre = self.centres[dimension]
        return evidence[0] <= centre[0] and evidence[1] <= centre[1]


def calibrate(rows: Sequence[Mapping[str, Any]], settings: ScioSettings) -> Calibration:
    """Read the evidence that `fusargpt.scio.screening.screen` has left of one judge.

    Raises:
        InputError: nothing to calibrate by.
    """
    parts: dict[str, list[list[float]]] = {}
    planted: dict[str, list[list[float]]] = {}
    for row in rows:
        for dimension, evidence in row["evidence"].items():
            parts.setdefault(dimension, []).append(evidence)
        if row["planted"] is not None:
            planted.setdefault(row["planted"]["dimension"], []).append(row["planted"]["evidence"])
    if sum(map(len, planted.values())) < FEWEST_ABOVE:
        raise InputError(
            f"captions: found {sum(map(len, planted.values()))} images in which an error could be planted, expected at "
            f"least {FEWEST_ABOVE} in each half; give more rows"
        )
    known = {dimension: np.array(found, np.float64) for dimension, found in parts.items()}
    centres = {dimension: np.median(found, 0) for dimension, found in known.items()}
    spreads = _spreads(known, centres)
    z = {name: _standardised(found, centres[name], spreads[name]) for name, found in known.items()}
    errors = {
        name: _standardised(np.array(planted[name], np.float64), centres[name], spreads[name])
        if name in planted
        else np.zeros((0, 3))
        for name in known
    }
    weights = _weights(np.concatenate(list(z.values())), np.concatenate(list(errors.values())))
    scores = {name: _scores(found, weights) for name, found in z.items()}
    wrong = {name: _scores(found, weights) for name, found in errors.items()}
    of_all = np.concatenate(list(scores.values())), np.concatenate(list(wrong.values()))
    shared = _threshold(*of_all, settings, shared=True)
    thresholds: dict[str, Threshold] = {}
    for name in known:
        if len(wrong[name]) >= ENOUGH_PLANTED:
            thresholds[name] = _threshold(scores[name], wrong[name], settings, shared=False)
        else:
            own = auroc(scores[name], wrong[name])
            thresholds[name] = Threshold(
                max(shared.score, _least(scores[name], settings)),
                shared.precision,
                shared.recall,
                shared.wrong,
                own,
                len(scores[name]),
                len(wrong[name]),
                shared=True,
            )
    return Calibration(centres, spreads, weights, thresholds, auroc(*of_all))


def auroc(parts: Floats, planted: Floats) -> float:
    """Probability that a planted error scores above a part, ties half; NaN without one of them."""
    if not len(parts) or not len(planted):
        return float("nan")
    ordered = np.sort(parts)
    below = np.searchsorted(ordered, planted, "left") + np.searchsorted(ordered, planted, "right")
    return float(below.mean() / (2 * len(parts)))


def _weights(parts: Floats, planted: Floats) -> Floats:
    """Fisher's discriminant of planted errors and parts, none below 0, with a sum of 3: 1 each where all are alike."""
    gap = planted.mean(0) - parts.mean(0)
    within = np.cov(np.concatenate([parts - parts.mean(0), planted - planted.mean(0)]).T)
    weights = np.clip(np.linalg.solve(within + _RIDGE * np.eye(len(gap)), gap), 0, None)
    return weights * len(gap) / weights.sum() if weights.sum() > 0 else np.ones(len(gap))


def _threshold(parts: Floats, planted: Floats, settings: ScioSettings, shared: bool) -> Threshold:
    candidates = np.sort(planted)[::-1][FEWEST_ABOVE - 1 :]
    recall = (np.searchsorted(np.sort(planted), candidates, "left") * -1.0 + len(planted)) / len(planted)
    # One more of each, so that a threshold above all parts names no precision of 1.
    share = (len(parts) - np.searchsorted(np.sort(parts), candidates, "left") + 1) / (len(parts) + 1)
    wrong = float(min(1.0, (share / recall).min()))
    precision = np.minimum(1.0, wrong * recall / share)
    fitting = (precision >= settings.precision) & (candidates >= _least(parts, settings))
    chosen = int(np.flatnonzero(fitting)[-1]) if fitting.any() else 0
    score = max(float(candidates[chosen]), _least(parts, settings))
    return Threshold(
        score,
        float(precision[chosen]),
        float((planted >= score).mean()),
        wrong,
        auroc(parts, planted),
        len(parts),
        len(planted),
        shared,
    )


def _least(parts: Floats, settings: ScioSettings) -> float:
    """The score from which on no more parts are flagged than may be."""
    return float(np.quantile(parts, 1 - settings.max_flagged, method="higher")) if settings.max_flagged < 1 else -np.inf


def _scores(z: Floats, weights: Floats) -> Floats:
    # Rounded, since a threshold is the score of some error, and a product of many rows may differ in its last bit.
    return np.round(z @ weights, _DIGITS)


def _spreads(parts: Mapping[str, Floats], centres: Mapping[str, Floats]) -> dict[str, Floats]:
    """Of a dimension in which nearly all say the same the median distance is next to 0: that of all is the measure."""
    distances = {name: found - centres[name] for name, found in parts.items()}
    of_all = np.concatenate(list(distances.values()))
    common = 1.4826 * np.median(np.abs(of_all), 0)
    common = np.where(common > _NOTHING, common, of_all.std(0))
    least = np.where(common > _NOTHING, _LEAST_SPREAD * common, 1.0)
    return {name: np.maximum(1.4826 * np.median(np.abs(found), 0), least) for name, found in distances.items()}


def _standardised(evidence: Floats, centre: Floats, spread: Floats) -> Floats:
    return np.clip((evidence - centre) / spread, -_FARTHEST, _FARTHEST)
