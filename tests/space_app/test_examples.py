"""The examples of the page: what the small model that comes with the package makes of them."""

import json

import pytest

from fusargpt.checkpoints import NANO
from fusargpt.geo.image import read_image
from fusargpt.geo.prior import load_prior
from fusargpt.inference.predict import load
from fusargpt.tasks.prompts import prompt
from space_app.fields import EXAMPLES


@pytest.mark.slow
def test_nano_counts_what_the_labels_say() -> None:
    predictor = load(NANO)
    examples: list[dict[str, str]] = json.loads((EXAMPLES / "examples.json").read_text())
    assert examples
    for example in examples:
        image, prior = read_image(EXAMPLES / example["image"]), load_prior(EXAMPLES / example["prior"])
        answer = predictor.answer(image, prompt("count", example["target"]), prior)
        assert answer == example["caption"].split()[0], example["image"]
