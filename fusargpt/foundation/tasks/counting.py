"""The number of targets in an image, read of its pooled features."""

from collections.abc import Mapping

import numpy as np

from fusargpt.foundation.probes import Labelled, logistic_probe
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES, probed
from fusargpt.foundation.tasks.zero_shot import COUNTS
from fusargpt.metrics.tally import Tally


class CountProbe:
    """Counts from 0 to 6, as classes."""

    name = "probe-count"
    headline = "accuracy"
    how = f"the number of targets as one of {len(COUNTS)} classes; mae: of logistic regression; {PROBES}"

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        train, validation = (
            Labelled(subject.fitting(split).pooled, _counts(subject, split)) for split in ("train", "validation")
        )
        test = Labelled(subject.features("test").pooled, _counts(subject, "test"))
        errors = np.abs(logistic_probe(train, validation).predict(test.features) - test.labels)
        return {**probed(train, validation, test, COUNTS), "mae": Tally.mean(errors.tolist(), percent=False)}


def _counts(subject: Subject, split: str) -> np.ndarray:
    return np.array([len(place.targets) for place in subject.places(split)])
