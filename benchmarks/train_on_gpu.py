"""Train fusargpt-mini within the minutes of a lent GPU, and bring it back in files of at most 15 MiB:

    python -m benchmarks.train_on_gpu run --ssdd SSDD --build build/gpu --out OUT --minutes 9.2
    python -m benchmarks.train_on_gpu assemble OUT --model build/fusargpt-mini

The stages are those of `python -m trl_recipes.mini`, by the same recipes, each with a share of the minutes after which
it ends, its learning rate following the clock. Data of the later stages is made on all cores while the tower trains.
After every stage what there is goes to OUT, so that a run that is cut, or whose time is over, leaves the model of its
last stage or checkpoint, named in `run.json`: weights as `model-*.safetensors` (bfloat16), and the other files, curves,
logs and scores of SSDD's validation chips in `folder.zip`. `assemble` makes a model folder of them.

`--tiny` tries it on a CPU: the same commands with a few pictures, some minutes, and nothing is learned.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fusargpt.errors import InputError
from fusargpt.files import written_whole
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from trl_recipes.mini.pipeline import StageError, end, finish, start
from trl_recipes.mini.stages import TINY, Amounts, Stage, Training, score_stages, stages
from trl_recipes.model.checkpoint import load_model
from trl_recipes.running.atomic_runs import STATE, checkpoints, finished_by

SHARES = {
    "tower": 0.31,
    "pointing": 0.07,
    "pointing_all": 0.07,
    "pretrain": 0.16,
    "stage1": 0.05,
    "stage2": 0.05,
    "language": 0.06,
}
"""Of the minutes, spent in training steps; the rest is starting processes, making data, caching tokens, scoring."""
ON_GPU = Amounts(
    scenes=3000,
    tower=1_000_000,  # as many as the clock allows
    pointing=1_000_000,
    pointing_all=1_000_000,
    questions=8000,
    pretrain_steps=100_000,
    captions=2000,
    instructions=1500,
    chips=3000,
    language_steps=100_000,
    reinforcement_steps=0,  # it has no clock to follow
    batch_size=64,
)
GPU_OVERRIDES = (
    *("--use_cpu", "false", "--bf16_on_cpu", "always", "--attn_implementation", "default"),
    *("--dataloader_num_workers", "8", "--dataset_num_proc", "12"),
)
PACKED = "folder.zip"
RUN = "run.json"
SHARD_BYTES = 15 * 2**20
MOST_FILES = 8
_LAST_SECONDS = 20.0  # to write and to end


@dataclass
class Run:
    """Where a run stands.

    Attributes:
        build: folder of the stages.
        out: what comes back.
        deadline: of `time.monotonic`.
        seconds: that each stage took.
        trouble: what went wrong, a line each.
    """

    build: Path
    out: Path
    deadline: float
    seconds: dict[str, float] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)

    def left(self) -> float:
        """Seconds until the last ones begin."""
        return self.deadline - time.monotonic() - _LAST_SECONDS

    def do(self, stage: Stage) -> None:
        """Run a stage to its end, or until the time is over.

        Raises:
            StageError: it ended badly or did not end.
        """
        if stage.is_done(self.build):
            return
        began = time.monotonic()
        try:
            finish(stage, start(stage, self.build), self.build, max(self.left(), 1.0))
        finally:
            self.seconds[stage.name] = round(time.monotonic() - began, 1)
            print(f"{stage.name}: {self.seconds[stage.name]:.0f} s, {self.left():.0f} s left", flush=True)


def train(build: Path, ssdd: Path | None, out: Path, minutes: float, tiny: bool, workers: int) -> Run:
    """Run all stages as far as the minutes go; what there is, is in `out` after each of them."""
    run = Run(build, out, time.monotonic() + 60 * minutes)
    on_gpu = torch.cuda.is_available()
    by_clock = {name: round(share * minutes, 3) for name, share in SHARES.items()}
    training = Training(by_clock, GPU_OVERRIDES if on_gpu else (), workers)
    found = stages(build, ssdd, TINY if tiny else ON_GPU, training)
    beside = [stage for stage in found if stage.name.startswith(("scenes_", "data_"))]
    rest = [stage for stage in found if stage not in beside]
    made: subprocess.Popen[bytes] | None = None
    try:
        for stage in rest:
            if stage.name == "tower":
                made = _make_beside(beside, build)
            if stage.name == "pointing" and made is not None:
                _wait_for_data(made, beside, run)
            run.do(stage)
            if stage.result is not None:
                pack(run)
        for stage in score_stages(build, ssdd):
            run.do(stage)
    except StageError as error:
        run.trouble.append(str(error))
        print(error, file=sys.stderr, flush=True)
    finally:
        if made is not None:
            end(made)
        pack(run)
    return run


def _make_beside(found: Sequence[Stage], build: Path) -> "subprocess.Popen[bytes]":
    """Make the data of later stages, one after the other, in a process of its own."""
    commands = [[sys.executable, *stage.command] for stage in found]
    log = build / "logs" / "data.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    each = f"import subprocess, sys\nfor command in {commands!r}:\n    subprocess.run(command, check=True)\n"
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-c", each], stdout=output, stderr=subprocess.STDOUT)


def _wait_for_data(made: "subprocess.Popen[bytes]", found: Sequence[Stage], run: Run) -> None:
    data = Stage("data", ())
    began = time.monotonic()
    finish(data, made, run.build, max(run.left(), 1.0))
    run.seconds["waited for data"] = round(time.monotonic() - began, 1)
    for stage in found:
        stage.mark(run.build).touch()


def best(build: Path) -> tuple[str, Path] | None:
    """The last stage with something to bring back, and its folder: the stage's result, or its last checkpoint."""
    for name in reversed(SHARES):
        folder = build / name
        if finished_by(folder) is not None:
            return name, folder
        found = checkpoints(folder) if folder.is_dir() else []
        # Checkpoints of dense stages hold a part of the model; of the others, a whole one or an adapter.
        if found and name in ("pretrain", "stage1"):
            return f"{name}, {found[-1].name}", found[-1]
    return None


