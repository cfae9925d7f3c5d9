"""The making of nano: its tokenizer and model, and the pre-training of its vision tower."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fusargpt.simulator.simulated_scene import IMAGE_SIZE, simulate_scene
from fusargpt.tasks.answers import parse_boxes
from fusargpt.tasks.target_names import TARGETS
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from tests.tiny import tiny_model
from trl_recipes.klip.pretrain_tower import PATCH_PIXELS
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.running.curves import draw_curves
from trl_recipes.small import model as small_model
from trl_recipes.small.dense import COVERS, DenseScenes, dense_targets, draw, scene_picture
from trl_recipes.small.pointing_rows import PointingCollator, PointingScenes
from trl_recipes.small.pretrain_pointing import DensePointing
from trl_recipes.small.pretrain_tower import TOKEN_SCALE, DenseTower, collate, rescale_tokens
from trl_recipes.small.sizes import NANO, TOKEN_PIXELS

GRID = NANO.grid


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_model, "CORPUS_SCENES", 150)
        small_model.build(NANO, folder, seed=0)
    return folder


def test_numbers_and_the_fixed_pieces_of_boxes_are_single_tokens(nano: Path) -> None:
    tokenizer = FusarGptProcessor.from_pretrained(nano).tokenizer
    text = '[{"bbox_2d": [12, 34, 156, 167], "label": "ship"}, {"bbox_2d": [1, 134, 56, 78], "label": "ship"}]'
    tokens = tokenizer.encode(text)
    assert len(tokens) == 25
    assert tokenizer.decode(tokens) == text
    assert all(len(tokenizer.encode(str(number))) == 1 for number in range(169))


@pytest.mark.parametrize("text", ["Wörter, die es nicht kennt: 東京 🚢", "  two  spaces\nand lines ", "3.25 km; 1000"])
def test_any_text_survives_the_tokenizer(nano: Path, text: str) -> None:
    tokenizer = FusarGptProcessor.from_pretrained(nano).tokenizer
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_conversations_are_written_as_qwens(nano: Path) -> None:
    processor = FusarGptProcessor.from_pretrained(nano)
    messages: Any = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "Where?"},
    ]
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>How many?<|im_end|>\n"
        "<|im_start|>assistant\n3<|im_end|>\n"
        "<|im_start|>user\nWhere?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_nano_fits_its_size_and_starts_as_the_identity(nano: Path) -> None:
    model = FusarGptForConditionalGeneration.from_pretrained(nano)
    # Two bytes a parameter and the tokenizer stay below 20 MB.
    assert model.num_parameters() < 9_000_000
    assert not model.model.tlm.output_projection.weight.any()


@pytest.mark.parametrize("token_pixels", [TOKEN_PIXELS, PATCH_PIXELS])
def test_dense_targets_are_the_scenes(token_pixels: int) -> None:
    grid = IMAGE_SIZE // token_pixels
    for seed in range(30):
        scene = simulate_scene(seed)
        dense = dense_targets(scene_picture(scene, draw(scene, 0.5)), token_pixels)
        assert np.allclose(dense.cover.sum(-1), 1, atol=1e-5)
        assert dense.cover.shape == (grid * grid, COVERS)
        found = set()
        for token, slot, label in np.argwhere(dense.present):
            corner = np.array([token % grid, token // grid] * 2) * token_pixels
            box = np.round(dense.box[token, slot] * token_pixels + corner).astype(int)
            found.add((TARGETS[label], *box.tolist()))
        assert found <= {(target.label, *target.box) for target in scene.targets}
        assert len(found) >= len(scene.targets) - 2


@pytest.mark.slow
def test_a_tower_learns_from_dense_targets_and_its_tokens_are_scaled(nano: Path) -> None:
    torch.manual_seed(0)
    model = FusarGptForConditionalGeneration.from_pretrained(nano, dtype="float32")
    scenes = DenseScenes(FusarGptProcessor.from_pretrained(nano).image_processor, 0, 4, optical_share=0.5)
    batch = collate([scenes[index] for index in range(4)])
    tower = DenseTower(model.model.visual, model.lm_head.in_features)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = tower(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

    rescale_tokens(model.model.visual, batch)
    with torch.no_grad():
        tokens = model.model.visual(batch["pixel_values"], grid_thw=batch["image_grid_thw"]).pooler_output
    assert tokens.std().item() == pytest.approx(TOKEN_SCALE, rel=1e-3)


def test_pointing_moves_the_language_model_alone(nano: Path) -> None:
    torch.manual_seed(0)
    processor = FusarGptProcessor.from_pretrained(nano)
    model = FusarGptForConditionalGeneration.from_pretrained(nano, dtype="float32")
    before = {name: value.clone() for name, value in model.named_parameters()}
    scenes = PointingScenes(0, 3, optical_share=0.5)
    batch = PointingCollator(processor, NANO, NANO.pointed)([scenes[index] for index in range(3)])
    pointing = DensePointing(model, processor, NANO)
    optimizer = torch.optim.AdamW([p for p in pointing.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(6):
        outputs = pointing(**batch)
        outputs["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append({name: value.item() for name, value in outputs.items()})
    for name in ("loss", "place", "order", "box", "answer"):
        assert losses[-1][name] < losses[0][name]
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {name.split("layers.")[1].split(".")[0] for name in moved if "layers." in name} == set("012345")
    assert not [name for name in moved if "visual" in name or "tlm" in name]


def test_pointing_has_each_weight_once_so_that_it_can_be_saved_on_the_way(nano: Path, tmp_path: Path) -> None:
    model = FusarGptForConditionalGeneration.from_pretrained(nano, dtype="float32")
    pointing = DensePointing(model, FusarGptProcessor.from_pretrained(nano), NANO)
    save_file(pointing.state_dict(), tmp_path / "checkpoint.safetensors")
    assert model.lm_head.weight.data_ptr() == pointing.model.language_model.embed_tokens.weight.data_ptr()


def test_pointing_asks_about_targets_that_are_there(nano: Path) -> None:
    scenes = PointingScenes(0, 12, optical_share=0.5)
    tokenizer = FusarGptProcessor.from_pretrained(nano).tokenizer
    for index in range(len(scenes)):
        item = scenes[index]
        boxes = parse_boxes(item["completion"][0]["content"]).value
        assert boxes
        # The order of a token's slots is the place of that box in the answer.
        for token, slot in np.argwhere(item["present"].any(-1)):
            corner = np.array([token % GRID, token // GRID] * 2) * TOKEN_PIXELS
            box, _ = boxes[item["order"][token, slot]]
            assert np.allclose(item["box"][token, slot] * TOKEN_PIXELS + corner, box, atol=1e-3)
            assert all(len(tokenizer.encode(str(int(edge)))) == 1 for edge in box)


def test_the_linear_patch_embedding_is_the_convolution() -> None:
    model = tiny_model().model
    patches = torch.randn(12, model.visual.patch_embed.proj.weight[0].numel())
    convolved, names = model.visual.patch_embed(patches), list(model.state_dict())
    use_linear_patch_embedding(model)
    torch.testing.assert_close(model.visual.patch_embed(patches), convolved, atol=1e-5, rtol=1e-5)
    assert list(model.state_dict()) == names


def test_curves_need_a_log(tmp_path: Path) -> None:
    stage = tmp_path / "stage1"
    stage.mkdir()
    with pytest.raises(FileNotFoundError):
        draw_curves([stage], tmp_path / "curves.png")
    (stage / "trainer_state.json").write_text('{"log_history": [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5}]}')
    draw_curves([stage], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
