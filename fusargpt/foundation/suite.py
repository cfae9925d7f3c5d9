"""The suite from its options to its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from tqdm import tqdm

from fusargpt.errors import InputError, one_line
from fusargpt.evaluation.claimed import claimed
from fusargpt.evaluation.score_tables import Scores, by_metric
from fusargpt.foundation.entries import Entry, enter
from fusargpt.foundation.load import Towers
from fusargpt.foundation.places import SPLIT_RULE, places
from fusargpt.foundation.store import Store
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks import BY_CLASSES, ONLY_BY_NAME, RERANKED, Task, tasks
from fusargpt.inference.devices import chosen_device
from fusargpt.metrics.tally import Score, Tally, difference
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION

_PACKAGES = ("fusargpt", "torch", "transformers", "scikit-learn", "numpy")
FEWEST_PLACES = 20
"""Of a split: with fewer, classes are missing and intervals mean nothing."""


@dataclass(frozen=True)
class Options:
    """What is examined, and how.

    Attributes:
        model: folder, name on the Hub, or a baseline; the others are compared with it.
        out: folder of the result; one that holds a part of the same suite is completed.
        baselines: as `fusargpt.foundation.entries.enter` takes them.
        priors: arms of the model, of `fusargpt.foundation.arms.ARMS`; the others are compared with the first.
        tasks: None takes all but `fusargpt.foundation.tasks.ONLY_BY_NAME`.
        scenes: simulated test places.
        train: simulated places that probes are fitted to.
        validation: simulated places that choose their strength.
        rerank: partners that are put in order again, by matching and by likelihood; 0 leaves both out.
        sar_acd: folder of the chips of SAR-ACD, whose classes are then asked, too.
        ssdd: folder of the chips of SSDD, whose ships are then looked for, too.
        labelled: dataset or folder of images, whose classes are then asked, too.
        batch_size: images that a tower is shown together.
        seed: of shuffled priors.
        device: as torch names it; None takes a GPU where there is one.
    """

    model: str
    out: Path
    baselines: Sequence[str] = ()
    priors: Sequence[str] = ("true",)
    tasks: Sequence[str] | None = None
    scenes: int = 1000
    train: int = 2000
    validation: int = 500
    rerank: int = RERANKED
    sar_acd: Path | None = None
    ssdd: Path | None = None
    labelled: str | None = None
    batch_size: int = 32
    seed: int = 0
    device: str | None = None


@dataclass(frozen=True, eq=False)
class Failed:
    """A task that an entry could not be asked."""

    task: str
    entry: str
    reason: str


@dataclass(frozen=True, eq=False)
class Findings:
    """What the suite found.

    Attributes:
        settings: all that the scores depend on, as plain JSON.
        versions: of the packages.
        device: that models ran on.
        entries: the first is the one that the others are compared with.
        resizes: by the label of the entry, what becomes of a picture before its model sees it.
        tasks: those that were asked.
        scores: of every entry that can do the task.
        differences: the first entry's scores minus those of each other one, over the same images, drawn together.
        failures: what could not be scored.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    device: str
    entries: Sequence[Entry]
    resizes: Mapping[str, str]
    tasks: Sequence[Task]
    scores: Scores
    differences: Scores
    failures: Sequence[Failed]


