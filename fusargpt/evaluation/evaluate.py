"""A benchmark from its options to its files."""

import gc
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import torch
from tqdm import tqdm

from fusargpt.errors import InputError
from fusargpt.evaluation.answerers import MajorityAnswerer, OwnEngine, load_answerer
from fusargpt.evaluation.claimed import RUN, claimed
from fusargpt.evaluation.entries import MAJORITY, Entry, enter
from fusargpt.evaluation.evaluated import Evaluation
from fusargpt.evaluation.items import KnownItem, fingerprint, read_items
from fusargpt.evaluation.priors import given_priors
from fusargpt.evaluation.reading import Reading
from fusargpt.evaluation.scoring import Answers
from fusargpt.inference.asking import Asking
from fusargpt.inference.devices import chosen_device, chosen_dtype
from fusargpt.inference.journal import Journal
from fusargpt.inference.number_types import Dtype, Quantization
from fusargpt.inference.questions import Answerer, Failure, FusarGptAnswerer
from fusargpt.inference.rows import SIMULATOR, load_rows, read, simulated_rows
from fusargpt.tasks.prompts import MAX_NEW_TOKENS, TASKS

MAJORITY_SCENES = 2000
"""Of the simulator's training split, in which the most frequent answers are counted."""
_PACKAGES = ("fusargpt", "torch", "transformers", "datasets", "numpy", "sacrebleu", "rouge-score")


@dataclass(frozen=True)
class Options:
    """What is asked of whom.

    Attributes:
        model: folder, or name on the Hub; the others are compared with it.
        dataset: folder, Parquet file, name on the Hub, or "simulator".
        out: folder of the result; one that holds a part of the same benchmark is completed.
        baselines: other models, or "majority".
        priors: settings that FUSAR-GPT models get, of `fusargpt.evaluation.priors.SETTINGS`.
        tasks: None takes those that the dataset asks.
        split: as the dataset names it.
        configs: None takes all.
        limit: questions of each task; None takes all, or 500 of the simulator.
        batch_size: questions that are answered together.
        max_new_tokens: where an answer is cut.
        seed: of the shuffled priors.
        answer_form: "auto", "always" or "never", as `fusargpt.evaluation.entries.enter` has it.
        constrained: hold the answers of FUSAR-GPT models and their backbones to the forms of
            `fusargpt.tasks.grammar`.
        device: as torch names it; None takes a GPU where there is one.
        raw_scores: leave confidences the probabilities of tokens, whatever a model's processor has to calibrate them.
        dtype, quantization: as of `fusargpt.inference.loading.load`; models of other types are never quantized.
    """

    model: str
    dataset: str
    out: Path
    baselines: Sequence[str] = ()
    priors: Sequence[str] = ("true",)
    tasks: Sequence[str] | None = None
    split: str = "test"
    configs: Sequence[str] | None = None
    limit: int | None = None
    batch_size: int = 64
    max_new_tokens: int = MAX_NEW_TOKENS
    seed: int = 0
    answer_form: str = "auto"
    constrained: bool = False
    device: str | None = None
    raw_scores: bool = False
    dtype: Dtype | None = None
    quantization: Quantization = "none"


def evaluate(options: Options, engine: OwnEngine | None = None) -> Evaluation:
    """Ask all that is not yet answered in `options.out`; FUSAR-GPT models by `engine`, where there is one.

    Raises:
        InputError: a model, dataset, task or split that is not what it should be; a folder with another benchmark, or
            with a run at work on it; or no answer to anything.
    """
    entries = enter([options.model, *options.baselines], options.priors, options.answer_form)
    device = chosen_device(options.device)
    with_prior = any(entry.prior != "none" for entry in entries)
    rows = read(options.dataset, options.configs, options.split, options.tasks, options.limit, with_prior)
    items, failures = read_items(rows, options.tasks, options.limit)
    names = [item.id for item in items]
    given = {
        entry.label: dict(zip(names, given_priors(items, entry.prior, options.seed), strict=True)) for entry in entries
    }
    settings = _settings(options, items) | ({} if engine is None else {"engine": engine.name})
    reading = Reading(rows, items, options.constrained)
    with claimed(options.out, settings):
        answers, missing = _ask(options, entries, device, engine, reading, items, given, settings)
    failures += missing
    if not any(answers.values()):
        raise InputError(f"no question was answered; {failures[-1].id}: {failures[-1].reason}")
    return Evaluation(settings, _versions(), device, entries, rows, items, answers, failures)


