"""Retrieval with towers that have no texts: their features, brought to words by linear regression.

It is fitted to texts of the training split, so that it is no zero-shot result: a bar for those that are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from fusargpt.foundation.features import Features, on_grid
from fusargpt.foundation.probes import ridge_probe

GRID = 3
"""Cells a side in which tokens are averaged: texts name nine places in the image."""
_WORDS = r"[A-Za-z]+|\d+"


def bridged_similarity(
    train: tuple[Features, Sequence[str]],
    validation: tuple[Features, Sequence[str]],
    test: tuple[Features, Sequence[str]],
) -> NDArray[np.float64]:
    """Cosine of the words [N, M] that features let expect and those of texts, weighted by rarity (tf-idf).

    Args:
        train: what vectoriser and regression are fitted to, features of images and their texts.
        validation: chooses the penalty.
        test: images and texts that are compared.
    """
    vectorizer = TfidfVectorizer(token_pattern=_WORDS, sublinear_tf=True)
    vectorizer.fit(train[1])
    counted = [_counted(vectorizer, texts) for _, texts in (train, validation, test)]
    usual = counted[0].mean(0)
    fitted = [
        (_described(features), words - usual)
        for (features, _), words in zip((train, validation), counted[:2], strict=True)
    ]
    expected = ridge_probe(*fitted)(_described(test[0]))
    return _unit(expected) @ _unit(counted[2] - usual).T


def _counted(vectorizer: TfidfVectorizer, texts: Sequence[str]) -> NDArray[np.float64]:
    # As scipy has it and its stubs do not.
    words: Any = vectorizer.transform(texts)
    return np.asarray(words.todense())


def _described(features: Features) -> NDArray[np.floating]:
    return np.concatenate([features.pooled, on_grid(features.tokens, GRID).reshape(len(features), -1)], 1)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
