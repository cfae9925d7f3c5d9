"""A batch from its settings to its file, in this process or on a Ray cluster by the same worker."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fusargpt.checkpoints import name_of
from fusargpt.errors import InputError
from fusargpt.files import held
from fusargpt.geo.remote import identity
from fusargpt.inference.asking import alike
from fusargpt.inference.backbones import known_targets
from fusargpt.inference.confidences import abstains
from fusargpt.inference.journal import read_journals
from fusargpt.inference.loading import check_name
from fusargpt.inference.questions import Failure, Item
from fusargpt.serving.answer_file import write_answers
from fusargpt.serving.batch_inputs import ImageFolder, Source
from fusargpt.serving.engines import choose_engine, engine_version
from fusargpt.serving.worker import RUN, Work, Worker
from fusargpt.tasks.prompts import MAX_NEW_TOKENS
from fusargpt.tasks.seen_size import is_shrunk
from fusargpt.tasks.target_names import check_known

BATCH_SIZES = {"transformers": 64, "vllm": 256}
"""vLLM makes batches of its own from what it is given, and wants many."""


@dataclass(frozen=True)
class BatchSettings:
    """How a source is asked.

    Attributes:
        out: a new `.parquet` or `.jsonl` file.
        model: folder, or name on the Hub.
        engine: of `fusargpt.serving.engines.ENGINES`.
        workers: 0 asks in this process, more are as many actors on Ray, each with a model of its own.
        batch_size: items that are asked together; None takes the engine's of `BATCH_SIZES`.
        max_new_tokens: where an answer is cut.
        target: the class that the question of a folder's images is about; None where it is about none, or is not a
            task's own.
        abstain: answers of which the model is less sure are "cannot tell"; it changes none that are asked.
    """

    out: Path
    model: str
    engine: str = "auto"
    workers: int = 0
    batch_size: int | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    target: str | None = None
    abstain: float = 0.0


@dataclass(frozen=True)
class Report:
    """What came of a batch: rows in the file, the items that are not there, and as what how many files were read.

    `shrunk` are the files of which the model saw less than half of the pixels along a side; `empty` counts answers in
    which nothing is said, `withheld` those of which the model was too little sure.
    """

    out: Path
    answered: int
    failures: list[Failure]
    read_as: list[tuple[str, int]]
    shrunk: list[str]
    empty: int
    withheld: int


def run_batch(source: Source, settings: BatchSettings) -> Report:
    """Ask all of `source` that has no answer yet, and write the file.

    Raises:
        InputError: a source, model or engine that is not what it should be, or a file that is there already, cannot be
            written, or has another run at work on it.
    """
    engine = choose_engine(settings.engine)
    check_name(settings.model)
    if settings.target is not None:
        check_known(settings.target, known_targets(settings.model), name_of(settings.model))
    with held(settings.out.with_name(f".{settings.out.name}.lock"), settings.out):
        return _run_batch(source, settings, engine)


def _run_batch(source: Source, settings: BatchSettings, engine: str) -> Report:
    items, unasked = source.items()
    conditions = _conditions(source, settings, engine)
    journals = settings.out.with_name(f".{settings.out.name}.journals")
    if settings.out.exists() and not journals.is_dir():
        raise InputError(f"{settings.out}: exists already; remove it or choose another place")
    done = read_journals(journals, conditions, RUN)
    left = [item for group in alike(items, "image") for item in group if item.id not in done]
    print(f"Engine: {engine_version(engine)}; {len(left):,} of {len(items):,} questions to ask")
    size = settings.batch_size or BATCH_SIZES[engine]
    work = Work(engine, settings.model, source, journals, conditions, size, settings.max_new_tokens)
    with tqdm(total=len(items), initial=len(items) - len(left), unit="answer", disable=None) as progress:
        failures = _run(work, left, settings.workers, progress.update)
    done = read_journals(journals, conditions, RUN)
    answers = [done[item.id] for item in items if item.id in done]
    write_answers(settings.out, answers, settings.abstain)
    if not failures and not unasked:
        shutil.rmtree(journals)
    # In the order of the items, whatever the order in which they were asked.
    places = {item.id: place for place, item in enumerate(items)}
    # Limits are each image's own.
    read_as = Counter(answer.read_as.rpartition("; ")[0] for answer in answers if answer.read_as)
    failures = [*unasked, *sorted(failures, key=lambda failure: places[failure.id])]
    # Rows of a dataset have no file that could be tiled.
    from_files = answers if isinstance(source, ImageFolder) else []
    shrunk = [answer.id for answer in from_files if is_shrunk(*answer.size, *answer.seen)]
    empty = sum(not answer.answer for answer in answers)
    withheld = sum(abstains(answer.confidence, settings.abstain) for answer in answers)
    return Report(settings.out, len(answers), failures, read_as.most_common(), shrunk, empty, withheld)


def _run(work: Work, items: Sequence[Item], workers: int, advance: Callable[[int], object]) -> list[Failure]:
    if not items:
        return []
    if workers:
        from fusargpt.serving.ray_workers import ask_on_ray

        failures: list[Failure] = []
        for failed, count in ask_on_ray(work, items, workers):
            failures += failed
            advance(count)
        return failures
    return Worker(work, advance).ask(items)


def _conditions(source: Any, settings: BatchSettings, engine: str) -> dict[str, object]:
    """What the answers depend on, as plain JSON."""
    fields = asdict(source)
    if fields.get("anchors") is not None:
        fields["anchors"]["aef"] = identity(fields["anchors"]["aef"])
    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}
    return {**chosen, "model": settings.model, "engine": engine, "max_new_tokens": settings.max_new_tokens}
