"""Boxes of training rows are brought to the pixels that the model sees, in training and its scores as in `evaluate`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl.trainer.sft_config import SFTConfig

from fusargpt.evaluation.items import KnownItem
from fusargpt.evaluation.scoring import scores
from fusargpt.inference.questions import Answer
from modeling_fusargpt import FusarGptProcessor
from tests.tiny import tiny_model, tiny_processor
from tests.trl_recipes.triplets import assistant, triplet, user
from trl_recipes.data.collator import TripletCollator
from trl_recipes.data.pairs import pair_rows
from trl_recipes.data.visual_tokens import cache_visual_tokens
from trl_recipes.running.answer_scores import AnswerScores

WIDTH, HEIGHT = 96, 72
OWN = '[{"bbox_2d": [9, 12, 48, 36], "label": "ship"}, {"bbox_2d": [60, 30, 61, 31], "label": "aircraft"}]'
# By hand, to 48 x 48: x by 1 / 2, y by 2 / 3; the second would have no width.
SQUARE = '[{"bbox_2d": [4, 8, 24, 24], "label": "ship"}, {"bbox_2d": [30, 20, 31, 21], "label": "aircraft"}]'


def squeezing(side: int) -> FusarGptProcessor:
    processor = tiny_processor()
    return FusarGptProcessor(processor.image_processor, processor.tokenizer, processor.chat_template, side)


def limited(pixels: int) -> FusarGptProcessor:
    processor = tiny_processor()
    settings = processor.image_processor.to_dict()
    size = {"shortest_edge": 64, "longest_edge": pixels}
    smaller: Any = Qwen2VLImageProcessorPil.from_dict({**settings, "size": size})
    return FusarGptProcessor(smaller, processor.tokenizer)


def row(answer: str = OWN, **changes: Any) -> dict[str, Any]:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    turns = {"prompt": [user("Detect all ships.")], "completion": [assistant(answer)]}
    return {**triplet(0), "image": Image.fromarray(noise), "task": "detect", **turns, **changes}


def learned(collator: TripletCollator, batch: dict[str, Any]) -> str:
    labels = batch["labels"][0]
    text: Any = collator.processor.tokenizer.decode(labels[labels != -100])
    return text.removesuffix("<|im_end|>")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (tiny_processor(), OWN),
        (squeezing(48), SQUARE),
        # 96 x 72 = 6,912 pixels to 48 x 32 = 1,536: x by 1 / 2, y by 4 / 9.
        (
            limited(1800),
            '[{"bbox_2d": [4, 5, 24, 16], "label": "ship"}, {"bbox_2d": [30, 13, 31, 14], "label": "aircraft"}]',
        ),
    ],
    ids=["as it is", "image_size", "longest_edge"],
)
@pytest.mark.parametrize("form", ["completion", "messages", "pairs"])
def test_the_model_learns_boxes_in_the_pixels_that_it_sees(
    processor: FusarGptProcessor, expected: str, form: str
) -> None:
    example = row()
    if form == "messages":
        example["messages"] = example.pop("prompt") + example.pop("completion")
    if form == "pairs":
        example["pairs"] = [{name: example.pop(name) for name in ("prompt", "completion", "task")}]
    collator = TripletCollator(processor)
    assert learned(collator, collator([example])) == expected


def test_boxes_in_questions_and_beside_words_move_too() -> None:
    asked = 'What is at {"bbox_2d": [9, 12, 48, 36]}? Answer as [{"bbox_2d": [x1, y1, x2, y2]}].'
    example = row(f"Two: {OWN}", prompt=[user(asked)])
    collator = TripletCollator(squeezing(48))
    assert learned(collator, collator([example])) == f"Two: {SQUARE}"
    for batch in (collator([example]), collator.questions([example])):
        assert 'at {"bbox_2d": [4, 8, 24, 24]}?' in collator.processor.tokenizer.decode(batch["input_ids"][0])


def test_boxes_move_where_images_are_not_read_again(tmp_path: Path) -> None:
    processor, model = squeezing(48), tiny_model()
    rows = Dataset.from_list([row(), row("None")])
    config = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, disable_tqdm=True)
    cache, (keyed,) = cache_visual_tokens(model, processor, tmp_path / "cache", 2**30, config, [rows])
    collator = TripletCollator(processor, features=cache)
    assert "image" not in keyed.column_names
    assert learned(collator, collator([keyed[0]])) == SQUARE
    paired = pair_rows(keyed, 2)[0]
    assert learned(collator, collator([paired])) == f"{SQUARE}<|im_end|>None"


@pytest.mark.parametrize("processor", [tiny_processor(), squeezing(48), limited(1800)], ids=["same", "square", "less"])
@pytest.mark.parametrize("answer", [OWN, SQUARE])
def test_scores_in_training_are_those_of_an_evaluation(processor: FusarGptProcessor, answer: str) -> None:
    rows = Dataset.from_list([row()])
    collator = TripletCollator(processor)
    scoring = AnswerScores(collator, rows, 1, 8, 1)
    (seen,) = collator.seen_sizes([rows[0]])
    item = KnownItem("a", "detect", "?", "0", WIDTH * HEIGHT, reference=OWN, width=WIDTH, height=HEIGHT, prior="")
    given = Answer("a", "detect", "?", answer, (WIDTH, HEIGHT), seen, None, 0.0)
    expected = scores("detect", [item], {"a": given})
    found = scoring._scores([answer])  # pyright: ignore[reportPrivateUsage]
    assert found == {name: expected[name.removeprefix("detect_")].value for name in found}
    # Right where it is right in the pixels that the model sees, and nowhere else.
    if processor.image_size == 48:
        assert (found["detect_f1@0.25"] == 1.0) == (answer == SQUARE)
    if seen == (WIDTH, HEIGHT):
        assert (found["detect_f1@0.25"] == 1.0) == (answer == OWN)


def test_a_picture_of_more_than_8_bit_is_refused_by_the_collator() -> None:
    deep = Image.fromarray(np.full((56, 56), 5000, np.uint16))
    with pytest.raises(ValueError, match=r"image: found a picture of mode I;16, expected 8 bit"):
        TripletCollator(tiny_processor())([row(image=deep)])
