"""What is asked of a model, and what comes of it: an item, its question, and an answer or a failure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from PIL import Image

from fusargpt.geo.acquisition import Acquisition
from fusargpt.geo.prior import Prior
from fusargpt.inference.beginning import Asked
from fusargpt.inference.confidences import CALIBRATED, RAW
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.grammar import AnswerForm


@dataclass(frozen=True)
class Item:
    """Something to ask about, before its image is read.

    Attributes:
        id: unique among those that are asked together.
        task: of `fusargpt.tasks.prompts.TASKS`; "" for a free question.
        question: as it is listed; a reader may add to it.
        place: where a reader finds image and prior.
        pixels: of the image; 0 where that is not known before it is read.
        image: the same for items about one image; "" where that is not known before it is read.
    """

    id: str
    task: str
    question: str
    place: str
    pixels: int
    image: str = ""


@dataclass(frozen=True, eq=False)
class Question:
    """An item as it is put to a model.

    Attributes:
        item: what is asked about.
        image: RGB, 8 bit.
        text: the question.
        prior: of the image's place; None answers from the image alone.
        form: that the answer must have; None leaves it free.
        read_as: what the image's file was read as, where each has its own; "" otherwise.
        acquisition: how the image was acquired, for models that take it.
    """

    item: Item
    image: Image.Image
    text: str
    prior: Prior | None
    form: AnswerForm | None = None
    read_as: str = ""
    acquisition: Acquisition | None = None


@dataclass(frozen=True)
class Answer:
    """What is known of an item once it has been asked; plain JSON holds it.

    Attributes:
        id, task: of the item.
        question: the text that the model was asked.
        answer: the text that it wrote; "" where it was not asked.
        size: width and height of the image in pixels; (0, 0) where it was not asked.
        seen: width and height of the image in the unit of the answer's boxes; likewise.
        anchors: of the prior; None without one.
        seconds: since the answers before it came, divided by how many came at once.
        skipped: why the model need not be asked, or "".
        read_as: of the question.
        scores: one for each box in the answer, of `fusargpt.inference.confidences`; None where the model gives none.
        confidence: of the whole answer, likewise.
        calibrated: whether these are calibrated.
        counts: numbers, ascending, and the probability of each, of an answer to "count"; None of others, and where no
            number is known.
    """

    id: str
    task: str
    question: str
    answer: str
    size: tuple[int, int]
    seen: tuple[int, int]
    anchors: int | None
    seconds: float
    skipped: str = ""
    read_as: str = ""
    scores: tuple[float, ...] | None = None
    confidence: float | None = None
    calibrated: bool = False
    counts: tuple[tuple[int, float], ...] | None = None

    @staticmethod
    def without_asking(item: Item, why: str) -> "Answer":
        """Of an item that a look at its image settles."""
        return Answer(item.id, item.task, item.question, "", (0, 0), (0, 0), None, 0.0, why)


def told_confidences(answers: Iterable[Answer]) -> str | None:
    """What the scores and confidences of answers are, as results say it; None where there are none."""
    known = [answer.calibrated for answer in answers if answer.confidence is not None]
    return (CALIBRATED if any(known) else RAW) if known else None


@dataclass(frozen=True)
class Failure:
    """An item without an answer, and the reason in one line. `entry` is whose answer is missing, "" for all."""

    id: str
    reason: str
    entry: str = ""


Answered = list[tuple[Question, str]]
"""Questions, each with the text of its answer."""


class Answerer(Protocol):
    """A model that is ready to answer."""

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        """Answers, decoded greedily, as they come.

        Args:
            questions: taken as there is room for them.
            batch_size: questions that are answered together.
            max_new_tokens: where an answer is cut.

        Returns:
            Those that came together, in any order; a text is a `ScoredAnswer` where it is known how sure.
        """
        ...

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        """Width and height of the image in the unit of the boxes in answers: pixels as the model sees it, or others."""
        ...


class FusarGptAnswerer:
    """A loaded FUSAR-GPT, or one of its backbones without a prior.

    Args:
        predictor: what `fusargpt.inference.loading.load` gives, or `fusargpt.serving.vllm_engine.load_vllm`.
        unit: width and height that boxes are shares of, whatever the image; None for pixels as the model sees it.
    """

    def __init__(self, predictor: FusarGpt, unit: tuple[int, int] | None = None) -> None:
        self._predictor, self._unit = predictor, unit
        self._seen: dict[tuple[int, int], tuple[int, int]] = {}

    def answers(self, questions: Iterable[Question], batch_size: int, max_new_tokens: int) -> Iterator[Answered]:
        asked: dict[int, Question] = {}

        def each() -> Iterator[Asked]:
            for number, question in enumerate(questions):
                asked[number] = question
                yield Asked(question.image, question.text, question.prior, question.form, question.item.task)

        for ended in self._predictor.in_turn(each(), max_new_tokens, batch_size):
            yield [(asked.pop(number), text) for number, text in ended]

    def seen_size(self, image: Image.Image) -> tuple[int, int]:
        if self._unit is not None:
            return self._unit
        # It follows from the size alone, and the image processor takes its time to say it.
        if image.size not in self._seen:
            self._seen[image.size] = self._predictor.seen_size(image)
        return self._seen[image.size]


def batch_by_batch(
    answer: Callable[[Sequence[Question]], list[str]], questions: Iterable[Question], batch_size: int
) -> Iterator[Answered]:
    """What `Answerer.answers` gives, of a model that answers a whole batch at a time."""
    left = iter(questions)
    while batch := list(islice(left, batch_size)):
        yield list(zip(batch, answer(batch), strict=True))
