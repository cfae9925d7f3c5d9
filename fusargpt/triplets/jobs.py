"""One job of a build: a stretch of a scene becomes a part file. What a worker imports, and so without `datasets`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from fusargpt.triplets.scene_rows import Part, chips_of
from fusargpt.triplets.settings import BuildSettings
from fusargpt.triplets.shards import PartWriter, written_part
from fusargpt.triplets.survey import SceneFailure
from fusargpt.triplets.workers import Crash


@dataclass(frozen=True)
class Job:
    """A part and where its files go, as a path without suffix."""

    part: Part
    stem: Path


Runner = Callable[[Callable[[Job], str | None], Iterable[Job], int], Iterator[tuple[Job, str | Crash | None]]]
"""Runs a function on jobs on so many workers, as `fusargpt.triplets.workers.run_all` does."""


def do_job(job: Job, settings: BuildSettings, schemas: Mapping[str, pa.Schema]) -> str | None:
    """Write one part unless it is there already; returns why it cannot be, or None."""
    if written_part(job.stem) is not None:
        return None
    try:
        writer = PartWriter(job.stem, schemas)
        counts: Counter[str] = Counter()
        read_as = ""
        for chip in chips_of(job.part, settings):
            writer.add("captions", chip.captions)
            writer.add("instructions", chip.instructions)
            counts += chip.counts
            read_as = read_as or chip.read_as
        writer.finish(counts, read_as)
    # Whatever it is, it must not cost the other scenes.
    except Exception as error:
        return SceneFailure.of(job.part.row, error).reason
    return None
