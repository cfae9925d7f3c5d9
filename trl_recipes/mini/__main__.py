"""fusargpt-mini from nothing, by one command that can be stopped and given again:

python -m trl_recipes.mini --ssdd SSDD

Four hours of two processor cores until `pretrain` is done, two of them for the tower. Each stage is a process with a
log in BUILD/logs; a stage that is done is not run again, one that was cut goes on from its last checkpoint (data: from
its last shard). `--status` tells where a run is, `--tiny` tries that everything runs. Without SSDD, pictures are
simulated ones alone. Scores are those of the chips of SSDD's validation list; the official test split beyond them is
not looked at.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fusargpt.errors import InputError
from fusargpt.files import held
from trl_recipes.mini.pipeline import StageError, log_of, run
from trl_recipes.mini.stages import TINY, Amounts, Stage, Training, score_stages, stages
from trl_recipes.small.drawing import TRAINING_LIST


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trl_recipes.mini", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=Path("build/mini"), help="folder of all stages")
    parser.add_argument("--ssdd", type=Path, help="folder of SSDD: images, annotations and lists")
    parser.add_argument("--workers", type=int, default=1, help="processes beside each training (default: 1)")
    parser.add_argument("--tiny", action="store_true", help="try that everything runs; nothing is learned")
    begun = parser.add_mutually_exclusive_group()
    begun.add_argument("--tower", type=Path, metavar="MODEL", help="take its vision tower instead of training one")
    begun.add_argument("--pretrained", type=Path, metavar="MODEL", help="go on from it with stage 1")
    parser.add_argument("--until", metavar="STAGE", help="stop after it")
    parser.add_argument("--status", action="store_true", help="tell what is done, and run nothing")
    options = parser.parse_args(arguments)
    build: Path = options.build
    amounts = TINY if options.tiny else Amounts()
    training = Training({}, workers=options.workers)
    found = stages(build, options.ssdd, amounts, training, options.tower, options.pretrained)
    found += score_stages(build, options.ssdd)
    names = [stage.name for stage in found]
    if options.until is not None and options.until not in names:
        parser.error(f"argument --until: found {options.until}; expected one of {', '.join(names)}")
    if options.status:
        print(status(found, build))
        return 0
    signal.signal(signal.SIGTERM, _stopped)
    try:
        if options.ssdd is None:
            print("No real chips (--ssdd): mini learns from simulated pictures alone.")
        elif not (options.ssdd / TRAINING_LIST).is_file():
            raise InputError(f"--ssdd: {options.ssdd} has no {TRAINING_LIST}; expected the folder of SSDD")
        # Before hours of data that nothing would come of.
        for name, folder in (("--tower", options.tower), ("--pretrained", options.pretrained)):
            if folder is not None and not (folder / "config.json").is_file():
                raise InputError(f"{name}: {folder}: no config.json; expected the folder of a model")
        build.mkdir(parents=True, exist_ok=True)
        with held(build / "pipeline.lock", f"--build: {build}"):
            for number, stage in enumerate(found, start=1):
                if not stage.is_done(build):
                    run(stage, build, f"[{number}/{len(found)}]")
                if stage.name == options.until:
                    break
    except (InputError, StageError) as error:
        print(f"mini: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, StageError) else 2
    return 0


def status(found: Sequence[Stage], build: Path) -> str:
    """A line for each stage: done, begun with the last line of its log, or to come."""
    lines: list[str] = []
    for stage in found:
        log = log_of(stage, build)
        if stage.is_done(build):
            told = "done"
        elif log.exists():
            # Progress bars overwrite their line.
            written = log.read_text(errors="replace").replace("\r", "\n").split("\n")
            told = f"begun: {next((line.strip() for line in reversed(written) if line.strip()), '')[:100]}"
        else:
            told = "to come"
        lines.append(f"{stage.name:24} {told}")
    return "\n".join(lines)


def _stopped(_signal: int, _frame: FrameType | None) -> NoReturn:
    # So that the stage that is running is ended, too.
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
