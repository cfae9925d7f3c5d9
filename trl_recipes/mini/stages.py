"""The stages of mini in order: what each runs, what it leaves, and with how much of everything."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trl_recipes.running.atomic_runs import finished_by
from trl_recipes.small.sizes import MINI

RECIPES = Path(__file__).parent
_NO_LIMIT = 1000
_WHOLE_CHIPS_SEED = 31  # other pictures than those of `instructions`
assert MINI.pointing_all is not None
_STARTS = {"scenes": 3_000_000, "captions": 3_100_000, "instructions": 3_200_000}
"""First seeds of the training split, so that no stage sees the places of another one."""

_UNTIL_PRETRAINED = ("initial", "tower", "pointing", "pointing_all", "pretrain")


@dataclass(frozen=True)
class Amounts:
    """How much of everything.

    Attributes:
        scenes: of each version of the simulator, for the tower and questions.
        tower: pictures, each seen once.
        pointing, pointing_all: questions of detection, those that there are over and over.
        questions: drawn pictures, simulated and real, that the language model is asked about, in stage 2 once more.
        pretrain_steps: of `pretrain.yaml`.
        captions, instructions: scenes of each version, with priors.
        chips: drawn pictures of real chips among the instructions.
        whole_chips: drawn pictures of real chips, most of them whole, that `language.yaml` reads too.
        language_steps: of `language.yaml`.
        reinforcement_steps: of `stage3.yaml`; 0 leaves the stage out.
        batch_size: of dense stages and recipes; None leaves theirs.
    """

    scenes: int = 6000
    tower: int = MINI.tower.pictures
    pointing: int = MINI.pointing.pictures
    pointing_all: int = MINI.pointing_all.pictures
    questions: int = 8000
    pretrain_steps: int = 2000
    captions: int = 6000
    instructions: int = 5000
    chips: int = 4000
    whole_chips: int = 8000
    language_steps: int = 2400
    reinforcement_steps: int = 600
    batch_size: int | None = None


TINY = Amounts(8, 32, 16, 16, 12, 2, 8, 8, 4, 4, 1, 1, 4)
"""To try that everything runs: minutes, and nothing is learned."""


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of its log and its mark.
        command: without Python itself.
        result: folder of a training, whose manifest says that it is finished; None where a mark says so.
    """

    name: str
    command: tuple[str, ...]
    result: Path | None = None

    def is_done(self, build: Path) -> bool:
        """Whether it need not be run again."""
        return self.mark(build).exists() or (self.result is not None and finished_by(self.result) is not None)

    def mark(self, build: Path) -> Path:
        """The file that says that it has ended well."""
        return build / "done" / self.name


@dataclass(frozen=True)
class Training:
    """How the stages that train are run beside their recipes.

    Attributes:
        minutes: by stage, for a run by the clock; those without have their steps.
        overrides: more arguments of every recipe.
        workers: processes that make data, and that load it for the dense stages.
    """

    minutes: dict[str, float]
    overrides: tuple[str, ...] = ()
    workers: int = 1


def stages(
    build: Path,
    ssdd: Path | None,
    amounts: Amounts,
    training: Training,
    tower: Path | None = None,
    pretrained: Path | None = None,
) -> list[Stage]:
    """All of them, in an order in which each finds what it reads.

    `tower` is a model whose vision tower is taken instead of training one, `pretrained` one that `pretrain` has left:
    stages up to it are left out.
    """
    real = () if ssdd is None else ("--ssdd", str(ssdd))
    workers = ("--workers", str(training.workers))
    pictures = ("--pictures", str(build / "scenes"))
    found = [_module("initial", "small.model", "mini", "--out", str(build / "initial"))]
    for name, start in _STARTS.items():
        count = str(vars(amounts)[name])
        out = build / ("scenes" if name == "scenes" else f"scenes_{name}")
        versions = ("--version1", count, "--version2", count)
        found.append(_module(out.name, "small.scenes", *versions, "--start", str(start), *workers, "--out", str(out)))
    rows = [
        ("questions", pictures, amounts.questions, real),
        ("captions", ("--pictures", str(build / "scenes_captions")), 0, ()),
        ("instructions", ("--pictures", str(build / "scenes_instructions")), amounts.chips, real),
    ]
    if ssdd is not None:
        rows.append(("chips", ("--seed", str(_WHOLE_CHIPS_SEED)), amounts.whole_chips, real))
    data = [
        _module(
            f"data_{layout}",
            "small.rows",
            *(layout, *read, "--count", str(count), *chips, *workers, "--out", str(build / "data" / layout)),
        )
        for layout, read, count, chips in rows
    ]
    seeing = _dense(build, "tower", "initial", amounts.tower, (*pictures, *real, *workers), amounts, training)
    if tower is not None:
        seeing = _module("tower", "small.model", "mini", "--tower", str(tower), "--out", str(build / "tower"))
    asked = ("--questions", str(build / "data" / "questions"), "--features", str(build / "features"), *workers)
    dense = [
        seeing,
        _dense(build, "pointing", "tower", amounts.pointing, asked, amounts, training),
        _dense(build, "pointing_all", "pointing", amounts.pointing_all, ("--all-boxes", *asked), amounts, training),
    ]
    recipes = [
        _recipe(build, "pretrain", build / "pointing_all", ["questions"], amounts, training),
        _recipe(build, "stage1", pretrained or build / "pretrain", ["captions"], amounts, training),
        _recipe(build, "stage2", build / "stage1", ["instructions", "captions", "questions"], amounts, training),
        _recipe(build, "language", build / "stage2", [layout for layout, *_ in rows], amounts, training),
    ]
    if amounts.reinforcement_steps:
        recipes.append(_reinforcement(build, amounts, training))
    last = recipes[-1].name
    released = _module("release", "small.release", str(build / last), "--out", str(build / "fusargpt-mini"))
    every = [*found, *data, *dense, *recipes, released]
    return every if pretrained is None else [stage for stage in every if stage.name not in _UNTIL_PRETRAINED]


