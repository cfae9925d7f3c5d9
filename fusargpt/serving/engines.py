"""The per-batch function: a model, a source and some of its items in; answers, and why others failed, out."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from PIL import Image

from fusargpt.errors import InputError, one_line
from fusargpt.geo.prior import Prior
from fusargpt.inference.predict import FusarGpt
from fusargpt.serving.batch_inputs import Item, Source

ENGINES = ("auto", "transformers", "vllm")


@dataclass(frozen=True)
class Answer:
    """What the model said about an item.

    Attributes:
        id, task, question: of the item.
        answer: the text that the model wrote.
        width: of the image in pixels.
        height: likewise.
        seen_width: of the image as the model saw it; boxes of the answer are in these pixels.
        seen_height: likewise.
        anchors: of the prior that the model was given; 0 without one.
    """

    id: str
    task: str
    question: str
    answer: str
    width: int
    height: int
    seen_width: int
    seen_height: int
    anchors: int


@dataclass(frozen=True)
class Failure:
    """An item without an answer, and why."""

    id: str
    reason: str


def choose_engine(name: str) -> str:
    """ "transformers" or "vllm"; "auto" takes vLLM where it is installed. InputError for one that is not."""
    is_there = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not is_there:
        raise InputError("--engine: found 'vllm', which is not installed; serving/README.md says how, or transformers")
    return name if name != "auto" else "vllm" if is_there else "transformers"


def engine_version(engine: str) -> str:
    """The engine and its release, as it is printed. vLLM's builds go by several names."""
    if engine == "vllm":
        # Only where it is installed, in an environment of its own.
        import vllm  # pyright: ignore[reportMissingImports]

        return f"vllm {vllm.__version__}"
    return f"transformers {version('transformers')}"


def load_engine(engine: str, model: str) -> FusarGpt:
    """The model in the engine; raises InputError as `inference.predict.load` and `vllm_engine.load_vllm` do."""
    if engine == "vllm":
        from fusargpt.serving.vllm_engine import load_vllm

        return load_vllm(model)
    from fusargpt.inference.predict import load

    return load(model)


def answer_batch(
    model: FusarGpt, source: Source, items: Sequence[Item], max_new_tokens: int
) -> tuple[list[Answer], list[Failure]]:
    """Read and ask all items at once; what fails alone costs no other item.

    Returns:
        The answers in the order of the items, and those without one.
    """
    read: list[tuple[Item, Image.Image, Prior | None]] = []
    failures: list[Failure] = []
    for item in items:
        try:
            read.append((item, *source.read(item)))
        # Whatever is wrong with one file, and whatever a library says to it.
        except Exception as error:
            failures.append(Failure(item.id, one_line(error)))
    answers, others = _ask(model, read, max_new_tokens)
    return answers, failures + others


def _ask(
    model: FusarGpt, read: Sequence[tuple[Item, Image.Image, Prior | None]], max_new_tokens: int
) -> tuple[list[Answer], list[Failure]]:
    if not read:
        return [], []
    items, images, priors = zip(*read, strict=True)
    try:
        questions = [item.question for item in items]
        texts = model.answers(images, questions, priors, max_new_tokens, batch_size=len(items))
    except Exception as error:
        if len(read) == 1:
            return [], [Failure(items[0].id, one_line(error))]
        each = [_ask(model, [one], max_new_tokens) for one in read]
        return [answer for found, _ in each for answer in found], [failure for _, lost in each for failure in lost]
    answers = []
    for item, image, prior, text in zip(items, images, priors, texts, strict=True):
        anchors = 0 if prior is None else len(prior.embeddings)
        seen_width, seen_height = model.seen_size(image)
        answers.append(
            Answer(
                id=item.id,
                task=item.task,
                question=item.question,
                answer=text,
                width=image.width,
                height=image.height,
                seen_width=seen_width,
                seen_height=seen_height,
                anchors=anchors,
            )
        )
    return answers, []