def _ask(
    options: Options,
    entries: Sequence[Entry],
    device: str,
    engine: OwnEngine | None,
    reading: Reading,
    items: Sequence[KnownItem],
    given: Mapping[str, dict[str, int | None]],
    settings: Mapping[str, object],
) -> tuple[dict[str, Answers], list[Failure]]:
    """The answers of each entry to all items, asked or asked before, and the questions that failed."""
    failures: list[Failure] = []
    journals = {entry.label: _journal(options, entry, settings, device) for entry in entries}
    left = {label: [item for item in items if item.id not in journal.answers] for label, journal in journals.items()}
    # Counted before hours go by: the training split may not be there.
    majority = _majority(options) if any(left[entry.label] for entry in entries if entry.model == MAJORITY) else None
    with (
        tqdm(total=len(items) * len(entries), unit="answer", disable=None) as progress,
        _loaded(options, engine) as models,
    ):
        progress.update(progress.total - sum(map(len, left.values())))
        for entry in entries:
            if left[entry.label]:
                progress.set_description(entry.label)
                answerer = majority if entry.model == MAJORITY and majority else models.get(entry, device)
                # Other models' `generate` keeps every row until the longest answer ends.
                order = "image" if isinstance(answerer, FusarGptAnswerer) else "task"
                asking = Asking(
                    answerer,
                    reading.of(entry, answerer, given[entry.label]),
                    journals[entry.label],
                    batch_size=options.batch_size,
                    max_new_tokens=options.max_new_tokens,
                    advance=progress.update,
                )
                failures += [replace(failure, entry=entry.label) for failure in asking.run(items, order)]
    asked = {item.id for item in items}
    answers: dict[str, Answers] = {
        label: {name: answer for name, answer in journal.answers.items() if name in asked}
        for label, journal in journals.items()
    }
    return answers, failures


class _Models:
    """The model in use: settings of the prior follow each other, and no two models fill the memory."""

    def __init__(self, options: Options, engine: OwnEngine | None) -> None:
        self._options, self._engine = options, engine
        self._name = ""
        self._answerer: Answerer | None = None

    def get(self, entry: Entry, device: str) -> Answerer:
        if self._answerer is None or self._name != entry.model:
            self.free()
            chosen = self._options
            self._name = entry.model
            self._answerer = load_answerer(
                entry, device, chosen.raw_scores, chosen.dtype, chosen.quantization, self._engine
            )
        return self._answerer

    def free(self) -> None:
        self._answerer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def _loaded(options: Options, engine: OwnEngine | None) -> Generator[_Models]:
    models = _Models(options, engine)
    try:
        yield models
    finally:
        models.free()


def _majority(options: Options) -> Answerer:
    if options.dataset == SIMULATOR:
        return MajorityAnswerer(simulated_rows("train", options.tasks or TASKS, MAJORITY_SCENES))
    return MajorityAnswerer(load_rows(options.dataset, options.configs, "train", ("task", "completion")))


def _settings(options: Options, items: Sequence[KnownItem]) -> dict[str, object]:
    return {
        "dataset": options.dataset,
        "configs": options.configs and list(options.configs),
        "split": options.split,
        "tasks": options.tasks and list(options.tasks),
        "limit": options.limit,
        "fingerprint": fingerprint(items),
        "questions": dict(Counter(item.task for item in items)),
        "seed": options.seed,
        "max_new_tokens": options.max_new_tokens,
        # Only where it is so: answers that were given before it could be are free ones.
        **({"constrained": True} if options.constrained else {}),
        **({"raw_scores": True} if options.raw_scores else {}),
        **({"quantization": options.quantization} if options.quantization != "none" else {}),
    }


def _journal(options: Options, entry: Entry, settings: Mapping[str, object], device: str) -> Journal:
    conditions = {
        "model": entry.model,
        "revision": entry.revision,
        "prior": entry.prior,
        "answer_form": entry.with_form,
        "dtype": "" if entry.model == MAJORITY else str(chosen_dtype(options.dtype, device)).removeprefix("torch."),
        "fingerprint": settings["fingerprint"],
    }
    name = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in entry.label)
    return Journal(options.out / "predictions" / f"{name}.jsonl", conditions, RUN)


def _versions() -> dict[str, str]:
    return {"python": python_version(), **{name: version(name) for name in _PACKAGES}}
