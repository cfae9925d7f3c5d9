"""Questions about a scene answered by the model: the text as it grows, and what it says about places in the image."""

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Literal

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior
from fusargpt.inference.confidences import ScoredAnswer
from fusargpt.tasks.answers import LabelledBox, parse_boxes, parse_cells, parse_count
from fusargpt.tasks.target_names import plural
from space_app.inputs import FREE
from space_app.scenes import UploadedScene
from space_app.streaming import Stream

State = Literal["writing", "whole", "out of time"]


@dataclass(frozen=True)
class GivenAnswer:
    """One answer to one question.

    Attributes:
        question: as it was asked.
        task: one of `fusargpt.tasks.prompts.TASKS`, or "free".
        target: what a count is of.
        anchors: of the prior; None without one.
        state: whether more comes, and if not, why.
        text: so far.
        count: what an answer to "count" says; None where it is no number.
        cells: ascending numbers that an answer to "localize" names; None where it names none that can be read.
        boxes: what an answer to "detect", or to a free question, lists; None where there is no list.
        scores: how sure the model was of each box; empty where it does not say.
        confidence: likewise of the whole answer; None where it does not say.
        calibrated: whether these are shares that come true.
        interval: of a count, between which numbers 90 % of its probability lie; None of others.
        least: score below which boxes are not shown.
        problems: what of the text could not be read, one line each.
    """

    question: str
    task: str
    target: str
    anchors: int | None
    state: State = "writing"
    text: str = ""
    count: int | None = None
    cells: tuple[int, ...] | None = None
    boxes: tuple[LabelledBox, ...] | None = None
    problems: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    confidence: float | None = None
    calibrated: bool = False
    interval: tuple[int, int] | None = None
    least: float = 0.0

    @property
    def shown(self) -> list[tuple[LabelledBox, float | None]]:
        """The boxes, each with its score, that reach the least one; those without a score do."""
        scores = self.scores or (None,) * len(self.boxes or ())
        pairs = zip(self.boxes or (), scores, strict=True)
        return [(box, score) for box, score in pairs if score is None or score >= self.least]

    def as_json(self) -> dict[str, object]:
        boxes = None
        if self.boxes is not None:
            boxes = [
                {"bbox_2d": box, "label": label, "score": None if score is None else round(score, 4)}
                for (box, label), score in self.shown
            ]
        return {
            "question": self.question,
            "task": self.task,
            "anchors": self.anchors,
            "state": self.state,
            "text": self.text,
            "count": self.count,
            "cells": None if self.cells is None else list(self.cells),
            "boxes": boxes,
            "least_score": self.least,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "calibrated": self.calibrated,
            "interval": None if self.interval is None else list(self.interval),
            "problems": list(self.problems),
        }


def answers_to(
    stream: Stream,
    scene: UploadedScene,
    question: str,
    task: str,
    target: str,
    priors: list[Prior | None],
    max_new_tokens: int,
    seconds: float,
    least: float = 0.0,
) -> Generator[list[GivenAnswer]]:
    """The same question answered with each of `priors`, one after the other, each within `seconds`.

    Yields:
        The answers so far, the last of them growing; finally all of them, read.

    Raises:
        InputError: as `FusarGpt.answer`.
    """
    done: list[GivenAnswer] = []
    for prior in priors:
        answer = GivenAnswer(question, task, target, None if prior is None else len(prior.embeddings), least=least)
        yield [*done, answer]
        pieces = stream(scene.picture, question, prior, max_new_tokens, seconds, None if task == FREE else task)
        try:
            for piece in pieces:
                answer = replace(answer, text=str(piece.text))
                if piece.final:
                    answer = replace(
                        _read(_sure(answer, piece.text)), state="out of time" if piece.out_of_time else "whole"
                    )
                yield [*done, answer]
        finally:
            pieces.close()
        done.append(answer)


def priors_to_ask(prior: Prior | None, compare: bool) -> list[Prior | None]:
    """With the prior if there is one, and then without it to compare.

    Raises:
        InputError: nothing to compare with.
    """
    if compare and prior is None:
        raise InputError("Side by side needs a prior: fetch its anchors, upload its .npz file, or choose an example.")
    return [prior, None] if compare else [prior]


def summary(answer: GivenAnswer) -> str:
    """What the answer comes to in a few words; "" where the text says it itself."""
    if answer.count is not None:
        return f"{answer.count} {answer.target if answer.count == 1 else plural(answer.target)}"
    if answer.cells is not None:
        cells = ", ".join(map(str, answer.cells))
        return f"{'Cell' if len(answer.cells) == 1 else 'Cells'} {cells}" if cells else "No cell"
    if answer.boxes is not None:
        labels = Counter(box.label for box, _ in answer.shown)
        said = ", ".join(f"{number} {_plural(label, number)}" for label, number in labels.items()) or "No box"
        hidden = len(answer.boxes) - len(answer.shown)
        return f"{said}, {hidden} below {answer.least:.2f}" if hidden else said
    return ""


def _plural(label: str, number: int) -> str:
    return label if number == 1 else plural(label)


def _sure(answer: GivenAnswer, text: str) -> GivenAnswer:
    """With what the model's text says of how sure it was."""
    if not isinstance(text, ScoredAnswer):
        return answer
    interval = None if text.counts is None else text.counts.interval
    return replace(
        answer, scores=text.scores, confidence=text.confidence, calibrated=text.calibrated, interval=interval
    )


def _read(answer: GivenAnswer) -> GivenAnswer:
    if answer.task == "count":
        count = parse_count(answer.text, answer.question)
        return replace(answer, count=count.value, problems=count.problems)
    if answer.task == "localize":
        cells = parse_cells(answer.text)
        readable = bool(cells.value) or not cells.problems
        return replace(answer, cells=tuple(sorted(cells.value)) if readable else None, problems=cells.problems)
    if answer.task in ("detect", FREE):
        boxes = parse_boxes(answer.text)
        if answer.task == FREE and not boxes.value:
            return answer
        readable = bool(boxes.value) or not boxes.problems
        return replace(answer, boxes=tuple(boxes.value) if readable else None, problems=boxes.problems)
    return answer
