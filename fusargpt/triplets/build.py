"""From a manifest to a dataset folder: parts on many processes, then shards, card and a list of what failed.

The folder gets `captions/` and `instructions/` with Parquet shards, `README.md` with its pictures, and `build.json`.
While the work goes on, `.parts/` holds what is finished: a run that was interrupted goes on from there and ends in the
same bytes. Scenes that fail are left out of the shards and listed in `failures.jsonl`; the parts are kept then, so that
the next run builds only what is missing.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from fusargpt.alphaearth.scene_prior import alpha_earth
from fusargpt.errors import InputError, one_line
from fusargpt.files import held, write_text_whole
from fusargpt.geo.reading import kinds_read
from fusargpt.geo.remote import identity, shown
from fusargpt.tasks.target_names import TARGETS, check_distinct, in_order
from fusargpt.triplets.card import write_card
from fusargpt.triplets.features import BUILT_FEATURES
from fusargpt.triplets.jobs import Job, Runner, do_job
from fusargpt.triplets.manifest import SPLITS, read_manifest
from fusargpt.triplets.scene_rows import BUILDER_VERSION, CHIPS_PER_PART, Part
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.shards import CONFIGS, WrittenPart, write_shards, written_part
from fusargpt.triplets.splits import split_by_place
from fusargpt.triplets.survey import SceneFailure, Surveyed, survey
from fusargpt.triplets.workers import Crash, run_all

SCHEMAS: dict[str, pa.Schema] = {config: features.arrow_schema for config, features in BUILT_FEATURES.items()}
_PARTS, FAILURES, FINISHED = ".parts", "failures.jsonl", "build.json"
# What decides on the bytes beside our own code.
_LIBRARIES = ("datasets", "numpy", "pillow", "pyarrow", "rasterio")


@dataclass(frozen=True)
class Report:
    """What a build came to.

    Attributes:
        folder: of the dataset.
        shards: their paths, relative to the folder, with the rows of each.
        counts: of chips and of what was left out.
        scenes: in each split.
        read_as: what each scene was read as, by its id; "" where no chip of it was looked at.
        failures: scenes that are not in the shards.
    """

    folder: Path
    shards: dict[str, int]
    counts: dict[str, int]
    scenes: dict[str, int]
    read_as: dict[str, str]
    failures: tuple[SceneFailure, ...]

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """What scenes were read as but for their limits, which are each scene's own, and how many; the most first."""
        return kinds_read(self.read_as.values())


def build(
    manifest: str | Path,
    out: str | Path,
    settings: BuildSettings,
    *,
    workers: int | None = None,
    title: str | None = None,
    run: Runner = run_all,
) -> Report:
    """Build the dataset of a manifest in the folder `out`.

    Args:
        manifest: see `fusargpt.triplets.manifest`.
        out: a new folder, or that of an earlier build, which is continued or brought up to date.
        settings: the same ones give the same bytes.
        workers: processes; None takes all cores, 0 works in this process.
        title: of the dataset card; None takes the folder's name.
        run: how jobs are run; `fusargpt.triplets.ray_build.run_on_ray` takes them to a cluster.

    Raises:
        InputError: the manifest, the AlphaEarth root or the folder is not what it should be. What is wrong with one
            scene is not raised but reported.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    rows = read_manifest(manifest)
    if settings.aef is not None:
        # Asked once here, so that a wrong root is said once and not for each scene.
        _ = alpha_earth(settings.aef).years
    out = Path(out)
    with _claimed(out):
        found, failures = survey(rows, settings, workers)
        splits = split_by_place([scene.located for scene in found], settings.split_distance_km, settings.shares)
        jobs = _jobs(found, settings, out / _PARTS)
        title = title or out.absolute().name
        fingerprint = _digest([[job.stem.name for job in jobs], splits, title, [str(failure) for failure in failures]])
        if (finished := _finished(out, fingerprint)) is not None:
            return finished
        (out / FINISHED).unlink(missing_ok=True)
        failures += _run(jobs, settings, workers, run)
        scenes, parts = _whole_scenes(found, jobs, failures, settings)
        failures.sort(key=lambda failure: failure.row.number)
        with _writing(out):
            shards = _write_shards(out, splits, scenes, parts)
            counts = sum((Counter(part.counts) for row_parts in parts.values() for part in row_parts), Counter())
            of_splits = Counter(splits[scene.row.id] for scene in scenes)
            read_as = {scene.row.id: parts[scene.row.number][0].read_as for scene in scenes}
            report = Report(out, shards, dict(sorted(counts.items())), dict(of_splits), read_as, tuple(failures))
            if shards:
                shown_scenes = [(splits[scene.row.id], scene) for scene in scenes]
                write_card(out, title, shown_scenes, report.counts, settings, report.kinds)
            else:
                (out / "README.md").unlink(missing_ok=True)
            _conclude(report, fingerprint)
        return report


@contextmanager
def _writing(out: Path) -> Generator[None]:
    """A folder that cannot be written to, or a full disk, is said in one line; what is finished stays."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({one_line(error)}); make room, or name another folder") from error


@contextmanager
def _claimed(out: Path) -> Generator[None]:
    """The folder, made where it is missing, for this run alone."""
    parts = out / _PARTS
    with _writing(out):
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: a file; expected a folder for the dataset")
        if out.is_dir() and any(out.iterdir()) and not (parts.is_dir() or (out / FINISHED).is_file()):
            raise InputError(f"{out}: holds files that no build of a dataset left there; name a new folder")
        parts.mkdir(parents=True, exist_ok=True)
    with held(parts / "lock", out):
        yield


