"""Classes that no probe is fitted to: the dominant land cover and the number of targets, by prompts."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fusargpt.foundation.entries import MAJORITY
from fusargpt.foundation.places import View
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.texts import count_prompts, cover_prompts
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.classification import label_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.simulator.simulated_scene import MAX_TARGETS

COUNTS = tuple(str(count) for count in range(MAX_TARGETS + 1))


class ZeroShotCover:
    """The land cover of most pixels, among nine prompts."""

    name = "zero-shot-cover"
    headline = "accuracy"

    def __init__(self) -> None:
        self.prompts = cover_prompts()
        self.how = (
            f"accuracy: the class whose {len(self.prompts[0])} prompts are nearest on average, as "
            f"{self.prompts[0][0]!r} or {self.prompts[0][-1]!r}; matched_accuracy: whose first prompt matches best; "
            "written_accuracy: whose is likeliest word by word, of models that write. Nothing is fitted; "
            "majority is the most frequent class of the training split"
        )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        truth = np.array([place.dominant_cover for place in subject.places("test")])
        if subject.entry.kind == MAJORITY:
            known = [place.dominant_cover for place in subject.places("train")]
            return label_tallies(np.full_like(truth, np.bincount(known).argmax()), truth, LANDCOVER_CLASSES)
        if not subject.entry.speaks:
            return None
        found = label_tallies(_nearest(subject, self.prompts), truth, LANDCOVER_CLASSES)
        if subject.entry.matches:
            matched = _best(subject.match, subject, "cover", [self.prompts] * len(truth))
            found["matched_accuracy"] = label_tallies(matched, truth, LANDCOVER_CLASSES)["accuracy"]
        if subject.entry.writes:
            likely = _best(subject.likelihood, subject, "cover", [self.prompts] * len(truth))
            found["written_accuracy"] = label_tallies(likely, truth, LANDCOVER_CLASSES)["accuracy"]
        return found


class ZeroShotCount:
    """How many targets there are of the class that could be here, among seven texts that differ in the count alone."""

    name = "zero-shot-count"
    headline = "matched_accuracy"

    def __init__(self) -> None:
        self.prompts = {target: count_prompts(target) for target in ("ship", "aircraft")}
        shown = ", ".join(repr(self.prompts["ship"][count][0]) for count in (0, 1, MAX_TARGETS))
        self.how = (
            f"counts 0 to {MAX_TARGETS} of aircraft where there is an apron, else of ships; matched_accuracy: the "
            f"count whose text matches best, of {shown}; accuracy: whose {len(self.prompts['ship'][0])} wordings are "
            "nearest on average; written_accuracy: whose text is likeliest word by word, of models that write. Nothing "
            "is fitted; majority is the most frequent count of the training split"
        )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        places = subject.places("test")
        truth = np.array([len(place.targets) for place in places])
        if subject.entry.kind == MAJORITY:
            known = [len(place.targets) for place in subject.places("train")]
            predicted = np.full_like(truth, np.bincount(known).argmax())
            found = _counted(predicted, truth)
            return {**found, "matched_accuracy": found["accuracy"]}
        if not subject.entry.speaks:
            return None
        by_class = {target: _nearest(subject, prompts) for target, prompts in self.prompts.items()}
        found = _counted(np.array([by_class[place.asked][row] for row, place in enumerate(places)]), truth)
        if subject.entry.matches:
            matched = _best(subject.match, subject, "count", [self.prompts[place.asked] for place in places])
            found = {"matched_accuracy": _counted(matched, truth)["accuracy"], **found}
        if subject.entry.writes:
            likely = _best(subject.likelihood, subject, "count", [self.prompts[place.asked] for place in places])
            found["written_accuracy"] = _counted(likely, truth)["accuracy"]
        return found


def _counted(predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> dict[str, Tally]:
    errors = Tally.mean(np.abs(predicted - truth).tolist(), percent=False)
    return {**label_tallies(predicted, truth, COUNTS), "mae": errors}


def _nearest(subject: Subject, prompts: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """The class of each test place whose prompts' mean is nearest."""
    every = subject.texts([text for of_class in prompts for text in of_class])
    means = every.reshape(len(prompts), len(prompts[0]), -1).mean(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return (subject.features("test").embeddings @ means.T).argmax(1)


class _Reads(Protocol):
    def __call__(
        self, name: str, views: Sequence[View], texts: Sequence[str], pairs: NDArray[np.integer]
    ) -> NDArray[np.float32]: ...


def _best(
    read: _Reads, subject: Subject, name: str, prompts_of: Sequence[Sequence[Sequence[str]]]
) -> NDArray[np.int64]:
    """The class of each test place whose first prompt has most of what `read` gives."""
    texts = [of_class[0] for prompts in prompts_of for of_class in prompts]
    classes = len(prompts_of[0])
    pairs = np.stack([np.arange(len(texts)) // classes, np.arange(len(texts))], 1)
    return read(name, subject.views("test"), texts, pairs).reshape(-1, classes).argmax(1)
