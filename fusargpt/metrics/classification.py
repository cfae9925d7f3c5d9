"""Classification: accuracy of the class name, fine and coarse, all and per class."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError
from fusargpt.metrics.tally import Tally, pairs
from fusargpt.tasks.answers import class_name


def classify_tallies(
    answers: Sequence[str], references: Sequence[str], hierarchy: Mapping[str, str] | None = None
) -> dict[str, Tally]:
    """Accuracy of the names as they are given and, with a hierarchy, of the coarse classes they belong to.

    Args:
        answers: what the model said, one an image; compared by `fusargpt.tasks.answers.class_name`.
        references: the true class names; "None" where there is no target is a class like the others.
        hierarchy: the coarse class of every fine one, as {"cargo ship": "ship", "tanker": "ship"}. A name that is not
            in it is its own coarse class, so that "ship" is a coarse answer.

    Returns:
        `accuracy`, and `accuracy/NAME` over the images of each class of the references; with a hierarchy the same as
        `coarse_accuracy` of the coarse classes, and `accuracy` is then the fine one.

    Raises:
        InputError: no images, lengths that differ, or an empty reference.
    """
    named = [(class_name(answer), class_name(reference)) for answer, reference in pairs(answers, references)]
    for index, (_, truth) in enumerate(named):
        if not truth:
            raise InputError(f"references[{index}]: found {references[index]!r}; expected a class name")
    tallies = _accuracies("accuracy", named)
    if hierarchy is not None:
        coarse = {class_name(fine): class_name(name) for fine, name in hierarchy.items()}
        lifted = [(coarse.get(answer, answer), coarse.get(truth, truth)) for answer, truth in named]
        tallies |= _accuracies("coarse_accuracy", lifted)
    return tallies


def _accuracies(name: str, named: Sequence[tuple[str, str]]) -> dict[str, Tally]:
    tallies = {name: Tally.mean([answer == truth for answer, truth in named])}
    for label in sorted({truth for _, truth in named}):
        tallies[f"{name}/{label}"] = Tally.mean([answer == truth for answer, truth in named if truth == label])
    return tallies


def label_tallies(predicted: NDArray[np.integer], truth: NDArray[np.integer], names: Sequence[str]) -> dict[str, Tally]:
    """Scores of classes that are numbers, one an image.

    Args:
        predicted: int [N], 0 to len(names) - 1.
        truth: int [N], likewise.
        names: of the classes.

    Returns:
        `accuracy`; `macro_f1`, the mean of the classes' F1 over those that are there, true or predicted; and
        `accuracy/NAME` over the images of each class that is there.

    Raises:
        ValueError: lengths that differ, or no images.
    """
    if predicted.shape != truth.shape or predicted.ndim != 1 or not len(truth):
        raise ValueError(f"found {predicted.shape} predictions and {truth.shape} truths; expected both [N], N above 0")
    right = predicted == truth
    pairs_of_classes = np.zeros((len(truth), len(names) ** 2))
    pairs_of_classes[np.arange(len(truth)), truth * len(names) + predicted] = 1
    tallies = {"accuracy": Tally.mean(right.tolist()), "macro_f1": Tally(pairs_of_classes, _macro_f1)}
    for index in np.unique(truth):
        tallies[f"accuracy/{names[index]}"] = Tally.mean(right[truth == index].tolist())
    return tallies


def _macro_f1(sums: NDArray[np.floating]) -> NDArray[np.floating]:
    side = round(sums.shape[1] ** 0.5)
    table = sums.reshape(-1, side, side)
    there = table.sum(1) + table.sum(2)
    f1 = 2 * table.diagonal(axis1=1, axis2=2) / np.where(there > 0, there, 1)
    with np.errstate(invalid="ignore"):
        return f1.sum(1) / (there > 0).sum(1)