def _jobs(found: Sequence[Surveyed], settings: BuildSettings, folder: Path) -> list[Job]:
    """The parts of all scenes in the manifest's order, named by all that their bytes depend on."""
    occurring = {label for scene in found for label in scene.labels}
    check_distinct(sorted(occurring))
    targets = settings.targets or in_order(occurring) or TARGETS
    origin = [BUILDER_VERSION, {name: version(name) for name in _LIBRARIES}, asdict(settings), _stamp(settings.aef)]
    jobs = []
    for scene in found:
        row = scene.row
        stamps = [_stamp(path) for path in (row.scene, row.boxes, row.land_cover)]
        named = replace(row, scene=identity(row.scene), land_cover=row.land_cover and identity(row.land_cover))
        for first in range(0, scene.chips, CHIPS_PER_PART):
            part = Part(row, targets, first, min(first + CHIPS_PER_PART, scene.chips))
            name = _digest([origin, str(named), stamps, targets, part.first, part.last])
            jobs.append(Job(part, folder / f"{row.number:06d}-{first:08d}-{name}"))
    return jobs


def _stamp(path: object) -> tuple[int, int] | None:
    """What changes when a local file is written again; None for what is no local file."""
    if not isinstance(path, str) or not Path(path).exists():
        return None
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _run(jobs: Sequence[Job], settings: BuildSettings, workers: int, run: Runner) -> list[SceneFailure]:
    """Do all jobs; one failure for each scene that has any."""
    failed: dict[int, SceneFailure] = {}
    todo = [job for job in jobs if written_part(job.stem) is None]
    chips = sum(job.part.last - job.part.first for job in jobs)
    with tqdm(total=chips, unit="chip", desc="chips") as progress:
        progress.update(chips - sum(job.part.last - job.part.first for job in todo))
        for job, result in run(partial(do_job, settings=settings, schemas=SCHEMAS), todo, workers):
            row = job.part.row
            if isinstance(result, Crash):
                reason = "the process that worked on it died, for want of memory or by a fault in a library"
                result = f"{shown(row.scene)}: {reason}"
            if result is not None:
                failed.setdefault(row.number, SceneFailure(row, result))
            progress.update(job.part.last - job.part.first)
    return list(failed.values())


def _whole_scenes(
    found: Sequence[Surveyed], jobs: Sequence[Job], failures: list[SceneFailure], settings: BuildSettings
) -> tuple[list[Surveyed], dict[int, list[WrittenPart]]]:
    """The scenes of which all parts are there, and the parts by row; scenes without any chip join the failures."""
    failed = {failure.row.number for failure in failures}
    parts: dict[int, list[WrittenPart]] = {}
    for job in jobs:
        if job.part.row.number not in failed:
            part = written_part(job.stem)
            assert part is not None, job.stem
            parts.setdefault(job.part.row.number, []).append(part)
    for scene in found:
        number = scene.row.number
        if number in parts and not sum(part.counts.get("chips", 0) for part in parts[number]):
            share = f"more than {settings.max_nodata:.0%}"
            reason = f"no chip holds enough data: {share} of each of its {scene.chips} chips is nodata"
            failures.append(SceneFailure(scene.row, f"{shown(scene.row.scene)}: {reason}"))
            del parts[number]
    return [scene for scene in found if scene.row.number in parts], parts


def _write_shards(
    out: Path, splits: dict[str, str], scenes: Sequence[Surveyed], parts: dict[int, list[WrittenPart]]
) -> dict[str, int]:
    shards: dict[str, int] = {}
    for config in CONFIGS:
        for split in SPLITS:
            members = [part for scene in scenes if splits[scene.row.id] == split for part in parts[scene.row.number]]
            files = [part.file(config) for part in members if part.rows[config]]
            shards |= {
                path.relative_to(out).as_posix(): rows
                for path, rows in write_shards(out / config, split, files, SCHEMAS[config]).items()
            }
        if not any((out / config).iterdir()):
            (out / config).rmdir()
    return shards


def _conclude(report: Report, fingerprint: str) -> None:
    """Say in files what was built and what failed; keep the parts when something is still to be done."""
    out = report.folder
    if report.failures:
        lines = [
            {
                "id": failure.row.id,
                "row": failure.row.number,
                "scene": shown(failure.row.scene),
                "reason": failure.reason,
            }
            for failure in report.failures
        ]
        write_text_whole(out / FAILURES, "".join(json.dumps(line) + "\n" for line in lines))
        return
    (out / FAILURES).unlink(missing_ok=True)
    summary = {
        "fingerprint": fingerprint,
        "shards": report.shards,
        "counts": report.counts,
        "scenes": report.scenes,
        "read_as": report.read_as,
    }
    write_text_whole(out / FINISHED, json.dumps(summary, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(out / _PARTS)


def _finished(out: Path, fingerprint: str) -> Report | None:
    """The report of an earlier build from the same files with the same settings, all of whose shards are there."""
    try:
        summary = json.loads((out / FINISHED).read_text())
        report = Report(out, summary["shards"], summary["counts"], summary["scenes"], summary["read_as"], ())
        current = summary["fingerprint"] == fingerprint and all((out / shard).is_file() for shard in report.shards)
    # Not there, or not as it was written.
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if current:
        shutil.rmtree(out / _PARTS)
    return report if current else None
