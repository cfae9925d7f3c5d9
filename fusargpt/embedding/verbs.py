"""Embedding, search and classes by labels, by the names of the commands.

Each takes the options of `fusargpt embed` as keywords, by the names of `fusargpt.embedding.settings.EmbeddingSettings`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from fusargpt.embedding.embed import Embedded
    from fusargpt.embedding.embedder import Embedder
    from fusargpt.embedding.features import Features
    from fusargpt.embedding.labels import Classified
    from fusargpt.embedding.search import Found
    from fusargpt.inference.predict import FusarGpt
    from fusargpt.scenes.result import SceneResult

_TILES = ("tile", "resolution_m", "overlap", "stretch", "decibels")
_ANCHORS = ("aef", "year", "anchors", "anchor_spacing_m", "anchor_resolution")
_READING = ("stored", "nodata", "crs", "height_m", "band", "polarization")
_ROWS = ("split", "configs")
# What an input has no use for, and how that is said.
_WITHOUT_USE = {
    "scene": (_ROWS, "a scene"),
    "files": ((*_TILES, *_ANCHORS, *_ROWS), "image files, each embedded whole with the .npz beside it"),
    "folder": ((*_TILES, *_ANCHORS, *_ROWS), "a folder of images, each embedded whole with the .npz beside it"),
    "dataset": ((*_TILES, *_ANCHORS, *_READING), "a dataset, whose rows bring image and prior"),
    "features": ((*_TILES, *_ANCHORS, *_READING, *_ROWS, "no_prior", "batch_size"), "a file of vectors"),
}


def embed(
    *sources: str | Path, out: str | Path | None = None, embedder: "Embedder | None" = None, **options: Any
) -> "Embedded":
    """The vectors of a scene's tiles, of image files, of a folder of them or of a dataset.

    Args:
        *sources: one scene (a GeoTIFF, COG or plain TIFF; a local file or an http(s), s3 or gs URL), folder or dataset
            (a folder, a Parquet file or a name on the Hub); or image files.
        out: a new .parquet file; None writes nothing.
        embedder: a model that `Embedder.load` gave; None loads the one that `model` names.
        **options: fields of `EmbeddingSettings`, such as `tile`; for a scene `aef` or `no_prior` is needed.

    Raises:
        InputError: an option, an input, a field, a model or a file that is not what it should be.
        TypeError: an option that does not exist.
    """
    names = _names(sources)
    settings = _settings(names, options)

    # Imports torch, which takes seconds; options that do not fit are told before.
    from fusargpt.embedding.embed import embed_all

    return embed_all(names, settings, None if out is None else Path(out), embedder)


def search(
    query: "str | Path | Image.Image",
    within: "str | Path | Sequence[str | Path] | Features",
    *,
    top: int = 20,
    rerank: int = 0,
    out: str | Path | None = None,
    embedder: "Embedder | None" = None,
    **options: Any,
) -> "Found":
    """What fits words, or looks like an image, best.

    Args:
        query: words; or an image, as a `Path` or as RGB.
        within: what `embed` takes, or what it gave or wrote.
        top: how many are wanted.
        rerank: so many of the best are looked at again with the words, by the model's matching head.
        out: a new folder for the places found, a heat map of a scene, and the vectors; None writes nothing.
        embedder: as of `embed`.
        **options: as of `embed`.

    Raises:
        InputError: as `embed`; an empty query, one that is too long, or vectors of another model.
        TypeError: an option that does not exist.
    """
    from fusargpt.embedding.search_run import query_of, search_all

    asked = query_of(query)
    given, names = _within(within)
    settings = _settings(names, options)
    return search_all(asked, given, names, settings, top, rerank, None if out is None else Path(out), embedder)


@overload
def classify(
    scene: str | Path,
    *,
    labels: None = None,
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    **options: Any,
) -> "SceneResult": ...


@overload
def classify(
    scene: "str | Path | Sequence[str | Path] | Features",
    *,
    labels: Sequence[str],
    prompt: str | None = None,
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    embedder: "Embedder | None" = None,
    **options: Any,
) -> "Classified": ...


def classify(
    scene: "str | Path | Sequence[str | Path] | Features",
    *,
    labels: Sequence[str] | None = None,
    prompt: str | None = None,
    out: str | Path | None = None,
    quicklook: str | Path | None = None,
    predictor: "FusarGpt | None" = None,
    embedder: "Embedder | None" = None,
    **options: Any,
) -> "SceneResult | Classified":
    """The class of each tile: one of `labels` by FUSAR-KLIP, or without them the targets' by FUSAR-GPT.

    Args:
        scene: without labels as of `fusargpt.scenes.verbs.classify`; with them whatever `search` searches.
        labels: two or more.
        prompt: of which captions are made, with {label} in it; None takes "the terrain is mostly {label}".
        out: .geojson or .gpkg, .json in pixels, or with labels a .csv table; None writes nothing.
        quicklook: PNG, of a scene; None draws none.
        predictor: a loaded FUSAR-GPT.
        embedder: a loaded FUSAR-KLIP, or another dual encoder.
        **options: without labels fields of `fusargpt.scenes.settings.SceneSettings`, with them of `EmbeddingSettings`.

    Raises:
        InputError: an option, an input, a field, a model or a file that is not what it should be.
        TypeError: an option that does not exist.
    """
    if labels is None:
        if prompt is not None or embedder is not None or not isinstance(scene, str | Path):
            raise InputError("labels: there are none; give them, or leave prompt and embedder out and name a scene")
        from fusargpt.scenes.verbs import classify as classify_targets

        return classify_targets(scene, out=out, quicklook=quicklook, predictor=predictor, **options)
    if predictor is not None:
        raise InputError("predictor: FUSAR-GPT knows no labels; hand over an embedder, or leave labels out")
    from fusargpt.embedding.label_run import label_all
    from fusargpt.embedding.labels import PROMPT, check_labels

    prompt = PROMPT if prompt is None else prompt
    check_labels(labels, prompt)
    given, names = _within(scene)
    settings = _settings(names, options)
    written, drawn = (None if path is None else Path(path) for path in (out, quicklook))
    return label_all(given, names, settings, labels, prompt, written, drawn, embedder)


def _names(sources: Sequence[str | Path]) -> list[str]:
    if not sources:
        raise InputError("images: there are none; name a scene, image files, a folder or a dataset")
    return [str(source) for source in sources]


def _within(within: "str | Path | Sequence[str | Path] | Features") -> "tuple[Features | None, list[str]]":
    """Vectors that are there already, or else the names of what is to be embedded."""
    from fusargpt.embedding.features import Features, is_features, read_features

    if isinstance(within, Features):
        return within, []
    names = _names([within] if isinstance(within, str | Path) else within)
    if len(names) == 1 and is_features(names[0]):
        return read_features(names[0]), []
    return None, names


def _settings(names: Sequence[str], options: dict[str, Any]) -> EmbeddingSettings:
    """Raises InputError for an option that the input has no use for; without names it is vectors."""
    from fusargpt.embedding.opening import kind_of

    useless, what = _WITHOUT_USE[kind_of(names) if names else "features"]
    for name in useless:
        if name in options:
            raise InputError(f"{name.replace('_', '-')}: has no use for {what}; leave it out")
    return EmbeddingSettings(**options)