def score_stages(build: Path, ssdd: Path | None) -> list[Stage]:
    """What tells how good the release is: SSDD's validation chips, whole."""
    if ssdd is None:
        return []
    manifest, chips = build / "validation.csv", build / "validation"
    return [
        _verb(
            "validation_manifest",
            *("manifest", "voc", str(ssdd), "--images", "images", "--annotations", "annotations"),
            *("--license", "apache-2.0", "--split", "validation=validation.txt", "--out", str(manifest)),
        ),
        _verb(
            "validation_chips",
            *("triplets", "build", str(manifest), "--chip-size", "0", "--missing-prior", "empty", "--out", str(chips)),
        ),
        _verb(
            "validation_scores",
            *("evaluate", str(build / "fusargpt-mini"), str(chips), "--split", "validation", "--prior", "none"),
            *("--out", str(build / "scores")),
        ),
    ]


def _module(name: str, module: str, *arguments: str) -> Stage:
    return Stage(name, ("-m", f"trl_recipes.{module}", *arguments))


def _verb(name: str, *arguments: str) -> Stage:
    return Stage(name, ("-m", "fusargpt", *arguments))


def _dense(
    build: Path, name: str, before: str, pictures: int, read: Sequence[str], amounts: Amounts, training: Training
) -> Stage:
    arguments = ["mini", "--model", str(build / before), "--out", str(build / name), "--scenes", str(pictures), *read]
    if amounts.batch_size is not None:
        arguments += ["--batch-size", str(amounts.batch_size)]
    if name in training.minutes:
        arguments += ["--minutes", str(training.minutes[name])]
    module = f"trl_recipes.small.pretrain_{name.removesuffix('_all')}"
    return Stage(name, ("-m", module, *arguments), build / name)


def _recipe(build: Path, name: str, before: Path, data: Sequence[str], amounts: Amounts, training: Training) -> Stage:
    fields = _folders(build, name, before)
    steps = {"pretrain": amounts.pretrain_steps, "language": amounts.language_steps}
    if name in steps:
        fields["max_steps"] = steps[name]
    if amounts.batch_size is not None:
        fields["per_device_train_batch_size"] = amounts.batch_size
    if name in training.minutes:
        fields["train_minutes"] = training.minutes[name]
        if name not in steps:
            fields["num_train_epochs"] = _NO_LIMIT  # the clock ends it
    return _trained(build, name, "trl_recipes.sft", fields, data, training)


def _reinforcement(build: Path, amounts: Amounts, training: Training) -> Stage:
    fields = _folders(build, "stage3", build / "language") | {"max_steps": amounts.reinforcement_steps}
    if amounts.batch_size is not None:
        # Answers to one question stay together.
        fields |= {"num_generations": amounts.batch_size, "per_device_train_batch_size": amounts.batch_size}
    return _trained(build, "stage3", "trl_recipes.grpo.train", fields, ["instructions", "captions"], training)


def _folders(build: Path, name: str, before: Path) -> dict[str, object]:
    return {
        "model_name_or_path": before,
        "output_dir": build / name,
        "feature_cache": build / "features",
    }


def _trained(
    build: Path, name: str, module: str, fields: dict[str, object], data: Sequence[str], training: Training
) -> Stage:
    arguments = [text for field, value in fields.items() for text in (f"--{field}", str(value))]
    arguments += ["--dataset_name", *(str(build / "data" / part) for part in data), *training.overrides]
    return Stage(name, ("-m", module, str(RECIPES / f"{name}.yaml"), *arguments), build / name)
