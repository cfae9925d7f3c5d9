"""A scene, images or vectors from what a user names to classes in a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import rasterio

from fusargpt.embedding.embed import embed_source
from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.features import Features
from fusargpt.embedding.labels import Classified, check_suffix, classify_features
from fusargpt.embedding.opening import kind_of
from fusargpt.embedding.search_run import embedder_for
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.errors import InputError
from fusargpt.geo.sar_scene import SarScene
from fusargpt.geo.scene_picture import scene_picture
from fusargpt.inference.questions import Failure
from fusargpt.scenes import quicklook
from fusargpt.scenes.ask_scene import GDAL_CACHE_MB
from fusargpt.scenes.quicklook import Drawn
from fusargpt.scenes.run_files import check_new, check_outputs, forget_journal, held_output
from fusargpt.scenes.writing import format_of


def label_all(
    features: Features | None,
    names: Sequence[str],
    settings: EmbeddingSettings,
    labels: Sequence[str],
    prompt: str,
    out: Path | None,
    picture: Path | None,
    embedder: Embedder | None,
) -> Classified:
    """The classes of vectors, or of what `names` name, which is embedded first.

    Beside `out` lies a journal while images are missing: the same call goes on where it stopped.

    Raises:
        InputError: an input, a field, a model or a file that is not what it should be.
    """
    if out is not None:
        check_suffix(out)
    kind = kind_of(names) if features is None else "features"
    if picture is not None and kind != "scene":
        raise InputError(f"quicklook: {picture.name} is of a scene; leave it out, or name a scene")
    with held_output(out):
        check_outputs(_file_of(features, names), out, picture)
        check_new(out, picture)
        if kind == "scene":
            _check_map(names[0], settings, out)
        embedder = embedder_for(features, settings, embedder)
        failures: list[Failure] = []
        if features is None:
            embedded = embed_source(names, settings, embedder, out)
            features, failures = embedded.features, embedded.failures
        result = classify_features(features, labels, prompt, embedder, failures)
        files: list[Path] = []
        if out is not None:
            result.write(out)
            files.append(out)
        if picture is not None:
            _draw(names[0], settings, result, picture)
            files.append(picture)
        if not failures:
            forget_journal(out)
    return replace(result, files=tuple(files))


def _file_of(features: Features | None, names: Sequence[str]) -> str:
    return names[0] if features is None else str(features.provenance.get("file", ""))


def _check_map(name: str, settings: EmbeddingSettings, out: Path | None) -> None:
    """Raises InputError for a map of a scene without a place, before it is embedded."""
    if out is not None and out.suffix.lower() in (".geojson", ".gpkg", ".parquet"):
        with SarScene.open(name, settings.reading) as scene:
            format_of(out, "classify", scene)


def _draw(name: str, settings: EmbeddingSettings, result: Classified, path: Path) -> None:
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB), SarScene.open(name, settings.reading) as scene:
        stretch = scene.stretch(decibels=settings.decibels)
        title = f"{len(result.labels)} classes in {PurePath(name).name}"
        drawn = Drawn(title, [f"by {result.prompt!r}"], colours=result.colours())
        picture = quicklook.draw(scene_picture(scene, stretch), result.places(), drawn, scene.geometry)
    quicklook.save(path, picture)
