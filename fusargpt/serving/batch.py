"""A batch from its settings to its file, in this process or on a Ray cluster by the same per-batch function."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fusargpt.inference.predict import check_name
from fusargpt.serving.batch_inputs import Item, Source
from fusargpt.serving.engines import Failure, choose_engine, engine_version
from fusargpt.serving.parts import Parts
from fusargpt.serving.worker import Asking
from fusargpt.tasks.prompts import MAX_NEW_TOKENS

BATCH_SIZES = {"transformers": 16, "vllm": 256}
"""Items of one part. vLLM makes batches of its own from what it is given, and wants many."""


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
    """

    out: Path
    model: str
    engine: str = "auto"
    workers: int = 0
    batch_size: int | None = None
    max_new_tokens: int = MAX_NEW_TOKENS


@dataclass(frozen=True)
class Report:
    """What came of a batch: rows in the file, and the items that are not there."""

    out: Path
    answered: int
    failures: list[Failure]


def run_batch(source: Source, settings: BatchSettings) -> Report:
    """Ask all of `source` that has no answer yet, and write the file.

    Raises:
        InputError: a source, model or engine that is not what it should be, or a file that is there already.
    """
    engine = choose_engine(settings.engine)
    check_name(settings.model)
    items = source.items()
    parts = Parts(settings.out)
    parts.claim(_conditions(source, settings, engine))
    done = parts.read()
    left = [item for item in items if item.id not in done]
    print(f"Engine: {engine_version(engine)}; {len(left):,} of {len(items):,} questions to ask")
    asking = Asking(engine, settings.model, source, parts, settings.max_new_tokens)
    size = settings.batch_size or BATCH_SIZES[engine]
    failures: list[Failure] = []
    with tqdm(total=len(items), initial=len(items) - len(left), unit="answer", disable=None) as progress:
        for failed, count in _run(asking, left, size, settings.workers):
            failures += failed
            progress.update(count)
    answered = parts.finish([item.id for item in items], complete=not failures)
    return Report(settings.out, answered, failures)


def _run(asking: Asking, items: Sequence[Item], size: int, workers: int) -> Iterator[tuple[list[Failure], int]]:
    """Failures of some items and their number, as they are asked."""
    if not items:
        return
    if workers:
        from fusargpt.serving.ray_workers import ask_on_ray

        yield from ask_on_ray(asking, items, size, workers)
        return
    worker = asking.load()
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        yield worker.ask(batch), len(batch)


def _conditions(source: Any, settings: BatchSettings, engine: str) -> dict[str, Any]:
    """What the answers depend on, as plain JSON."""
    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(source).items()}
    chosen = {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}
    return {**chosen, "model": settings.model, "engine": engine, "max_new_tokens": settings.max_new_tokens}
