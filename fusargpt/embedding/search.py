"""Words, or an image, against vectors: what is nearest, looked at again by the matching head where that is wished."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.features import Features
from fusargpt.embedding.model_folder import model_of_label
from fusargpt.embedding.opening import open_source
from fusargpt.embedding.ranking import Hit, best, scores
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.errors import InputError, one_line
from fusargpt.inference.questions import Failure, Question

MAX_TOP = 10_000


@dataclass(frozen=True, eq=False)
class Query:
    """What is searched for.

    Attributes:
        text: words; None for an image.
        image: RGB, 8 bit; None for words.
        name: of the image's file.
    """

    text: str | None = None
    image: Image.Image | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if (self.text is None) == (self.image is None):
            raise InputError("query: expected words, or an image (--image), and not both")
        if self.text is not None and not self.text.strip():
            raise InputError("query: found an empty one; expected words, as 'ships at anchor off a port'")

    @property
    def shown(self) -> str:
        return self.name if self.text is None else self.text


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        query: what was searched for.
        features: what was searched.
        scores: of all, [N].
        hits: the best, the best first.
        failures: images that have no vector, or that could not be looked at again.
        unknown: words of the query that the model's vocabulary has not.
        files: that were written.
    """

    query: Query
    features: Features
    scores: NDArray[np.float32]
    hits: list[Hit]
    failures: list[Failure]
    unknown: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """The hits as plain values: rank, score, match, id, source, box in pixels, centre in degrees or None."""
        table, rows = self.features.table, []
        for rank, hit in enumerate(self.hits, 1):
            outline = self.features.outline(hit.row)
            centre = (
                None if outline is None else shapely.get_coordinates(shapely.centroid(outline)).round(6)[0].tolist()
            )
            told: dict[str, Any] = {"rank": rank, "score": round(hit.score, 4)}
            if hit.match is not None:
                told["match"] = round(hit.match, 4)
            told |= {name: table[name][hit.row].as_py() for name in ("id", "source", "box", "anchors")}
            rows.append({**told, "centre": centre})
        return rows


def search_in(features: Features, query: Query, embedder: Embedder, top: int, rerank: int) -> Found:
    """The best of all vectors.

    Args:
        features: of the embedder's model.
        query: words or an image.
        embedder: makes the query's vector.
        top: how many are wanted.
        rerank: so many of the best are looked at again, with the words, and come in the order of the matching head; 0
            leaves the order of the scores.

    Raises:
        InputError: features of another model, words that cannot be read, or a `rerank` without words or matching head.
    """
    check_numbers(query, top, rerank)
    check_rerank(rerank, embedder)
    features.check_model(embedder.name, embedder.fingerprint)
    if query.text is not None:
        vector = embedder.texts([query.text])[0]
    else:
        assert query.image is not None
        vector = embedder.images([query.image])[0]
    found = scores(features.vectors, vector)
    hits = best(found, max(top, rerank))
    failures: list[Failure] = []
    if rerank:
        assert query.text is not None
        again, failures = _matched(features, query.text, hits[:rerank], embedder)
        hits = [*again, *hits[rerank:]]
    unknown = () if query.text is None else tuple(embedder.unknown_words(query.text))
    return Found(query, features, found, hits[:top], failures, unknown)


def check_numbers(query: Query, top: int, rerank: int) -> None:
    """Raises InputError for numbers out of range, before anything is embedded."""
    if not 1 <= top <= MAX_TOP:
        raise InputError(f"top: found {top}; expected 1 to {MAX_TOP:,}")
    if not 0 <= rerank <= MAX_TOP:
        raise InputError(f"rerank: found {rerank}; expected 0 to {MAX_TOP:,}")
    if rerank and query.text is None:
        raise InputError("rerank: an image was given, but the matching head compares with words; leave rerank out")


def check_rerank(rerank: int, embedder: Embedder) -> None:
    """Raises InputError for a model that cannot look again."""
    if rerank and not embedder.can_match:
        raise InputError(
            f"rerank: {embedder.name} has no trained head that matches images with words; leave rerank out"
        )


def _matched(features: Features, text: str, hits: Sequence[Hit], embedder: Embedder) -> tuple[list[Hit], list[Failure]]:
    """The hits by their match, those that could not be looked at again behind; and why they could not."""
    about = features.provenance
    settings = EmbeddingSettings.from_json(about["options"], model_of_label(features.model), None)
    matched: list[Hit] = []
    rest: list[Hit] = []
    failures: list[Failure] = []
    with open_source(about["sources"], settings, embedder.side) as source:
        items = {item.id: item for item in source.items()[0]}
        batch: list[tuple[Hit, Question]] = []
        for hit in tqdm(hits, desc="looking again", unit="image", disable=None, leave=False):
            id_ = features.table["id"][hit.row].as_py()
            try:
                found = source.read(items[id_])
                assert isinstance(found, Question)
                batch.append((hit, found))
            except KeyError:
                failures.append(Failure(id_, "not in the source any more"))
                rest.append(hit)
            # Whatever a library says to one image costs no other.
            except Exception as error:
                failures.append(Failure(id_, one_line(error)))
                rest.append(hit)
            if len(batch) == settings.batch_size or (batch and hit is hits[-1]):
                matched += _match(batch, text, embedder)
                batch = []
    return [*sorted(matched, key=lambda hit: (-(hit.match or 0), -hit.score)), *rest], failures


def _match(batch: Sequence[tuple[Hit, Question]], text: str, embedder: Embedder) -> list[Hit]:
    asked = [question for _, question in batch]
    probabilities = embedder.match(
        [question.image for question in asked],
        [question.prior for question in asked],
        [text] * len(asked),
        [question.acquisition for question in asked],
    )
    return [replace(hit, match=float(match)) for (hit, _), match in zip(batch, probabilities, strict=True)]
