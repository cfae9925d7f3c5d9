"""Retrieval among the test places, in both directions."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.bridge import bridged_similarity
from fusargpt.foundation.entries import MAJORITY, Entry
from fusargpt.foundation.places import Place
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.texts import TEXT_SETS, TextSet, text_set
from fusargpt.metrics.retrieval import retrieval_tallies
from fusargpt.metrics.tally import Tally

_CERTAIN = 1e-6  # a probability is taken to be at least so far from 0 and from 1
RERANKED_ARMS = ("true", "none")
"""Those that are put in order again: a pass over tens of thousands of pairs each."""


class Retrieval:
    """By the cosine of image and text.

    Args:
        texts: a set of `fusargpt.foundation.texts.TEXT_SETS`.
    """

    headline = "text_to_image_r@1"

    def __init__(self, texts: str) -> None:
        self.name = f"retrieval-{texts}"
        self.how = (
            f"one text each ({TEXT_SETS[texts]}), cosine of image and text; a hit is any partner that is true by its "
            "facts, strict is the own partner alone. Towers without texts: ridge regression from features to the words "
            "of the training split's texts (not zero-shot)"
        )
        self._texts = texts

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        return retrieval_tallies(similarity(self._texts, subject), _texts_of(self._texts, subject, "test").true)


class RerankedRetrieval:
    """The first by cosine, put in order again by a pass over text and image together.

    Args:
        texts: a set of `fusargpt.foundation.texts.TEXT_SETS`.
        first: how many of each query.
    """

    headline = "text_to_image_r@1"
    suffix = "reranked"
    by = "the log-odds of matching (BLIP, arXiv 2201.12086)"

    def __init__(self, texts: str, first: int) -> None:
        self.name = f"retrieval-{texts}-{self.suffix}"
        self.how = (
            f"as retrieval-{texts}; the first {first} of each query in a new order, by {self.by} plus the cosine as "
            "the contrast scales it"
        )
        self._texts, self._first = texts, first

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        """None for entries that do not read so, and for other arms than `RERANKED_ARMS`."""
        if not self._reads(subject.entry) or subject.entry.arm not in RERANKED_ARMS:
            return None
        cosine = similarity(self._texts, subject)
        texts = _texts_of(self._texts, subject, "test")
        chosen = [_first(cosine, self._first), _first(cosine.T, self._first)]
        candidates = chosen[0] | chosen[1].T
        pairs = np.argwhere(candidates)
        read = np.zeros(cosine.shape)
        read[candidates] = self._read(subject, f"{self._texts}-{self._first}", texts.texts, pairs)
        logits = subject.scale * cosine.astype(np.float64)
        found = retrieval_tallies(_promoted(logits, read, chosen[0]), texts.true)
        other = retrieval_tallies(_promoted(logits.T, read.T, chosen[1]).T, texts.true)
        return {name: (found if name.startswith("image") else other)[name] for name in found}

    def _reads(self, entry: Entry) -> bool:
        return entry.matches

    def _read(
        self, subject: Subject, name: str, texts: Sequence[str], pairs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """A number [P] for each pair, higher where the text is likelier to be true."""
        probability = subject.match(name, subject.views("test"), texts, pairs)
        certain = np.clip(probability.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
        return np.log(certain / (1 - certain))


class LikeliestRetrieval(RerankedRetrieval):
    """By how likely the text is beside the image, word by word (VisualGPTScore, arXiv 2306.01879).

    Of one text beside several images that says which it is about. Of several texts beside one image it prefers what is
    likely anyway: that direction is told for completeness.
    """

    suffix = "likeliest"
    by = "the log-likelihood of the text's words (arXiv 2306.01879)"

    def _reads(self, entry: Entry) -> bool:
        return entry.writes

    def _read(
        self, subject: Subject, name: str, texts: Sequence[str], pairs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        return subject.likelihood(name, subject.views("test"), texts, pairs).astype(np.float64)


def similarity(name: str, subject: Subject) -> NDArray[np.floating]:
    """Of the test places [N] with the texts [N] of a set: the tower's own cosine, or that of the bridge."""
    features = subject.features("test")
    texts = _texts_of(name, subject, "test").texts
    if subject.entry.speaks:
        return features.embeddings @ subject.texts(texts).T
    if subject.entry.kind == MAJORITY:
        return np.zeros((len(features), len(texts)))
    fitted = [(subject.fitting(split), _texts_of(name, subject, split).texts) for split in ("train", "validation")]
    return bridged_similarity(fitted[0], fitted[1], (features, texts))


def _first(similarity: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """Which partners are among the first `count` of each row."""
    chosen = np.zeros(similarity.shape, bool)
    np.put_along_axis(chosen, np.argsort(-similarity, axis=1, kind="stable")[:, :count], True, axis=1)
    return chosen


def _promoted(
    logits: NDArray[np.floating], read: NDArray[np.floating], chosen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The chosen before all others, by both together; the others by the contrast's logits."""
    above = np.abs(read).max() + np.abs(logits).max()
    return np.where(chosen, logits + read + 3 * above, logits)


def _texts_of(name: str, subject: Subject, split: str) -> TextSet:
    return _made(name, tuple(subject.places(split)))


@lru_cache(maxsize=16)
def _made(name: str, places: tuple[Place, ...]) -> TextSet:
    return text_set(name, places)
