"""The losses by themselves, against values that were computed by hand or by loops."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from modeling_fusarklip.losses import (
    base_rate,
    mask_texts,
    sample_negatives,
    sigmoid_contrast,
    smoothed_targets,
    softmax_contrast,
    truth_matrix,
    weighted_cross_entropy,
    wording_facts,
)
from tests.modeling_fusarklip.tiny_klip import facts


def test_a_text_is_true_of_every_image_in_which_all_that_it_says_is_so():
    images = torch.from_numpy(facts({0: 5, 1: 7}, {0: 5, 1: 8}, {0: 5}))
    texts = torch.from_numpy(facts({0: 5}, {0: 5, 1: 7}, {1: 8}, {}))
    expected = [[1, 1, 0, 1], [1, 0, 1, 1], [1, 0, 0, 1]]  # of the third image dimension 1 is not known
    assert truth_matrix(images, texts).int().tolist() == expected


def test_the_softmax_contrast_shares_a_row_among_all_that_is_true():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    normalizer = math.log(math.exp(2) + math.exp(1) + 1)
    truth = torch.tensor([[True, True, False]])
    assert softmax_contrast(logits, truth).item() == pytest.approx(normalizer - (2 + 1) / 2, abs=1e-6)
    soft = torch.tensor([[0.0, 0.0, 1.0]])
    expected = 0.75 * (normalizer - 1.5) + 0.25 * normalizer
    assert softmax_contrast(logits, truth, soft, 0.25).item() == pytest.approx(expected, abs=1e-6)


def test_the_softmax_contrast_of_single_partners_is_cross_entropy():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    expected = functional.cross_entropy(logits, torch.arange(5))
    torch.testing.assert_close(softmax_contrast(logits, torch.eye(5, dtype=torch.bool)), expected)


def test_the_sigmoid_contrast_takes_each_pair_by_itself():
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    truth = torch.tensor([[True, False], [True, True]])
    pairs = [(1.0, 1), (-2.0, -1), (0.5, 1), (3.0, 1)]
    expected = sum(math.log(1 + math.exp(-sign * logit)) for logit, sign in pairs) / 2
    assert sigmoid_contrast(logits, truth).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [softmax_contrast, sigmoid_contrast])
def test_true_pairs_never_repel(loss: type):
    logits = torch.zeros(4, 4, requires_grad=True)
    truth = torch.ones(4, 4, dtype=torch.bool)
    loss(logits, truth).backward()  # pyright: ignore[reportCallIssue]
    assert logits.grad is not None and bool((logits.grad <= 1e-7).all())


def test_negatives_are_never_true_and_rows_without_one_are_named():
    torch.manual_seed(0)
    truth = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 0, 1]]).bool()
    logits = torch.tensor([[9.0, 9.0, -60.0], [0.0, 0.0, 0.0], [0.0, 8.0, 9.0]])
    draws = torch.stack([sample_negatives(logits, truth).chosen for _ in range(200)])
    assert sample_negatives(logits, truth).present.tolist() == [True, False, True]
    assert set(draws[:, 0].tolist()) == {2}  # the only one, however unlike
    assert (draws[:, 2] == 1).float().mean() > 0.95  # the one that looks alike: 8 against 0


def test_the_base_rate_of_one_in_three_is_blips():
    assert base_rate(torch.tensor([1, 0, 0] * 7)) == pytest.approx(0.6365, abs=1e-4)
    assert base_rate(torch.tensor([1, 0])) == pytest.approx(math.log(2))
    assert base_rate(torch.tensor([], dtype=torch.int64)) == 0


def masked(part_ids: Tensor, weights: Tensor | None = None, words: float = 0.0, part: float = 0.0) -> Tensor:
    ids = torch.arange(10, 10 + part_ids.numel()).view(part_ids.shape)
    weights = torch.ones(part_ids.shape) if weights is None else weights
    found = mask_texts(ids, part_ids, weights, words, part, 3)
    assert torch.equal(found.input_ids, torch.where(found.chosen, 3, ids))
    return found.chosen


def test_a_whole_part_is_hidden_or_single_words_of_parts():
    torch.manual_seed(0)
    part_ids = torch.tensor([0, 4, 4, 0, 9, 9, 9, 0]).expand(400, 8)
    whole = masked(part_ids, part=1.0)
    found = {tuple(row) for row in whole.int().tolist()}
    assert found == {(0, 1, 1, 0, 0, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1, 0)}
    assert 0.4 < whole[:, 1].float().mean() < 0.6
    words = masked(part_ids, words=0.35)
    assert not words[:, [0, 3, 7]].any() and 0.3 < words[:, [1, 2, 4, 5, 6]].float().mean() < 0.4


def test_parts_without_weight_are_never_hidden():
    part_ids = torch.tensor([[0, 1, 1, 2, 2, 0]] * 50)
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.5, 0.5, 1.0]] * 50)
    assert not masked(part_ids, weights, words=1.0)[:, :3].any()
    assert masked(part_ids, weights, part=1.0).int().tolist() == [[0, 0, 0, 1, 1, 0]] * 50
    assert not masked(part_ids, 0 * weights, words=1.0, part=1.0).any()


def test_reconstruction_is_a_weighted_mean():
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [5.0, 0.0]])
    targets, weights = torch.tensor([0, 0, 1]), torch.tensor([1.0, 0.5, 0.0])
    expected = (math.log(2) + 0.5 * math.log(4)) / 1.5
    assert weighted_cross_entropy(logits, targets, weights).item() == pytest.approx(expected, abs=1e-6)
    nothing = weighted_cross_entropy(logits[:0], targets[:0], weights[:0])
    assert nothing.item() == 0


def test_equal_wordings_are_one_fact_whatever_their_padding():
    ids = torch.tensor([[1, 7, 8, 2, 0], [1, 7, 8, 2, 5], [1, 8, 7, 2, 0], [1, 7, 8, 2, 9]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    keys = wording_facts(ids, mask, 16)
    assert keys.shape == (4, 16) and not keys[:, 1:].any()
    assert torch.equal(wording_facts(ids[:3, :4], mask[:3, :4], 16), keys[:3])
    assert len(set(keys[:, 0].tolist())) == 3 and keys[0, 0] == keys[1, 0]


def test_wordings_of_a_large_batch_do_not_collide():
    ids = torch.cartesian_prod(torch.arange(20), torch.arange(20), torch.arange(20))
    assert len(wording_facts(ids, torch.ones_like(ids), 16)[:, 0].unique()) == 8000


def test_hidden_patches_are_to_be_what_they_are_after_a_mean_and_its_slopes():
    rows = torch.arange(8.0)[:, None].expand(8, 8)
    targets = smoothed_targets((2 * rows).expand(1, 3, 8, 8), 4)
    grey, down, right = targets.view(4, 3, 4, 4)[3].unbind(0)  # the last patch: rows and columns 4 to 7
    torch.testing.assert_close(grey[:3, 0], torch.tensor([8.0, 10.0, 12.0]))
    torch.testing.assert_close(down[:2], torch.full((2, 4), 2.0))
    assert not right.any()


def test_a_share_of_the_negatives_is_of_any_that_is_false():
    torch.manual_seed(0)
    # Column 1 is by far the likest; 0 is true.
    logits, truth = (
        torch.tensor([[9.0, 50.0, 0.0]]).repeat(4000, 1),
        torch.tensor([[True, False, False]]).repeat(4000, 1),
    )
    for hard, likest in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.5)):
        chosen = sample_negatives(logits, truth, hard).chosen
        assert not (chosen == 0).any()
        assert (chosen == 1).float().mean().item() == pytest.approx(likest, abs=0.03)
