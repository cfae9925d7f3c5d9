"""What the classification probes have in common, and what is asked of a model that was fine-tuned instead."""

from collections.abc import Callable, Sequence

import numpy as np

from fusargpt.foundation.entries import Entry
from fusargpt.foundation.probes import Labelled, logistic_probe, neighbour_probe
from fusargpt.metrics.classification import label_tallies
from fusargpt.metrics.tally import Tally

PROBES = (
    "frozen features; accuracy and macro_f1: logistic regression, knn_accuracy: nearest neighbours by cosine; fitted "
    "to the training split, strength and number of neighbours chosen on the validation split"
)


def probed(train: Labelled, validation: Labelled, test: Labelled, names: Sequence[str]) -> dict[str, Tally]:
    """The scores of both probes on `test`; labels are numbers of `names`."""
    predicted = logistic_probe(train, validation).predict(test.features)
    voted = neighbour_probe(train, validation).predict(test.features)
    found = label_tallies(predicted, test.labels, names)
    return found | {"knn_accuracy": label_tallies(voted, test.labels, names)["accuracy"]}


TUNED = "a model that was fine-tuned to these classes (its label says so) is asked by its head, and nothing is fitted"


def told(entry: Entry, names: Sequence[str], labelled: Callable[[str], Labelled]) -> dict[str, Tally]:
    """The scores of probes of an entry's frozen features, or of its head where it was fine-tuned to these classes.

    Args:
        entry: who is asked.
        names: of the classes, in any order.
        labelled: pooled features of a split, and labels, which are numbers of `names`.
    """
    if not entry.tuned:
        return probed(labelled("train"), labelled("validation"), labelled("test"), names)
    test = labelled("test")
    numbers = np.array([list(names).index(name) for name in entry.classes])
    return label_tallies(numbers[test.features.argmax(1)], np.asarray(test.labels), names)
