"""The making of fusarklip-nano: its words, its sizes, its tower."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipVisionConfig, BlipVisionModel

from fusargpt.errors import InputError
from fusargpt.simulator.description import scene_phrases
from fusargpt.simulator.records import SPLIT_SEEDS
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.part_texts import counterfactual, draw_part_text
from modeling_fusarklip import FusarKlipModel, FusarKlipProcessor
from trl_recipes.klip import nano_model
from trl_recipes.klip.pretrain_tower import TOWER


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nano with a tower that was trained before, in out/ and tower/."""
    folder = tmp_path_factory.mktemp("nano")
    torch.manual_seed(1)
    BlipVisionModel(BlipVisionConfig.from_dict(TOWER)).save_pretrained(folder / "tower")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano_model, "CORPUS_SCENES", 60)
        nano_model.build(folder / "out", folder / "tower", seed=0)
    return folder


def test_no_text_of_a_scene_holds_an_unknown_word_or_is_too_long(folder: Path) -> None:
    processor = FusarKlipProcessor.from_pretrained(folder / "out")
    unknown = processor.tokenizer.unk_token_id
    for seed in range(20):
        phrases = scene_phrases(simulate_scene(SPLIT_SEEDS["test"] + seed))
        said = draw_part_text(phrases, seed)
        false = counterfactual(phrases, said, seed)
        texts = [said.text] if false is None else [said.text, false.text]
        ids = processor(text=texts)["input_ids"]
        assert not (ids == unknown).any() and ids.shape[1] <= nano_model.MAX_TOKENS


def test_digits_are_single_tokens_case_is_none_and_other_words_are_pieces(folder: Path) -> None:
    tokenizer = FusarKlipProcessor.from_pretrained(folder / "out").tokenizer
    assert tokenizer.tokenize("123 Ships, 4.5%") == ["1", "2", "3", "ships", ",", "4", ".", "5", "%"]
    assert tokenizer.unk_token not in tokenizer.tokenize("xylophones: quay_walls at (12.5 N)!")
    assert tokenizer.tokenize("東京") == ["[UNK]", "[UNK]"]
    ids = tokenizer("water")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_sizes_are_as_planned_and_the_tower_is_the_one_given(folder: Path) -> None:
    model = FusarKlipModel.from_pretrained(folder / "out")
    assert 5.0e6 < model.num_parameters() < 6.5e6
    assert (model.config.geography_layer, model.config.max_text_tokens) == (4, 192)
    tower = BlipVisionModel.from_pretrained(folder / "tower").eval()
    pixels = torch.rand(1, 3, 168, 168)
    with torch.no_grad():
        expected = tower(pixels).last_hidden_state
        assert torch.equal(model.eval().image_tokens(pixel_values=pixels), expected)
    # Halved it fits the repository.
    assert 2 * model.num_parameters() < 15e6


@pytest.mark.parametrize("change", ["missing", "smaller", "nothing"])
def test_a_tower_that_does_not_fit_is_refused(folder: Path, tmp_path: Path, change: str) -> None:
    model = FusarKlipModel.from_pretrained(folder / "out")
    other = tmp_path / "tower"
    if change == "smaller":
        BlipVisionModel(BlipVisionConfig.from_dict({**TOWER, "hidden_size": 96})).save_pretrained(other)
    elif change == "missing":
        BlipVisionModel.from_pretrained(folder / "tower").save_pretrained(other)
        weights = load_file(other / "model.safetensors")
        weights.pop("post_layernorm.weight")
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"--tower: .*(cannot be loaded|lacks|expected the sizes)"):
        nano_model.load_tower(model, other)
