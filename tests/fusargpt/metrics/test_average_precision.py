import json

import numpy as np
import pytest

from fusargpt.metrics.average_precision import average_precision_tallies

Placed = tuple[tuple[int, int, int, int], str]
A, B, C = ((0, 0, 10, 10), "ship"), ((20, 0, 30, 10), "ship"), ((40, 0, 50, 10), "ship")
FAR = ((80, 80, 90, 90), "ship")


def written(*boxes: Placed) -> str:
    return json.dumps([{"bbox_2d": list(box), "label": label} for box, label in boxes]) if boxes else "None"


def found(answers: list[list[Placed]], truths: list[list[Placed]], scores: list[list[float]]) -> dict[str, float]:
    tallies = average_precision_tallies([written(*one) for one in answers], [written(*one) for one in truths], scores)
    return {name: tally.value for name, tally in tallies.items()}


def test_all_right_is_one_and_nothing_is_zero():
    assert found([[A, B]], [[A, B]], [[0.9, 0.2]]) == {"ap50": 1, "ap": 1}
    assert found([[]], [[A, B]], [[]]) == {"ap50": 0, "ap": 0}
    assert found([[A]], [[]], [[0.5]]) == {}


def test_a_false_alarm_costs_by_its_rank():
    # Right, wrong, right: precision 1 up to recall 0.5 (51 of 101 points), then 2/3 (50 points).
    assert found([[A, FAR, B]], [[A, B]], [[0.9, 0.6, 0.3]])["ap50"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert found([[FAR, A, B]], [[A, B]], [[0.1, 0.9, 0.3]])["ap50"] == 1
    # Wrong first: 1/2, then 2/3, and precision never rises with recall.
    assert found([[FAR, A, B]], [[A, B]], [[0.9, 0.6, 0.3]])["ap50"] == pytest.approx(2 / 3)


def test_one_of_three_found_reaches_a_third_of_recall():
    assert found([[A]], [[A, B, C]], [[0.5]])["ap50"] == pytest.approx(34 / 101)


def test_ranks_are_over_all_images():
    # In the first image a false alarm at 0.4; in the second the only hit, at 0.8.
    assert found([[FAR], [A]], [[], [A]], [[0.4], [0.8]])["ap50"] == 1
    assert found([[FAR], [A]], [[], [A]], [[0.8], [0.4]])["ap50"] == 0.5


def test_the_mean_over_overlaps():
    # 8 of 10 columns: an overlap of 0.8 counts up to 0.80, seven of ten.
    shifted = ((0, 0, 8, 10), "ship")
    assert found([[shifted]], [[A]], [[0.5]]) == {"ap50": 1, "ap": pytest.approx(0.7)}


def test_a_second_box_of_one_object_is_wrong_and_labels_must_match():
    assert found([[A, A]], [[A, B]], [[0.9, 0.8]])["ap50"] == pytest.approx(51 / 101)
    plane = (A[0], "aircraft")
    # Of two labels each is an average; none of the true ships is called one.
    assert found([[plane]], [[plane, B]], [[0.9]])["ap50"] == 0.5


def test_cocos_own_evaluation_agrees():
    from faster_coco_eval import COCO, COCOeval_faster

    rng = np.random.default_rng(0)
    answers, truths, scores = [], [], []
    for _ in range(12):
        corners = rng.integers(0, 80, (5, 2))
        truths.append([((int(x), int(y), int(x) + 12, int(y) + 10), "ship") for x, y in corners[:4]])
        moved = corners + rng.integers(-3, 4, corners.shape)
        answers.append([((int(x), int(y), int(x) + 12, int(y) + 10), "ship") for x, y in moved])
        scores.append([])
    ranks = rng.permutation(60) / 100 + 0.2
    scores = [list(map(float, ranks[start : start + 5])) for start in range(0, 60, 5)]

    def annotation(image: int, box: tuple[int, ...]) -> dict[str, object]:
        x1, y1, x2, y2 = box
        size = [x1, y1, x2 - x1, y2 - y1]
        return {"image_id": image, "category_id": 1, "bbox": size, "area": size[2] * size[3], "iscrowd": 0}

    known = [annotation(image, box) for image, boxes in enumerate(truths, 1) for box, _ in boxes]
    said = [
        annotation(image, box) | {"score": score}
        for image, (boxes, of_image) in enumerate(zip(answers, scores, strict=True), 1)
        for (box, _), score in zip(boxes, of_image, strict=True)
    ]
    truth = COCO(
        {
            "info": {},
            "images": [{"id": image, "width": 100, "height": 100} for image in range(1, 13)],
            "categories": [{"id": 1, "name": "ship"}],
            "annotations": [{"id": number, **one} for number, one in enumerate(known, 1)],
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(said), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = found(answers, truths, scores)
    assert (ours["ap"], ours["ap50"]) == pytest.approx(evaluation.stats[:2], abs=1e-6)
    assert 0.05 < ours["ap"] < ours["ap50"] < 0.95
