"""Scores of the five tasks over a set of answers, with bootstrap intervals.

Each function takes answers and references of the same length and gives one value an image (or counts an image), so
that the bootstrap can draw images. Definitions: DESIGN section 6; localization's are inferred, the paper gives none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from modeling_fusargpt.tasks import NONE_ANSWER, parse_boxes, parse_cells, parse_count

BOOTSTRAP_DRAWS = 1000


@dataclass(frozen=True)
class Score:
    """A score in [0, 1] over `n` images with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def bootstrap(per_image: np.ndarray, statistic: Callable[[np.ndarray], float], seed: int = 0) -> Score:
    """`statistic` of the rows of `per_image` [n, ...], and its 95 % interval over images drawn with replacement.

    Raises ValueError when there are no images.
    """
    count = len(per_image)
    if count == 0:
        raise ValueError("no images to score; check the task and the split")
    rng = np.random.default_rng(seed)
    draws = [statistic(per_image[rng.integers(0, count, count)]) for _ in range(BOOTSTRAP_DRAWS)]
    low, high = np.percentile(draws, (2.5, 97.5))
    return Score(float(statistic(per_image)), float(low), float(high), count)


def count_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Exact-match accuracy of counts; an answer that is no whole number is wrong."""
    pairs = zip(answers, references, strict=True)
    return {"accuracy": bootstrap(np.array([parse_count(a) == int(r) for a, r in pairs], float), _mean)}


def localize_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Acc@100, Acc@50 and Top1: images in which all, at least half, at least one of the true cells are named.

    Images without a true cell do not count there. `exact`: the very set of cells, over all images; `precision`: share
    of the named cells that are true, so that naming every cell does not pay.
    """
    recalls, exact, named = [], [], []
    for answer, reference in zip(answers, references, strict=True):
        cells, truth = parse_cells(answer), parse_cells(reference)
        exact.append(cells == truth and (bool(truth) or answer.strip() == NONE_ANSWER))
        named.append((len(cells & truth), len(cells)))
        if truth:
            recalls.append(len(cells & truth) / len(truth))
    recall = np.array(recalls)
    return {
        "acc@100": bootstrap((recall == 1).astype(float), _mean),
        "acc@50": bootstrap((recall >= 0.5).astype(float), _mean),
        "top1": bootstrap((recall > 0).astype(float), _mean),
        "exact": bootstrap(np.array(exact, float), _mean),
        "precision": bootstrap(np.array(named, float), lambda rows: rows[:, 0].sum() / max(rows[:, 1].sum(), 1)),
    }


def classify_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Accuracy of the class name."""
    pairs = zip(answers, references, strict=True)
    return {"accuracy": bootstrap(np.array([a.strip() == r for a, r in pairs], float), _mean)}


def box_overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes [x1, y1, x2, y2]; 0 for boxes without area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def match_boxes(answer: str, reference: str, threshold: float) -> tuple[int, int, int]:
    """Matched, predicted and true boxes of one image; one-to-one by falling overlap among equal labels.

    An answer that cannot be read has no boxes. Raises ValueError when the reference cannot be read.
    """
    predicted, truth = parse_boxes(answer) or [], parse_boxes(reference)
    if truth is None:
        raise ValueError(f"reference: found {reference!r}, expected a JSON list of boxes or {NONE_ANSWER}")
    pairs = sorted(
        (
            (-box_overlap(box, true_box), i, j)
            for i, (box, label) in enumerate(predicted)
            for j, (true_box, true_label) in enumerate(truth)
            if label == true_label
        ),
    )
    used_predicted: set[int] = set()
    used_true: set[int] = set()
    for negative, i, j in pairs:
        if -negative >= threshold and i not in used_predicted and j not in used_true:
            used_predicted.add(i)
            used_true.add(j)
    return len(used_true), len(predicted), len(truth)


def detect_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """F1 at overlap 0.25 and 0.50 over all boxes of all images."""
    return {
        f"f1@{threshold:.2f}": bootstrap(
            np.array([match_boxes(a, r, threshold) for a, r in zip(answers, references, strict=True)], float), _f1
        )
        for threshold in (0.25, 0.50)
    }


def describe_scores(answers: Sequence[str], references: Sequence[str]) -> dict[str, Score]:
    """Corpus BLEU-4 (as a share of 1) and exact match of descriptions."""
    bleu = BLEU(effective_order=True)
    # Clipped matches and totals for n-grams of 1 to 4, then the lengths: corpus BLEU is a function of their sums.
    rows = []
    for answer, reference in zip(answers, references, strict=True):
        score = bleu.sentence_score(answer, [reference])
        rows.append([*score.counts, *score.totals, score.sys_len, score.ref_len])

    def corpus_bleu(statistics: np.ndarray) -> float:
        sums = [int(value) for value in statistics.sum(0)]
        return BLEU.compute_bleu(sums[:4], sums[4:8], sums[8], sums[9]).score / 100

    exact = [answer == reference for answer, reference in zip(answers, references, strict=True)]
    return {"bleu4": bootstrap(np.array(rows), corpus_bleu), "exact": bootstrap(np.array(exact, float), _mean)}


SCORES: dict[str, Callable[[Sequence[str], Sequence[str]], dict[str, Score]]] = {
    "describe": describe_scores,
    "count": count_scores,
    "localize": localize_scores,
    "classify": classify_scores,
    "detect": detect_scores,
}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _f1(rows: np.ndarray) -> float:
    matched, predicted, true = rows.sum(0)
    return float(2 * matched / (predicted + true)) if predicted + true else 1.0
