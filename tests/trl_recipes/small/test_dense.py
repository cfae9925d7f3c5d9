"""The dense head: its losses draw boxes to the true ones, and what it tells of chips can be scored while it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from fusargpt.errors import InputError
from tests.trl_recipes.small.test_drawing import made_chips
from trl_recipes.model.patch_embedding import use_linear_patch_embedding
from trl_recipes.small import dense_scores
from trl_recipes.small import model as small_model
from trl_recipes.small.dense import COVERS, SLOTS, DenseHead, generalized_overlap
from trl_recipes.small.dense_scores import Found, find, scores
from trl_recipes.small.dense_training import load
from trl_recipes.small.pictures import Picture
from trl_recipes.small.pretrain_tower import DenseTower
from trl_recipes.small.sizes import MINI


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 2, 2), 1.0),
        ((1, 0, 3, 2), 2 / 6),  # the hull is the union
        ((1, 1, 3, 3), 1 / 7 - 2 / 9),
        ((3, 0, 4, 2), -2 / 8),  # apart, a unit between them
        ((2, 2, 0, 0), 0.0),  # no area, and within
    ],
)
def test_generalized_overlap(box: tuple[int, ...], expected: float) -> None:
    found = generalized_overlap(torch.tensor([box], dtype=torch.float32), torch.tensor([[0.0, 0, 2, 2]]))
    assert found.tolist() == pytest.approx([expected])


def targets(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """One ship, in the first token."""
    cover, present, box = (
        torch.zeros(1, tokens, COVERS),
        torch.zeros(1, tokens, SLOTS, 2),
        torch.zeros(1, tokens, SLOTS, 4),
    )
    present[0, 0, 0, 0] = 1
    box[0, 0, 0] = torch.tensor([0.2, 0.2, 0.4, 0.3])
    return cover, present, box


def test_overlap_counts_where_it_has_a_weight() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(4, 16)
    plain, weighted = DenseHead(16), DenseHead(16, overlap_weight=4.0)
    weighted.load_state_dict(plain.state_dict())
    without, found = plain(tokens, *targets(4)), weighted(tokens, *targets(4))
    assert found["loss"].item() == pytest.approx((without["loss"] + 4 * found["overlap"]).item())


def test_a_head_learns_the_box_of_the_only_ship() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(4, 16)
    head = DenseHead(16, overlap_weight=4.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        optimizer.zero_grad()
        head(tokens, *targets(4))["loss"].backward()
        optimizer.step()
        schedule.step()
    losses = head(tokens, *targets(4))
    assert losses["overlap"].item() < 0.2 and losses["presence"].item() < 0.01


def test_pictures_without_objects_have_no_loss_of_boxes() -> None:
    cover, present, box = targets(4)
    losses = DenseHead(16, overlap_weight=4.0)(torch.randn(4, 16), cover, torch.zeros_like(present), box)
    assert losses["overlap"].item() == losses["box_pixels"].item() == 0
    losses["loss"].backward()


def test_boxes_of_one_ship_count_once_and_probable_ones_first() -> None:
    ship, beside = [10.0, 10.0, 30.0, 20.0], [50.0, 50.0, 60.0, 60.0]
    exact = Found([ship, beside], [0.9, 0.25], [ship])
    assert scores([exact], least=0.5) == {"precision": 100, "recall": 100, "F1": 100, "counts": 100}
    assert scores([exact], least=0.2) == pytest.approx({"precision": 50, "recall": 100, "F1": 200 / 3, "counts": 0})
    missed = Found([], [], [ship, beside])
    assert scores([exact, missed], least=0.5) == pytest.approx(
        {"precision": 100, "recall": 100 / 3, "F1": 50, "counts": 50}
    )


def test_a_checkpoint_tells_boxes_of_chips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_model, "CORPUS_SCENES", 20)
    small_model.build(MINI, tmp_path / "initial", seed=0)
    whole, processor = load(tmp_path / "initial", "eager", seed=0)
    use_linear_patch_embedding(whole.model)
    tower = DenseTower(whole.model.visual, MINI.text_width)
    nn.init.zeros_(tower.dense.head.weight)
    # Whatever it sees, it tells a ship of 28 x 28 pixels in every token.
    slots = tower.dense.head.bias.data[COVERS:].view(SLOTS, -1)
    slots[:] = torch.tensor([[9.0, -9, 0, 0, 1, 1], [-9, -9, 0, 0, 1, 1]])
    chip = Picture(
        np.zeros((90, 120), np.uint8), np.array([[0.0, 0, 10, 7.5]]), ("ship",), np.zeros((90, 120), np.uint8)
    )
    found = find(tower, processor.image_processor, chip, 336)
    assert len(found.boxes) == 144 and found.true == [[0, 0, 28, 28]]
    assert [0, 0, 28, 28] in found.boxes and [308, 308, 336, 336] in found.boxes
    (tmp_path / "checkpoint-1").mkdir()
    save_file(tower.state_dict(), tmp_path / "checkpoint-1" / "model.safetensors")
    ssdd = made_chips(tmp_path / "ssdd")
    given = ["mini", "--model", str(tmp_path / "initial"), "--ssdd", str(ssdd)]
    dense_scores.main([*given, "--checkpoint", str(tmp_path / "checkpoint-1")])
    assert "checkpoint-1: 1 chips of validation.txt, percent\nfrom 0.2 on: precision 0.0" in capsys.readouterr().out
    (tmp_path / "checkpoint-3").mkdir()
    for wrong in (b"", save({"tower.other": torch.zeros(1)})):
        (tmp_path / "checkpoint-3" / "model.safetensors").write_bytes(wrong)
        with pytest.raises(InputError, match="expected weights of mini's tower and head"):
            dense_scores.main([*given, "--checkpoint", str(tmp_path / "checkpoint-3")])
    with pytest.raises(InputError, match="expected a checkpoint of the tower"):
        dense_scores.main([*given, "--checkpoint", str(tmp_path / "checkpoint-2")])
    given[2] = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        dense_scores.main([*given, "--checkpoint", str(tmp_path / "checkpoint-1")])
