"""The dense head's losses: boxes are drawn to the true ones, and small ones count as much as large ones."""

import pytest
import torch
from torch import Tensor

from trl_recipes.small.dense import COVERS, SLOTS, DenseHead, generalized_overlap


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
        losses = head(tokens, *targets(4))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        schedule.step()
    assert losses["overlap"].item() < 0.2 and losses["presence"].item() < 0.01


def test_pictures_without_objects_have_no_loss_of_boxes() -> None:
    cover, present, box = targets(4)
    losses = DenseHead(16, overlap_weight=4.0)(torch.randn(4, 16), cover, torch.zeros_like(present), box)
    assert losses["overlap"].item() == losses["box_pixels"].item() == 0
    losses["loss"].backward()
