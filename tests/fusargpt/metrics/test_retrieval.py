import numpy as np
import pytest
import torch

from fusargpt.metrics.retrieval import retrieval_tallies, true_pairs


def scores(similarity: object, true: object) -> dict[str, float]:
    tallies = retrieval_tallies(np.array(similarity, float), np.array(true, bool))
    return {name: tally.score().value for name, tally in tallies.items()}


def test_a_text_is_true_of_every_image_with_the_facts_that_it_states() -> None:
    images = np.array([[7, 1], [7, 2], [8, 2]])
    texts = np.array([[7, 0], [7, 2], [0, 2], [0, 0]])
    expected = [[True, False, False, True], [True, True, True, True], [False, False, True, True]]
    assert true_pairs(images, texts).tolist() == expected


def test_any_true_partner_is_a_hit_and_the_strict_recall_stands_beside_it() -> None:
    # Images 0 and 1 look alike: text 0 is true of both, text 1 of image 1 alone.
    true = [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    similarity = [[0.9, 0.1, 0.5], [0.8, 0.3, 0.2], [0.1, 0.6, 0.4]]
    found = scores(similarity, true)
    # First texts: 0, 0, 1. First images: of text 0 image 0, of text 1 image 2, of text 2 image 0.
    assert found["image_to_text_r@1"] == pytest.approx(2 / 3)
    assert found["image_to_text_strict_r@1"] == pytest.approx(1 / 3)
    assert found["text_to_image_r@1"] == pytest.approx(1 / 3)
    assert found["image_to_text_r@5"] == 1
    # Image 1 has two true texts, at places 1 and 2: (1/1 + 2/2) / 2; image 2's is second of one: 0.
    assert found["image_to_text_map@r"] == pytest.approx((1 + 1 + 0) / 3)
    # Text 0's two images are first and second; text 1's is second, text 2's second, of one each.
    assert found["text_to_image_map@r"] == pytest.approx(1 / 3)


def test_what_cannot_be_told_apart_is_found_by_chance() -> None:
    found = scores(np.zeros((400, 400)), np.eye(400))
    assert found["image_to_text_r@10"] < 0.06
    assert found["text_to_image_strict_r@1"] <= 0.02
    # A third are alike: each of them meets another by one chance in three.
    alike = np.arange(400) < 133
    found = scores(np.zeros((400, 400)), np.eye(400, dtype=bool) | (alike[:, None] & alike))
    assert found["image_to_text_r@1"] == pytest.approx(1 / 9, abs=0.04)
    assert found["image_to_text_r@10"] == pytest.approx(1 / 3, abs=0.05)


def test_recall_is_that_of_torchmetrics() -> None:
    retrieval = pytest.importorskip("torchmetrics.retrieval")
    rng = np.random.default_rng(3)
    similarity = rng.standard_normal((40, 40))
    true = (rng.random((40, 40)) < 0.1) | np.eye(40, dtype=bool)
    found = scores(similarity, true)
    for direction, scored, known in (("image_to_text", similarity, true), ("text_to_image", similarity.T, true.T)):
        queries = torch.arange(40).repeat_interleave(40)
        for k in (1, 5, 10):
            metric = retrieval.RetrievalHitRate(top_k=k)
            metric.update(torch.tensor(scored.ravel()), torch.tensor(known.ravel()), indexes=queries)
            assert found[f"{direction}_r@{k}"] == pytest.approx(float(metric.compute()))


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="text 1: is not true of its own image"):
        scores(np.zeros((2, 2)), [[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="NaN"):
        scores(np.full((2, 2), np.nan), np.eye(2))
    with pytest.raises(ValueError, match="both \\[N, N\\]"):
        scores(np.zeros((2, 3)), np.ones((2, 3)))
