"""Classification: accuracy of the class name, fine and coarse, all and per class."""

from collections.abc import Mapping, Sequence

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
