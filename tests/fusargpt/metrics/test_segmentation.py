import math

import numpy as np
import pytest
import torch

from fusargpt.metrics.segmentation import confusion, segmentation_tallies

NAMES = ("water", "trees", "snow")


def test_intersections_over_unions_computed_by_hand() -> None:
    truth = np.array([[0, 0, 1], [1, 1, -1]])
    predicted = np.array([[0, 1, 1], [1, 0, 2]])
    table = confusion(predicted, truth, 3)
    assert table.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    found = {name: tally.score().value for name, tally in segmentation_tallies(table[None], NAMES).items()}
    assert found["iou/water"] == pytest.approx(1 / 3)
    assert found["iou/trees"] == pytest.approx(2 / 4)
    # Snow is neither there nor predicted: the unknown pixel is left out.
    assert math.isnan(found["iou/snow"])
    assert found["miou"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found["pixel_accuracy"] == pytest.approx(3 / 5)


def test_they_are_those_of_torchmetrics_over_all_images() -> None:
    segmentation = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(5)
    truth, predicted = rng.integers(0, 3, (2, 6, 9, 9))
    tables = np.stack([confusion(one, known, 3) for one, known in zip(predicted, truth, strict=True)])
    metric = segmentation.MulticlassJaccardIndex(num_classes=3, average="macro")
    expected = float(metric(torch.tensor(predicted), torch.tensor(truth)))
    score = segmentation_tallies(tables, NAMES)["miou"].score()
    assert score.value == pytest.approx(expected)
    assert score.low < score.value < score.high
    assert score.n == 6


def test_wrong_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="found class 3"):
        confusion(np.array([[3]]), np.array([[0]]), 3)
    with pytest.raises(ValueError, match="expected the same"):
        confusion(np.zeros((2, 2), int), np.zeros((2, 3), int), 3)
