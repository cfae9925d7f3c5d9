"""CIDEr-D of descriptions, in plain Python.

Source: R. Vedantam, C. L. Zitnick and D. Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015
(arXiv:1411.5726). The variant D, with counts as they are, is what COCO's evaluation computes and papers report. It is
written out here because pycocoevalcap, which has it, splits words by a Java program and is no longer kept up.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # words by which the length may differ
SCALE = 10.0

Vector = dict[tuple[str, ...], float]


def words(text: str) -> list[str]:
    """Lower-case words and numbers; punctuation is left out."""
    return re.findall(r"\w+", text.casefold())


def cider(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """CIDEr-D of each answer with one reference an image, in [0, 10].

    How much an n-gram weighs follows from the number of references that hold it; one that is in all of them weighs
    nothing. Equal lengths are expected.
    """
    counts = [[_ngrams(words(text), n) for n in range(1, LONGEST + 1)] for text in references]
    holding = Counter(ngram for image in counts for of_length in image for ngram in of_length)
    rarity = {ngram: math.log(len(references) / times) for ngram, times in holding.items()}
    unseen = math.log(len(references)) if references else 0.0
    scores = []
    for answer, image in zip(answers, counts, strict=True):
        said = words(answer)
        difference = len(said) - sum(image[0].values())
        similarities = (
            _similarity(*(_weighted(grams, rarity, unseen) for grams in (_ngrams(said, n), image[n - 1])))
            for n in range(1, LONGEST + 1)
        )
        scores.append(SCALE * sum(similarities) / LONGEST * math.exp(-(difference**2) / (2 * SIGMA**2)))
    return scores


def _ngrams(text: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(text[start:] for start in range(n)), strict=False))


def _weighted(counts: Counter[tuple[str, ...]], rarity: Vector, unseen: float) -> Vector:
    return {ngram: count * rarity.get(ngram, unseen) for ngram, count in counts.items()}


def _similarity(answer: Vector, reference: Vector) -> float:
    """Cosine of two vectors, where an n-gram that is said too often counts as often as the reference has it."""
    norms = math.hypot(*answer.values()) * math.hypot(*reference.values())
    if norms == 0:
        return 0.0
    return (
        sum(min(weight, reference.get(ngram, 0.0)) * reference.get(ngram, 0.0) for ngram, weight in answer.items())
        / norms
    )
