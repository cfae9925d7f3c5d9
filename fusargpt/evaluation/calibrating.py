"""Confidences that come true: temperature and offset of a model's log-odds, fitted on a validation split.

What a model is sure of by the probabilities of tokens (`fusargpt.inference.confidences`) is right in another share.
Temperature scaling (Guo et al., arXiv:1706.04599) divides log-odds by one number; with an offset beside it (Platt,
1999) it also moves scores over one half, as those of boxes need it. Two numbers keep the order in which answers and
boxes are ranked, and need few data. They are the logistic regression, without a penalty, of what was right on the
log-odds.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from fusargpt.errors import InputError
from fusargpt.evaluation.evaluate import Options, evaluate
from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.results import plain_scores
from fusargpt.evaluation.score_tables import signed
from fusargpt.evaluation.scoring import references_of, tallies
from fusargpt.evaluation.trust import image_values, said_and_right
from fusargpt.files import check_writable, output_file
from fusargpt.inference.backbones import PROCESSOR_FILES
from fusargpt.inference.confidences import calibrated, log_odds
from fusargpt.metrics.confidence import calibration_tally, reliability
from fusargpt.metrics.tally import Score, Tally, difference
from fusargpt.tasks.answers import parse_boxes
from modeling_fusargpt.processing_fusargpt import CALIBRATED

FOLDS = 5
"""Of images, each of which is calibrated by what was fitted on the others."""
FEWEST = 20
"""Confidences that are right, and that are wrong, from which on numbers are fitted."""
CALIBRATION = "calibration.json"
_REMEDY = "make room, and the same command asks nothing again"
_LEAST_SLOPE, _LARGEST_SLOPE = 0.02, 50.0
"""Of a line that tells right from wrong, but not without a mistake."""

Said = Sequence[Sequence[tuple[float, bool]]]
"""Of each image, every confidence with whether it was right."""


@dataclass(frozen=True)
class Fitted:
    """What was fitted for a task.

    Attributes:
        n: confidences.
        right: share of them.
        before: expected calibration error of the probabilities as they are.
        after: likewise calibrated, each image by the numbers of the folds that it is not in.
        numbers: `temperature` and `offset`, of all images, and of boxes `min_score`.
        bins: reliability before and after, as plain JSON.
    """

    n: int
    right: float
    before: Score
    after: Score
    numbers: dict[str, float]
    bins: dict[str, object]


@dataclass(frozen=True)
class Calibrated:
    """What came of a calibration: by task what was fitted, or why nothing was; and what could not be asked."""

    fitted: Mapping[str, Fitted]
    left: Mapping[str, str]
    evaluation: Evaluation
    path: Path


def calibrate(options: Options) -> Calibrated:
    """Ask a model the questions of a validation split, fit its confidences, and write them into its processor.

    Args:
        options: of the run; one prior, no baselines, `raw_scores`.

    Returns:
        What was fitted; `processor_config.json` of the model has it, and `calibration.json` in `options.out`.

    Raises:
        InputError: a test split, a model that is no folder with a processor of its own, no task that can be calibrated,
            or what `fusargpt.evaluation.evaluate.evaluate` refuses.
    """
    _check_split(options.dataset, options.split)
    processor = _processor_of(options.model)
    evaluation = evaluate(options)
    (entry,) = evaluation.entries
    fitted: dict[str, Fitted] = {}
    left: dict[str, str] = {}
    for task in evaluation.tasks:
        found = _fit_task(evaluation, task, entry.label)
        if isinstance(found, Fitted):
            fitted[task] = found
        else:
            left[task] = found
    _write(processor, fitted, evaluation.tasks)
    path = options.out / CALIBRATION
    with output_file(path, _REMEDY) as partial:
        partial.write_text(json.dumps(_as_json(evaluation, fitted, left), indent=1, allow_nan=False), encoding="utf-8")
    # Of a model whose processor was another one: another calibration asks anew.
    shutil.rmtree(options.out / "predictions")
    return Calibrated(fitted, left, evaluation, path)


def fit(said: Said) -> dict[str, float] | str:
    """`temperature` and `offset` of confidences, or why they cannot be fitted."""
    from sklearn.linear_model import LogisticRegression

    odds = np.array([[log_odds(confidence)] for image in said for confidence, _ in image]).reshape(-1, 1)
    right = np.array([is_right for image in said for _, is_right in image], bool)
    if min(right.sum(), (~right).sum()) < FEWEST:
        return f"{right.sum()} right and {(~right).sum()} wrong; {FEWEST} of each are needed"
    regression = LogisticRegression(C=np.inf, max_iter=1000).fit(odds, right)
    slope, offset = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if slope < _LEAST_SLOPE:
        return "what is right is not said with more confidence than what is wrong"
    if slope > _LARGEST_SLOPE:
        return "all that is right is said with more confidence than all that is wrong, which more data would not have"
    return {"temperature": 1 / slope, "offset": offset}


def cross_fitted(said: Said, images: Sequence[str], seed: int = 0) -> Said | str:
    """Confidences that are calibrated by the numbers of other images, or why they cannot be.

    Args:
        said: of every question.
        images: that each is about; all questions about one image stand in one fold.
        seed: of the folds.
    """
    names = sorted(set(images))
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[place]: number % FOLDS for number, place in enumerate(order)}
    folds = [fold_of[image] for image in images]
    moved: list[list[tuple[float, bool]]] = [[] for _ in said]
    for fold in range(FOLDS):
        numbers = fit([of_image for of_image, own in zip(said, folds, strict=True) if own != fold])
        if isinstance(numbers, str):
            return f"without a fifth of the images {numbers}"
        for place, (of_image, own) in enumerate(zip(said, folds, strict=True)):
            if own == fold:
                moved[place] = [(calibrated(confidence, numbers), right) for confidence, right in of_image]
    return moved


def least_score(said: Said, true_boxes: int) -> float:
    """The calibrated score from which on boxes are worth keeping: half of the best F1.

    Args:
        said: of each image the score of every box with whether it is right; any scores of the same order.
        true_boxes: of all images.

    Returns:
        In [0, 0.5].
    """
    ranked = sorted((box for image in said for box in image), reverse=True)
    kept, right, best = 0, 0, 0.0
    for _, boxes in groupby(ranked, lambda box: box[0]):
        for _, is_right in boxes:
            kept, right = kept + 1, right + is_right
        best = max(best, 2 * right / (kept + true_boxes))
    return best / 2


def squared_errors(said: Said) -> Tally:
    """The Brier score: the mean square of how far confidences lie from 1, of what is right, or 0.

    By it is decided whether a calibration is kept: unlike the calibration error, it is no larger in images drawn again.
    """
    return Tally(
        np.array([(sum((confidence - right) ** 2 for confidence, right in of), len(of)) for of in said], float)
    )


def _check_split(dataset: str, split: str) -> None:
    parts = [split] if not dataset.endswith(".parquet") else [split, Path(dataset).stem.partition("-")[0]]
    if "test" in (part.casefold() for part in parts):
        raise InputError("split: found test, which scores are reported of; expected another one, as validation")


def _processor_of(model: str) -> Path:
    """The file that gets the numbers; raises InputError for a model without one of its own."""
    path = Path(model) / PROCESSOR_FILES[0]
    if not Path(model).is_dir():
        raise InputError(f"{model}: found no folder; expected one, whose processor gets the calibration")
    if not path.is_file():
        raise InputError(
            f"{model}: found no {path.name}; expected a processor of its own; `fusargpt merge` writes an adapter and "
            "its base as a model that has one"
        )
    check_writable(path, "calibrate a copy of the folder that you may write")
    return path


def _fit_task(evaluation: Evaluation, task: str, label: str) -> Fitted | str:
    if task not in CALIBRATED:
        return "its answers are not right or wrong"
    answers = evaluation.answers[label]
    items = [item for item in evaluation.of_task(task) if item.id in answers]
    given = [answers[item.id] for item in items]
    if not items or any(answer.confidence is None for answer in given):
        return "its answers have no confidences"
    values = image_values(task, tallies(task, items, answers))
    references = references_of(task, items, answers)
    said = said_and_right(task, given, references, values)
    assert said is not None, "has confidences, and is right or wrong"
    numbers = fit(said)
    if isinstance(numbers, str):
        return numbers
    moved = cross_fitted(said, [item.image for item in items])
    if isinstance(moved, str):
        return moved
    before, after = calibration_tally(said), calibration_tally(moved)
    fall = difference(squared_errors(moved), squared_errors(said))
    if not fall.high < 0:
        return f"its squared error does not clearly fall by the numbers of other images: {signed(fall)} points"
    if task == "detect":
        true_boxes = sum(len(parse_boxes(reference).value) for reference in references)
        numbers["min_score"] = least_score(said, true_boxes)
    rights = [right for of_image in said for _, right in of_image]
    bins: dict[str, object] = {"before": _bins(before), "after": _bins(after)}
    return Fitted(len(rights), float(np.mean(rights)), before.score(), after.score(), numbers, bins)


def _bins(tally: Tally) -> list[dict[str, float]]:
    return [{"n": bin_.n, "confidence": bin_.confidence, "right": bin_.right} for bin_ in reliability(tally)]


def _write(path: Path, fitted: Mapping[str, Fitted], tasks: Sequence[str]) -> None:
    """Put the numbers into a processor's file; of tasks that were not asked it keeps those that it has."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    kept = {task: numbers for task, numbers in (settings.get("calibration") or {}).items() if task not in tasks}
    numbers = {task: {name: round(value, 4) for name, value in found.numbers.items()} for task, found in fitted.items()}
    settings["calibration"] = {**kept, **numbers} or None
    with output_file(path, _REMEDY) as partial:
        partial.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _as_json(evaluation: Evaluation, fitted: Mapping[str, Fitted], left: Mapping[str, str]) -> dict[str, object]:
    return {
        "settings": {**evaluation.settings, "device": evaluation.device, "folds": FOLDS},
        "versions": evaluation.versions,
        "model": evaluation.entries[0].model,
        "revision": evaluation.entries[0].revision,
        "prior": evaluation.entries[0].prior,
        "fitted": {
            task: {
                "n": found.n,
                "right": found.right,
                "ece": plain_scores({"before": found.before, "after": found.after}),
                **found.numbers,
                "reliability": found.bins,
            }
            for task, found in fitted.items()
        },
        "left": dict(left),
    }