def examine(options: Options) -> Findings:
    """Compute all that is not yet computed in `options.out`, and score it.

    Raises:
        InputError: a model, arm, task or number that is not what it should be; a folder with another suite, or with a
            run at work on it; or nothing that could be scored.
    """
    every = tasks(options.rerank, options.sar_acd, options.ssdd, options.labelled)
    entries = enter(options.model, options.baselines, options.priors)
    chosen = _chosen(options, every, entries[0])
    device = chosen_device(options.device)
    counts = {"train": options.train, "validation": options.validation, "test": options.scenes}
    _check(counts)
    settings: dict[str, object] = {
        "suite": "foundation",
        "places": counts,
        "split_rule": SPLIT_RULE,
        "simulator_version": SIMULATOR_VERSION,
        "seed": options.seed,
        "frozen": not any(entry.tuned for entry in entries),
    }
    simulated = cache(lambda split: places(split, counts[split]))
    found: dict[str, dict[str, Mapping[str, Tally]]] = {task.name: {} for task in chosen}
    failures: list[Failed] = []
    towers = Towers(device)
    with (
        claimed(options.out, settings),
        tqdm(total=len(entries) * len(chosen), unit="task", disable=None) as progress,
    ):
        resizes: dict[str, str] = {}
        for entry in entries:
            store = _store(options, entry, settings)
            subject = Subject(entry, partial(towers.get, entry), store, simulated, options.seed)
            for task in chosen:
                progress.set_description(f"{entry.label}, {task.name}")
                try:
                    tallies = task.tallies(subject) if _can(entry, task) else None
                    if tallies is not None:
                        found[task.name][entry.label] = tallies
                except InputError as error:
                    failures.append(Failed(task.name, entry.label, one_line(error)))
                progress.update()
            resizes[entry.label] = subject.resize
    scored = {task: of_entry for task, of_entry in found.items() if of_entry}
    if not scored:
        raise InputError(f"nothing was scored; {failures[0].entry}, {failures[0].task}: {failures[0].reason}")
    return Findings(
        {**settings, "rerank": options.rerank},
        {"python": python_version(), **{name: version(name) for name in _PACKAGES}},
        device,
        entries,
        resizes,
        [task for task in chosen if task.name in scored],
        {task: by_metric(_scores(of_entry)) for task, of_entry in scored.items()},
        {task: by_metric(_differences(of_entry, entries)) for task, of_entry in scored.items()},
        failures,
    )


def _scores(found: Mapping[str, Mapping[str, Tally]]) -> dict[str, dict[str, Score]]:
    return {label: {name: tally.score() for name, tally in tallies.items()} for label, tallies in found.items()}


def _differences(found: Mapping[str, Mapping[str, Tally]], entries: Sequence[Entry]) -> dict[str, dict[str, Score]]:
    first, *others = [entry.label for entry in entries]
    if first not in found:
        return {}
    ours = found[first]
    return {
        label: {name: difference(ours[name], tally) for name, tally in found[label].items() if name in ours}
        for label in others
        if label in found
    }


def _chosen(options: Options, every: Mapping[str, Task], examined: Entry) -> list[Task]:
    unknown = [name for name in options.tasks or () if name not in every]
    if unknown:
        raise InputError(f"tasks: found {unknown[0]!r}; expected of {', '.join(every)}")
    asked = [
        task
        for name, task in every.items()
        if (name not in ONLY_BY_NAME if options.tasks is None else name in options.tasks) and _can(examined, task)
    ]
    if not asked and examined.tuned:
        raise InputError(
            f"{options.model}: found a classifier of {', '.join(examined.classes)}; expected the classes of one of the "
            "tasks, or the images that it was fine-tuned for (labelled)"
        )
    return asked


def _can(entry: Entry, task: Task) -> bool:
    """Whether a task may be asked of an entry: of one that was fine-tuned, if it asks for the classes of its head."""
    return not entry.tuned or (isinstance(task, BY_CLASSES) and set(task.classes) == set(entry.classes))


def _check(counts: Mapping[str, int]) -> None:
    for split, count in counts.items():
        if count < FEWEST_PLACES:
            raise InputError(f"{split}: found {count} places; expected at least {FEWEST_PLACES}")


def _store(options: Options, entry: Entry, settings: Mapping[str, object]) -> Store:
    name = f"{entry.kind} {entry.model}"
    slug = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)
    conditions = {"model": entry.model, "kind": entry.kind, "revision": entry.revision, **settings}
    return Store(options.out / "features" / slug, conditions, entry.label, options.batch_size)
