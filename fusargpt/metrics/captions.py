"""Descriptions: corpus BLEU-4, ROUGE-L, CIDEr-D and exact match; definitions in metrics/README.md."""

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from fusargpt.metrics.cider import cider
from fusargpt.metrics.tally import Tally, pairs, unreadable_reference

SMOOTHING = "exp"
"""Sacrebleu's own, so that `bleu4` is what its `corpus_bleu` says."""


def describe_tallies(answers: Sequence[str], references: Sequence[str]) -> dict[str, Tally]:
    """Corpus BLEU-4 (as a share of 1), mean ROUGE-L F1, mean CIDEr-D (in [0, 10]) and exact match.

    Args:
        answers: what the model said, one an image.
        references: the true description of each.

    Returns:
        `bleu4`, `rouge_l`, `cider` and `exact`. Intervals of `cider` keep the weights of n-grams as they are over all
        references.

    Raises:
        InputError: no images, lengths that differ, or an empty reference.
    """
    # It brings nltk, scipy and scikit-learn, seconds of import that a process which scores nothing is spared.
    from rouge_score.rouge_scorer import RougeScorer

    matched = pairs(answers, references)
    for index, (_, reference) in enumerate(matched):
        if not reference.strip():
            raise unreadable_reference(index, reference, "a description")
    # Effective order concerns only the score of one sentence, which is not used, and silences a warning about it.
    sentence_bleu = BLEU(smooth_method=SMOOTHING, effective_order=True)
    rouge = RougeScorer(["rougeL"])
    bleu_rows, rouge_values = [], []
    for answer, reference in matched:
        counts = sentence_bleu.sentence_score(answer, [reference])
        # Clipped matches and totals of n-grams of 1 to 4 words, then the lengths: BLEU is a function of their sums.
        bleu_rows.append([*counts.counts, *counts.totals, counts.sys_len, counts.ref_len])
        rouge_values.append(rouge.score(reference, answer)["rougeL"].fmeasure)
    return {
        "bleu4": Tally(np.array(bleu_rows, float), _corpus_bleu),
        "rouge_l": Tally.mean(rouge_values),
        "cider": Tally.mean(cider(answers, references), percent=False),
        "exact": Tally.mean([answer.strip() == reference.strip() for answer, reference in matched]),
    }


def _corpus_bleu(sums: np.ndarray) -> np.ndarray:
    scores = []
    for row in sums.astype(int).tolist():
        bleu = BLEU.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method=SMOOTHING)
        scores.append(bleu.score / 100)
    return np.array(scores)
