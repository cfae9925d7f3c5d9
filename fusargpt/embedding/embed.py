"""From what a user names to vectors: every image embedded, resumed by the journal, failures at the end."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.features import SUFFIX, Features, Row
from fusargpt.embedding.opening import kind_of, open_source
from fusargpt.embedding.scene_tiles import SceneTiles
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.embedding.source import Source
from fusargpt.embedding.vectors import VectorAnswerer, from_text
from fusargpt.errors import InputError, one_line
from fusargpt.geo.embeddings import ATTRIBUTION
from fusargpt.geo.remote import shown
from fusargpt.inference.asking import Asking
from fusargpt.inference.questions import Answer, Failure, Item
from fusargpt.scenes.run_files import check_new, check_outputs, forget_journal, held_output, journal_of

SHRUNK = 2
"""Times a side is scaled down, from which on an image may be a scene."""


@dataclass(frozen=True)
class Embedded:
    """What came of embedding: the vectors, the images that have none, and the file that was written."""

    features: Features
    failures: list[Failure]
    file: Path | None = None


def embed_all(
    names: Sequence[str], settings: EmbeddingSettings, out: Path | None = None, embedder: Embedder | None = None
) -> Embedded:
    """Embed a scene, image files, a folder of them or a dataset.

    Beside `out` lies a journal, `.NAME.journal.jsonl`, while images are missing: the same call goes on where it
    stopped, and tries again what failed.

    Args:
        names: of one of these, or of several image files.
        settings: how they are read.
        out: a new .parquet file; None writes nothing and keeps no journal.
        embedder: a loaded model; None loads the one that the settings name.

    Raises:
        InputError: an input, a field or a model that is not what it should be, a file that is there already, another
            run that writes it, or nothing that could be embedded. A single image that fails is reported in the result.
    """
    if out is not None and out.suffix != SUFFIX:
        raise InputError(f"out: found {out.name}; expected a name that ends in {SUFFIX}")
    with held_output(out):
        if out is not None:
            check_outputs(names[0], out)
            check_new(out)
        embedder = Embedder.load(settings.model, settings.device) if embedder is None else embedder
        embedded = embed_source(names, settings, embedder, out)
        if out is not None:
            embedded.features.write(out)
            if not embedded.failures:
                forget_journal(out)
    return replace(embedded, file=out)


def embed_source(names: Sequence[str], settings: EmbeddingSettings, embedder: Embedder, out: Path | None) -> Embedded:
    """The vectors alone; a journal lies beside `out`, which the caller holds and writes, and then forgets it."""
    kind = kind_of(names)
    if settings.aef is not None and not embedder.takes_prior:
        raise InputError(f"aef: {embedder.name} sees the image alone; take no_prior (--no-prior) instead")
    with open_source(names, settings, embedder.side) as source:
        if isinstance(source, SceneTiles):
            tqdm.write(f"{source.name}: {source.read_as}", sys.stderr)
        items, failures = source.items()
        side, overlap = (source.side, source.overlap) if isinstance(source, SceneTiles) else (0, 0)
        conditions = settings.conditions(names[0], side, overlap) | {"names": [*names], "model": embedder.fingerprint}
        with (
            journal_of(out, conditions) as journal,
            tqdm(total=len(items), initial=len(journal.answers), unit="image", disable=None) as progress,
        ):
            failures += Asking(
                VectorAnswerer(embedder),
                source.read,
                journal,
                batch_size=settings.batch_size,
                max_new_tokens=1,
                advance=progress.update,
            ).run(items)
            answers = journal.answers
        rows, vectors, skipped = _rows(source, items, answers, failures)
        if not rows:
            first = failures[0] if failures else Failure(source.name, "no pixel holds data")
            raise InputError(f"{source.name}: nothing could be embedded; {first.id}: {first.reason}")
        if not isinstance(source, SceneTiles):
            _tell_shrunk(rows, embedder.side)
        provenance = _provenance(source, kind, names, settings, embedder)
    provenance |= {"skipped": skipped, "failed": len(failures)}
    return Embedded(Features.of(rows, np.stack(vectors), embedder.name, embedder.fingerprint, provenance), failures)


def _rows(
    source: Source, items: Sequence[Item], answers: dict[str, Answer], failures: list[Failure]
) -> tuple[list[Row], list[np.ndarray], int]:
    """Rows with their vectors, and how many images hold no data; a row whose place is wrong is a failure, too."""
    rows: list[Row] = []
    vectors: list[np.ndarray] = []
    skipped = 0
    for item in items:
        answer = answers.get(item.id)
        if answer is None:
            continue
        if answer.skipped:
            skipped += 1
            continue
        box = source.box(item, answer)
        try:
            outline = source.outline(item, box)
        except InputError as error:
            failures.append(Failure(item.id, one_line(error)))
            continue
        rows.append(Row(item.id, source.name, box, answer.anchors or 0, answer.read_as, outline))
        vectors.append(from_text(answer.answer))
    return rows, vectors, skipped


def _tell_shrunk(rows: Sequence[Row], side: int) -> None:
    """Say on stderr how many images are scaled down so far that scenes may be among them."""
    large = sum(max(row.box) > SHRUNK * side for row in rows)
    if large:
        tqdm.write(
            f"{large:,} of {len(rows):,} images are more than {SHRUNK} times as large as the model sees them ({side} "
            "pixels), so that small things are lost; a scene that is named by itself is cut into tiles",
            sys.stderr,
        )


def _provenance(
    source: Source, kind: str, names: Sequence[str], settings: EmbeddingSettings, embedder: Embedder
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "software": f"fusargpt {version('fusargpt')}",
        "kind": kind,
        "sources": [shown(name) for name in names],
        "model": embedder.name,
        "model_hash": embedder.fingerprint,
        "options": settings.as_json(),
    }
    if isinstance(source, SceneTiles):
        scene = source.view.scene
        about |= {"scene_size": [scene.width, scene.height], "tile": source.side, "overlap": source.overlap}
        about |= {"prior": "none" if source.view.year is None else f"AlphaEarth {source.view.year}"}
        about |= {"acquired": None if scene.acquired is None else scene.acquired.isoformat()}
        if source.view.year is not None:
            about["attribution"] = ATTRIBUTION
    return about
