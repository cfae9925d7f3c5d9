"""The engine that asks questions, put to embedding: the answer about an image is its vector, written as text.

So a journal keeps vectors as it keeps answers, a batch that fails is tried again in smaller ones, and an image that
fails costs no other.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fusargpt.embedding.embedder import Embedder
from fusargpt.errors import InputError
from fusargpt.inference.questions import Answered, Question, batch_by_batch


class VectorAnswerer:
    """Answers each question with the vector of its image.

    Args:
        embedder: a loaded model.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        """One text of `as_text` each; raises InputError where a vector is not finite."""
        return batch_by_batch(self._vectors, questions, batch_size)

    def _vectors(self, questions: Sequence[Question]) -> list[str]:
        vectors = self._embedder.images(
            [question.image for question in questions],
            [question.prior for question in questions],
            [question.acquisition for question in questions],
        )
        if not np.isfinite(vectors).all():
            raise InputError("the model makes no finite vector of this image")
        return [as_text(vector) for vector in vectors]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        return self._embedder.side, self._embedder.side


def as_text(vector: NDArray[np.float32]) -> str:
    """float32 [D], little-endian, in base64."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def from_text(text: str) -> NDArray[np.float32]:
    """What `as_text` made."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
