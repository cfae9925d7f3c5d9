"""What the classification probes have in common."""

from collections.abc import Sequence

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
