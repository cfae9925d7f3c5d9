"""What a linear classifier reads of the land cover: the measure of the simulator's calibration and of the AEF probe."""

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-4  # of a standardised feature's variance: keeps the inverse where features depend on each other


def linear_probe(
    features: NDArray[np.floating], labels: NDArray[np.integer], train: NDArray[np.integer], test: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether `linear_classes` names each of the points `test` right: bool [T]; arguments as there."""
    return linear_classes(features, labels, train, test) == labels[test]


def linear_classes(
    features: NDArray[np.floating], labels: NDArray[np.integer], train: NDArray[np.integer], test: NDArray[np.integer]
) -> NDArray[np.intp]:
    """What a linear discriminant, fitted to the points `train`, takes each of the points `test` for: classes [T].

    Args:
        features: [N, F], of any scale; each is standardised by the training points.
        labels: [N], classes from 0; each has at least one training point.
        train: indices into the N points.
        test: likewise.
    """
    spread = features[train].std(0)
    scaled = (features - features[train].mean(0)) / np.where(spread > 0, spread, 1)
    classes = range(int(labels.max()) + 1)
    means = np.stack([scaled[train][labels[train] == index].mean(0) for index in classes])
    residual = scaled[train] - means[labels[train]]
    covariance = np.atleast_2d(np.cov(residual.T))
    precision = np.linalg.inv(covariance + _RIDGE * np.eye(features.shape[1]))
    scores = scaled[test] @ precision @ means.T - 0.5 * np.einsum("ci,ij,cj->c", means, precision, means)
    return scores.argmax(1)
