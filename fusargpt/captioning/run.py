"""A run from its source to its folder: captions, the trace of how they came about, and a page that shows both.

The folder gets `captions/` with Parquet shards of rows as the builder of triplets writes them, `trace.jsonl`,
`report.html`, `README.md`, and `journal.jsonl`, which holds what is finished: a run that was cut, at whatever point,
goes on with the same command and ends in the same bytes.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fusargpt.captioning.page import write_page
from fusargpt.captioning.rows import caption_row, caption_text, write_dataset, write_readme
from fusargpt.captioning.sources import CaptionItem, Source
from fusargpt.captioning.stages import STAGES, Backend, Stopped, caption
from fusargpt.errors import InputError, OptionError, one_line
from fusargpt.files import held, output_file, reason
from fusargpt.inference.journal import Journal
from fusargpt.inference.questions import Answer, Failure
from fusargpt.tasks.facts import LANDFORM_COLUMN, TARGET_COLUMN, phrases_of

TRACE, PAGE, README, JOURNAL, FAILURES = "trace.jsonl", "report.html", "README.md", "journal.jsonl", "failures.jsonl"
PAGE_IMAGES = 40
_LOCK, _RUN, _TASK = ".lock", "captions", "caption"
_REMEDY = "make room, and the same command goes on with what is captioned; or choose another place"
CAPTIONS_VERSION = 1
"""Raised by every change of what rules or prompts make of an image, so that captions of two kinds are not mixed."""


Outcome = Answer | Failure | Stopped


@dataclass(frozen=True)
class CaptionSettings:
    """How a source is captioned.

    Attributes:
        out: a new folder, or that of an earlier run with the same settings, which is gone on with.
        stages: of `fusargpt.captioning.stages.STAGES`, in their order.
        workers: images that are worked on at the same time; a backend that asks a server gains by more than one.
        page_images: on the page, those first of which calibration changed most.
    """

    out: Path
    stages: tuple[str, ...] = STAGES
    workers: int = 1
    page_images: int = PAGE_IMAGES


@dataclass(frozen=True)
class Report:
    """What came of a run.

    Attributes:
        out: the folder.
        shards: rows of each.
        said: how many rows say something in a dimension, by its name.
        skipped: items with nothing to see.
        left: items that were not begun, or not ended, because a model could be asked no more.
        stopped: why, "" where none is left.
        tokens: that this run's models counted, or earlier ones of the same folder.
        failures: items without a caption.
    """

    out: Path
    shards: dict[str, int]
    said: dict[str, int]
    skipped: int
    left: int
    stopped: str
    tokens: int
    failures: list[Failure]


def run_captioning(source: Source, backend: Backend, settings: CaptionSettings) -> Report:
    """Caption all of `source` that has no caption yet, and write the folder.

    Raises:
        InputError: a source that is not what it should be; a folder that holds something else, has another run at work
            on it or cannot be written; or an answer of a server that no item can be captioned with.
    """
    items, failures = source.items()
    conditions: dict[str, object] = {
        "version": CAPTIONS_VERSION,
        "backend": backend.name,
        "stages": list(settings.stages),
        **source.conditions(),
    }
    out = settings.out
    _claim(out)
    with held(out / _LOCK, out):
        journal = Journal(out / JOURNAL, json.loads(json.dumps(conditions)), _RUN)
        left = [item for item in items if item.id not in journal.answers]
        failed, unasked, stopped = _caption_all(source, backend, settings, left, journal)
        return _write(source, settings, items, journal, [*failures, *failed], (unasked, stopped), backend.name)


def _claim(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; expected a folder for the captions")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    # A run that was killed before its first line has left its lock.
    if found - {_LOCK, f"{JOURNAL}.partial"} and JOURNAL not in found:
        raise InputError(f"{out}: holds files that no captioning left there; name a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({reason(error)}); choose another place") from error


def _caption_all(
    source: Source, backend: Backend, settings: CaptionSettings, left: Sequence[CaptionItem], journal: Journal
) -> tuple[list[Failure], int, str]:
    """Failures, how many items are left, and why."""
    failures: dict[str, Failure] = {}
    unasked, stopped = 0, ""
    with tqdm(total=len(left) + len(journal.answers), initial=len(journal.answers), unit="image", disable=None) as bar:
        for item, result in _results(source, backend, settings, left):
            if result is None or isinstance(result, Stopped):
                unasked += 1
                stopped = stopped or str(result)
                continue
            if isinstance(result, Failure):
                failures[item.id] = result
            else:
                journal.add([result])
            bar.update(1)
    return [failures[item.id] for item in left if item.id in failures], unasked, stopped


def _results(
    source: Source, backend: Backend, settings: CaptionSettings, items: Sequence[CaptionItem]
) -> Iterator[tuple[CaptionItem, Outcome | None]]:
    """What comes of each item, in the order in which they end; None for those after one that stopped."""
    if settings.workers == 1:
        stopped = False
        for item in items:
            result = None if stopped else _one(source, backend, settings, item)
            stopped = stopped or isinstance(result, Stopped)
            yield item, result
        return
    waiting = iter(items)
    with ThreadPoolExecutor(settings.workers) as pool:
        running: dict[Future[Outcome], CaptionItem] = {}
        stopped = False
        try:
            while True:
                while not stopped and len(running) < 2 * settings.workers and (item := next(waiting, None)) is not None:
                    running[pool.submit(_one, source, backend, settings, item)] = item
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    stopped = stopped or isinstance(result, Stopped)
                    yield running.pop(future), result
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for item in waiting:
        yield item, None


def _one(source: Source, backend: Backend, settings: CaptionSettings, item: CaptionItem) -> Outcome:
    started = time.perf_counter()
    try:
        seen = source.read(item)
        if seen is None:
            return Answer(item.id, _TASK, "", "", (0, 0), (0, 0), None, 0.0, "too much of it is without data")
        made = caption(seen.observation, backend, settings.stages)
        record = {LANDFORM_COLUMN: made.findings.record("landform"), TARGET_COLUMN: made.findings.record("target")}
        caption_text(item.id, record)
        size = seen.observation.image.size
        trace = {**record, "image": _digest(seen.columns["image"]["bytes"]), "steps": [s.as_json() for s in made.steps]}
        prior = seen.observation.prior
        anchors = None if prior is None else len(prior.embeddings)
        seconds = round(time.perf_counter() - started, 4)
        return Answer(item.id, _TASK, ",".join(settings.stages), json.dumps(trace), size, size, anchors, seconds)
    except Stopped as stop:
        return stop
    except (OptionError, ImportError):
        raise
    # Whatever is wrong with one item, and whatever a library says to it, costs no other.
    except Exception as error:
        return Failure(item.id, str(error) if isinstance(error, InputError) else one_line(error))


def _write(
    source: Source,
    settings: CaptionSettings,
    items: Sequence[CaptionItem],
    journal: Journal,
    failures: list[Failure],
    left: tuple[int, str],
    backend: str,
) -> Report:
    out = settings.out
    done = [item for item in items if item.id in journal.answers and not journal.answers[item.id].skipped]
    skipped = sum(bool(journal.answers[item.id].skipped) for item in items if item.id in journal.answers)
    traces = {item.id: json.loads(journal.answers[item.id].answer) for item in done}
    splits = list(dict.fromkeys(item.split for item in done))
    try:
        shards = write_dataset(
            out, {split: _rows(source, [item for item in done if item.split == split], traces) for split in splits}
        )
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({reason(error)}); {_REMEDY}") from error
    with output_file(out / TRACE, _REMEDY) as partial, partial.open("w", encoding="utf-8") as file:
        for item in done:
            file.write(json.dumps({"id": item.id, **traces[item.id]}) + "\n")
    said = Counter(name for trace in traces.values() for name in phrases_of(trace))
    tokens = sum(
        asked["prompt_tokens"] + asked["answer_tokens"]
        for trace in traces.values()
        for step in trace["steps"]
        for asked in step["asked"]
    )
    summary = [
        f"{len(done):,} images captioned by the backend {backend}, stages {', '.join(settings.stages)}.",
        "`description` holds what is said of the place, `target_description` what is said of its targets, null where",
        "nothing is; `trace.jsonl` says of every stage what it claimed on what evidence, and `report.html` shows it.",
    ]
    with output_file(out / README, _REMEDY) as partial:
        write_readme(partial, splits, "Captions", summary)
    shown = _shown(done, traces, settings.page_images)
    with output_file(out / PAGE, _REMEDY) as partial:
        images = ((item, source.read(item)) for item in shown)
        write_page(partial, len(done), images, traces, backend, settings.stages)
    _write_failures(out / FAILURES, failures)
    return Report(out, shards, dict(said), skipped, *left, tokens, failures)


def _rows(source: Source, items: Sequence[CaptionItem], traces: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in items:
        seen = source.read(item)
        assert seen is not None, item.id
        yield caption_row(item.id, seen.columns, traces[item.id])


def _shown(done: Sequence[CaptionItem], traces: Mapping[str, Any], count: int) -> list[CaptionItem]:
    """The images of which the last stage changed most, in the order of the source."""
    changed = {item.id: len(traces[item.id]["steps"][-1]["changes"]) for item in done}
    chosen = {item.id for item in sorted(done, key=lambda item: -changed[item.id])[:count]}
    return [item for item in done if item.id in chosen]


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    if not failures:
        path.unlink(missing_ok=True)
        return
    with output_file(path, _REMEDY) as partial:
        lines = [json.dumps({"id": failure.id, "reason": failure.reason}) + "\n" for failure in failures]
        partial.write_text("".join(lines), encoding="utf-8")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
