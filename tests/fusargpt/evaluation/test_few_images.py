"""What is said of few images: no image is among the best and the worst, and no interval is called clear of 0."""

from dataclasses import replace

import pytest
from datasets import Dataset, Image

from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.galleries import descriptions, detections
from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.score_tables import FEWEST_FOR_CLEAR, clear, signed
from fusargpt.inference.questions import Answer
from fusargpt.metrics.tally import Score
from tests.tiny import random_image

BOX = '[{{"bbox_2d": [{}, 4, {}, 20], "label": "ship"}}]'


def evaluation(task: str, answers: list[str], reference: str) -> Evaluation:
    items = [
        KnownItem(
            f"chip-{n}", task, "?", str(n), 1024, f"image {n}", reference=reference, width=32, height=32, prior=""
        )
        for n in range(len(answers))
    ]
    given = {
        item.id: Answer(item.id, task, "?", text, (32, 32), (32, 32), None, 0.0)
        for item, text in zip(items, answers, strict=True)
    }
    rows = Dataset.from_list([{"image": random_image(32, 32, seed=n)} for n in range(len(answers))])
    rows = rows.cast_column("image", Image(decode=False))
    return Evaluation({}, {}, "cpu", [], rows, items, {"tiny": given}, [])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 13])
def test_no_image_is_among_the_best_and_the_worst(count: int) -> None:
    # All of them are found, each a little worse than the one before.
    found = evaluation("detect", [BOX.format(4 + 0.5 * n, 20 + 0.5 * n) for n in range(count)], BOX.format(4, 20))
    said = evaluation("describe", ["Mostly water."] * count, "Mostly water. Two ships.")
    for best, worst in (detections(found, "tiny"), descriptions(said, "tiny")):
        assert not {one.id for one in best} & {one.id for one in worst}
        assert len(best) == min(count // 2, len(best)) and len(worst) <= count // 2
    best, worst = detections(found, "tiny")
    assert [one.id for one in best] == [f"chip-{n}" for n in range(min(6, count // 2))]


def test_a_difference_over_few_images_has_no_star() -> None:
    enough = Score(0.2, 0.1, 0.3, FEWEST_FOR_CLEAR)
    assert clear(enough) and signed(enough).endswith("*")
    few = replace(enough, n=FEWEST_FOR_CLEAR - 1)
    assert not clear(few) and signed(few) == "+20.0 [+10.0, +30.0]"
    assert not clear(replace(enough, low=-0.1))
