"""Probes of frozen features: fitted to the training split, their strength chosen on the validation split.

Logistic regression, nearest neighbours and ridge regression are scikit-learn's; features are standardised by those of
the training split.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusargpt.errors import InputError

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverses of the penalty of logistic regression."""
PENALTIES = (10.0, 100.0, 1000.0, 10000.0)
"""Of ridge regression."""
NEIGHBOURS = (1, 5, 20)
_ITERATIONS = 300


Regression = Callable[[NDArray[np.floating]], NDArray[np.float64]]
"""From features [N, D] to values [N, K]."""


class Classifier(Protocol):
    """A fitted pipeline of scikit-learn: what is used of it."""

    @property
    def classes_(self) -> NDArray[np.integer]: ...

    def fit(self, features: NDArray[np.floating], truth: NDArray[np.integer], **settings: object) -> object: ...

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.integer]: ...

    def predict_proba(self, features: NDArray[np.floating]) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features [N, D] with their labels int [N], and weights [N] where they do not count alike."""

    features: NDArray[np.floating]
    labels: NDArray[np.integer]
    weights: NDArray[np.floating] | None = None


def logistic_probe(
    train: Labelled, validation: Labelled, score: Callable[[Classifier], float] | None = None
) -> Classifier:
    """Multinomial logistic regression.

    Args:
        train: what it is fitted to.
        validation: whose accuracy chooses among `STRENGTHS`.
        score: what chooses instead of it; the highest wins, of equal ones the strongest penalty.

    Raises:
        InputError: a training split of one class.
    """
    return _chosen([_logistic(train, strength) for strength in STRENGTHS], validation, score)


def neighbour_probe(train: Labelled, validation: Labelled) -> Classifier:
    """The vote of the nearest training images by cosine; validation chooses among `NEIGHBOURS`."""
    _check(train)
    fitted = []
    for count in NEIGHBOURS:
        neighbours = KNeighborsClassifier(min(count, len(train.labels)), metric="cosine")
        fitted.append(cast(Classifier, make_pipeline(StandardScaler(), neighbours)))
        fitted[-1].fit(train.features, train.labels)
    return _chosen(fitted, validation, None)


def ridge_probe(
    train: tuple[NDArray[np.floating], NDArray[np.floating]],
    validation: tuple[NDArray[np.floating], NDArray[np.floating]],
) -> Regression:
    """Linear regression of several values, features [N, D] and values [N, K]; the squared error on validation chooses
    among `PENALTIES`."""
    scaler = StandardScaler().fit(train[0])
    fitted = [Ridge(penalty).fit(scaler.transform(train[0]), train[1]) for penalty in PENALTIES]
    known = scaler.transform(validation[0])
    best = min(fitted, key=lambda ridge: float(((ridge.predict(known) - validation[1]) ** 2).mean()))
    return lambda features: np.asarray(best.predict(scaler.transform(features)), np.float64)


def _logistic(train: Labelled, strength: float) -> Classifier:
    _check(train)
    probe = cast(
        Classifier, make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_ITERATIONS, tol=1e-3))
    )
    with warnings.catch_warnings():
        # A probe that is not quite done is judged on validation as the others are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train.features.astype(np.float32), train.labels, logisticregression__sample_weight=train.weights)
    return probe


def _chosen(
    fitted: Sequence[Classifier], validation: Labelled, score: Callable[[Classifier], float] | None
) -> Classifier:
    def accuracy(probe: Classifier) -> float:
        return float((probe.predict(validation.features) == validation.labels).mean())

    return max(fitted, key=score or accuracy)


def _check(train: Labelled) -> None:
    if len(np.unique(train.labels)) < 2:
        raise InputError(f"train: found {len(train.labels)} samples of one class; expected two classes or more")
