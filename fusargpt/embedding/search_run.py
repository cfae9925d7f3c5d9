"""A search from what a user names to what was found in a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from fusargpt.embedding.embed import embed_source
from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.features import Features
from fusargpt.embedding.found_files import FILES, write_found
from fusargpt.embedding.model_folder import model_of_label
from fusargpt.embedding.search import Found, Query, check_numbers, check_rerank, search_in
from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.files import check_free, new_folder
from fusargpt.geo.image import read_image, to_rgb
from fusargpt.inference.questions import Failure
from fusargpt.scenes.run_files import forget_journal, held_output, journal_path


def query_of(query: str | Path | Image.Image) -> Query:
    """Words, or an image, as it is or from a file. InputError for an empty one, and as `read_image`."""
    if isinstance(query, Path):
        return Query(image=read_image(query), name=query.name)
    return Query(image=to_rgb(query), name="image") if isinstance(query, Image.Image) else Query(text=query)


def search_all(
    query: Query,
    features: Features | None,
    names: Sequence[str],
    settings: EmbeddingSettings,
    top: int,
    rerank: int,
    out: Path | None,
    embedder: Embedder | None,
) -> Found:
    """Search vectors, or what `names` name, which is embedded first.

    Beside `out` lies a journal while images are missing: the same call goes on where it stopped.

    Raises:
        InputError: an input, a field, a model, a query or a folder that is not what it should be.
    """
    check_numbers(query, top, rerank)
    with held_output(out):
        if out is not None:
            _make_free(out)
        embedder = embedder_for(features, settings, embedder)
        check_rerank(rerank, embedder)
        # What is wrong with the words is said before a scene is embedded.
        if query.text is not None:
            embedder.texts([query.text])
        failures: list[Failure] = []
        given = features
        if features is None:
            embedded = embed_source(names, settings, embedder, out)
            features, failures = embedded.features, embedded.failures
        found = search_in(features, query, embedder, top, rerank)
        found = replace(found, failures=[*failures, *found.failures])
        if out is None:
            return found
        with new_folder(out) as folder:
            write_found(found, folder, with_features=given is None)
        if not failures:
            forget_journal(out)
    return replace(found, files=tuple(sorted(out.iterdir())))


def embedder_for(features: Features | None, settings: EmbeddingSettings, embedder: Embedder | None) -> Embedder:
    """The one that is there, or the model that is named; of vectors, where none is named, theirs."""
    if embedder is not None:
        return embedder
    unnamed = settings.model == EmbeddingSettings().model
    name = model_of_label(features.model) if features is not None and unnamed else settings.model
    return Embedder.load(name, settings.device)


def _make_free(out: Path) -> None:
    """What a run left in which images failed is replaced; anything else is in the way. InputError says so."""
    if journal_path(out).is_file() and out.is_dir():
        for name in FILES:
            (out / name).unlink(missing_ok=True)
    check_free(out)
