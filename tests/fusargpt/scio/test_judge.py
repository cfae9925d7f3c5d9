"""A tiny model as judge: its numbers are those of the model, and what it says can be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from fusargpt.embedding.towers import as_written
from fusargpt.errors import InputError
from fusargpt.scio.judge import Judge, Seen
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.simulated_scene import simulate_scene
from tests.trl_recipes.klip.phases import IMAGE_SIZE, klip_processor, tiny_klip_model

TEXTS = ["The terrain is mostly water. There are three ships.", "The image holds three ships."]


@pytest.fixture(scope="module")
def judge() -> Judge:
    model = tiny_klip_model().eval()
    return Judge(model, klip_processor(), "x")


@pytest.fixture(scope="module")
def seen(judge: Judge) -> Seen:
    pictures = [Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (60 * number,) * 3) for number in range(3)]
    return judge.see(pictures, [None] * 3, [{}] * 3)


def test_numbers_are_those_of_the_model(judge: Judge, seen: Seen) -> None:
    model, processor = tiny_klip_model().eval(), klip_processor()
    found = judge.fits(seen, TEXTS, [2, 0])
    read = processor(text=TEXTS)
    with torch.no_grad():
        vectors = model.text_embeddings(**read)
        matched = model.match(**read, image_tokens=seen.tokens, image_index=torch.tensor([2, 0]))
    np.testing.assert_allclose(found[:, 0], (vectors * seen.vectors[[2, 0]]).sum(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 1])), matched.numpy(), atol=1e-5)


def test_surprise_is_of_the_masked_phrase_alone(judge: Judge, seen: Seen) -> None:
    model, processor = tiny_klip_model().eval(), klip_processor()
    text = TEXTS[1]
    start = text.index("three ships")
    found = judge.surprise(seen, [text], [(start, start + len("three ships"))], [1])
    ids = processor(text=[text])["input_ids"]
    phrase = processor.tokenizer("three ships", add_special_tokens=False)["input_ids"]
    place = next(at for at in range(ids.shape[1]) if ids[0, at : at + len(phrase)].tolist() == phrase)
    masked = ids.clone()
    masked[0, place : place + len(phrase)] = model.config.mask_token_id
    with torch.no_grad():
        logits = model.masked_words(masked, None, seen.tokens[1:2])[0, place : place + len(phrase)]
    expected = functional.cross_entropy(logits, torch.tensor(phrase))
    assert found == pytest.approx([float(expected)], abs=1e-4)


def test_a_filling_is_a_phrase_of_as_many_tokens_or_nothing(judge: Judge, seen: Seen) -> None:
    tokenizer = klip_processor().tokenizer
    text = TEXTS[1]
    start = text.index("three ships")
    for phrase in judge.fill(seen, [text] * 3, [(start, start + len("three ships"))] * 3, [0, 1, 2]):
        assert phrase is None or len(tokenizer(phrase, add_special_tokens=False)["input_ids"]) == 2
    assert judge.fill(seen, [text], [(0, 0)], [0]) == [None]


def test_decoded_phrases_are_written_as_they_were() -> None:
    tokenizer = klip_processor().tokenizer
    for seed in range(6):
        for phrase in scene_phrases(simulate_scene(seed)).values():
            ids = tokenizer(phrase, add_special_tokens=False)["input_ids"]
            assert as_written(tokenizer.decode(ids)) == phrase.lower()


def test_a_model_that_was_not_trained_to_judge_is_refused(tmp_path: Path) -> None:
    model = tiny_klip_model()
    model.config.losses.itm = model.config.losses.mlm = 0.0
    with pytest.raises(InputError, match="trained without itm, mlm"):
        Judge(model, klip_processor(), "x")
    with pytest.raises(InputError, match="no such model folder"):
        Judge.load(tmp_path / "none")


def test_weights_that_are_missing_do_not_judge(tmp_path: Path) -> None:
    tiny_klip_model().save_pretrained(tmp_path)
    klip_processor().save_pretrained(tmp_path)
    assert Judge.load(tmp_path, "cpu").fingerprint
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: weights[name] for name in weights if name != "itm_head.weight"}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"1 weights are missing, itm_head\.weight among them"):
        Judge.load(tmp_path, "cpu")


def test_a_text_that_is_too_long_is_refused(judge: Judge, seen: Seen) -> None:
    with pytest.raises(InputError, match=r"found a text of .* tokens, expected at most 192; judge fewer"):
        judge.fits(seen, ["ships " * 300], [0])