def pack(run: Run) -> None:
    """Bring what there is to `out`, in place of what was there."""
    run.out.mkdir(parents=True, exist_ok=True)
    told: dict[str, object] = {"seconds": run.seconds, "trouble": run.trouble, "stage": None}
    found = best(run.build)
    packed = run.build / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    packed.mkdir(parents=True)
    if found is not None:
        told["stage"], folder = found
        model = load_model(str(folder), dtype=torch.bfloat16)
        model.save_pretrained(packed, max_shard_size=SHARD_BYTES)
        # A checkpoint's processor is that of the stage before.
        source = folder if (folder / "processor_config.json").is_file() else run.build / "pointing"
        FusarGptProcessor.from_pretrained(source).save_pretrained(packed)
    weights = sorted(packed.glob("*.safetensors"))
    if len(weights) > MOST_FILES - 2:
        raise InputError(f"{packed}: {len(weights)} files of weights; expected at most {MOST_FILES - 2} to come back")
    for earlier in run.out.glob("*.safetensors"):
        if earlier.name not in {path.name for path in weights}:
            earlier.unlink()
    for path in weights:
        with written_whole(run.out / path.name) as part:
            shutil.copyfile(path, part)
    with (
        written_whole(run.out / PACKED) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in sorted(packed.iterdir()):
            if path.suffix != ".safetensors":
                archive.write(path, f"model/{path.name}")
        for name in SHARES:
            _add(archive, run.build / name / STATE, f"curves/{name}.json")
        for log in sorted((run.build / "logs").glob("*.log")):
            _add(archive, log, f"logs/{log.name}")
        _add(archive, run.build / "scores" / "results.json", "scores/results.json")
    with written_whole(run.out / RUN) as part:
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    if path.is_file():
        archive.write(path, name)


def assemble(out: Path, model: Path) -> str:
    """Make a model folder of what a run has brought back; returns the stage that it is of.

    Raises:
        InputError: what came back holds no model, or a folder is in the way.
    """
    if not (out / RUN).is_file() or not (out / PACKED).is_file():
        raise InputError(f"{out}: no {RUN} and {PACKED}; expected what `run` has brought back")
    stage = json.loads((out / RUN).read_text(encoding="utf-8"))["stage"]
    weights = sorted(out.glob("*.safetensors"))
    if stage is None or not weights:
        raise InputError(f"{out}: no stage was finished; {PACKED} has the logs")
    if model.exists() and any(model.iterdir()):
        raise InputError(f"{model}: is there already; remove it or choose another place")
    shards = model.with_name(f"{model.name}-shards")
    shutil.rmtree(shards, ignore_errors=True)
    with zipfile.ZipFile(out / PACKED) as archive:
        archive.extractall(shards)
    for path in weights:
        shutil.copyfile(path, shards / "model" / path.name)
    loaded = FusarGptForConditionalGeneration.from_pretrained(shards / "model", dtype="bfloat16")
    loaded.save_pretrained(model)
    FusarGptProcessor.from_pretrained(shards / "model").save_pretrained(model)
    shutil.rmtree(shards)
    return str(stage)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="train and bring back")
    running.add_argument("--build", type=Path, default=Path("build/gpu"))
    running.add_argument("--ssdd", type=Path, help="folder of SSDD; without it, simulated scenes alone")
    running.add_argument("--out", type=Path, required=True, help="folder of what comes back")
    running.add_argument("--minutes", type=float, default=9.2, help="in all (default: 9.2)")
    running.add_argument("--workers", type=int, default=min(14, os.cpu_count() or 1))
    running.add_argument("--tiny", action="store_true", help="try that everything runs; nothing is learned")
    assembling = verbs.add_parser("assemble", help="make a model folder of what came back")
    assembling.add_argument("out", type=Path)
    assembling.add_argument("--model", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        if options.verb == "assemble":
            print(f"{options.model}: the model of {assemble(options.out, options.model)}")
            return 0
        run = train(options.build, options.ssdd, options.out, options.minutes, options.tiny, options.workers)
    except InputError as error:
        print(f"train_on_gpu: error: {error}", file=sys.stderr)
        return 2
    return 1 if run.trouble else 0


if __name__ == "__main__":
    sys.exit(main())
