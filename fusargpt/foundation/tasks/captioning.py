"""Captions by the nearest training image and by who writes, and which of their facts are right.

A tower that writes nothing still tells what it sees alike. Scores of words (BLEU, CIDEr) reward the phrases that most
scenes share; the share of right facts in each dimension says what they hide.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fusargpt.foundation.places import Place
from fusargpt.foundation.subject import Subject
from fusargpt.metrics.captions import describe_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.tasks.facts import DIMENSIONS, fact_keys
from fusargpt.tasks.part_texts import BEGINNINGS, SAYS_LITTLE, part_text

WORDING = 0
"""Of all captions alike, so that none loses words by its wording."""


class NeighbourCaptions:
    """The caption of the training image that is nearest by the cosine of standardised pooled features."""

    name = "captioning"
    headline = "facts"
    how = (
        "the sixteen parts of the training image that is nearest by the cosine of pooled features, standardised by the "
        "training split; facts: share of the known parts whose phrase is true, facts/DIMENSION of each; bleu4, rouge_l "
        "and cider: against the true caption, in one wording"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        known, shown = subject.fitting("train").pooled, subject.features("test").pooled
        mean, spread = known.mean(0), known.std(0)
        scaled = [(pooled - mean) / np.where(spread > 0, spread, 1) for pooled in (known, shown)]
        lengths = [np.linalg.norm(pooled, axis=1, keepdims=True) for pooled in scaled]
        units = [pooled / np.where(length > 0, length, 1) for pooled, length in zip(scaled, lengths, strict=True)]
        train, test = subject.places("train"), subject.places("test")
        told = [train[index].phrases for index in (units[1] @ units[0].T).argmax(1)]
        return caption_tallies(told, test)


class WrittenCaptions:
    """Sentences that are begun for the model, one for each dimension, and that it ends."""

    name = "captioning-written"
    headline = "facts"
    how = (
        f"sixteen sentences, each begun alike for every image ({BEGINNINGS['terrain']!r}, "
        f"{BEGINNINGS['target_count']!r}) and ended by the model, the likeliest word at a time; scores as in "
        f"{NeighbourCaptions.name}"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        if not subject.entry.writes:
            return None
        views = subject.views("test")
        written = {name: subject.written(f"written-{name}", views, beginning) for name, beginning in BEGINNINGS.items()}
        told = [{name: texts[index] for name, texts in written.items() if texts[index]} for index in range(len(views))]
        return caption_tallies(told, subject.places("test"))


def caption_tallies(told: Sequence[Mapping[str, str]], true: Sequence[Place]) -> dict[str, Tally]:
    """Scores of phrases, by dimension, that were told of places instead of the true ones."""
    said = np.stack([fact_keys(phrases) for phrases in told])
    right = np.stack([fact_keys(place.phrases) for place in true])
    known = right != 0
    equal = (said == right) & known
    words = describe_tallies([_caption(phrases) for phrases in told], [_caption(place.phrases) for place in true])
    facts = {"facts": Tally(np.stack([equal.sum(1), known.sum(1)], 1).astype(float))}
    by_dimension = {
        f"facts/{name}": Tally(np.stack([equal[:, index], known[:, index]], 1).astype(float))
        for index, name in enumerate(DIMENSIONS)
    }
    return {**facts, **{name: words[name] for name in ("bleu4", "rouge_l", "cider")}, **by_dimension}


def _caption(phrases: Mapping[str, str]) -> str:
    dimensions = [name for name in DIMENSIONS if name in phrases]
    return part_text(phrases, dimensions, WORDING).text if set(dimensions) - {SAYS_LITTLE} else ""
