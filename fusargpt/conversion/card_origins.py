"""What a model's card takes from those of the models that it was made from: licence, base, sections, pictures."""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fusargpt.checkpoints import shipped_name
from fusargpt.conversion.model_card import (
    CARD,
    LICENCE,
    USE,
    Card,
    Form,
    Origin,
    Place,
    read_card,
    sections_of,
    write_card,
)
from fusargpt.errors import InputError
from modeling_fusargpt.artefacts import HUB_ID, Artefact, ArtefactError, read_chain

_LICENSE = ("license", "license_name", "license_link")
_PICTURE = re.compile(r"^!\[[^\]]*\]\(([^)]+)\)\s*$", re.MULTILINE)
_LINK_TO_A_FILE = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)[^)]*\)")


def shown(name: str) -> str:
    """How a card names a model or dataset: a folder without its place, which is nobody's business."""
    return (shipped_name(name) or Path(name).resolve().name) if os.path.isdir(name) else name


def read_origin(name: str, revision: str = "main") -> Origin:
    """What is known of the model `name`, a folder or a Hub id, by its own card and those of its bases.

    Nothing, of one that cannot be read any more: what was made from it in hours is not lost for that.
    """
    try:
        return _origin(_chain(name, revision))
    except (OSError, ArtefactError):
        return Origin(shown(name), _place(name))


def write_carried_card(source: str, folder: Path, title: str, form: Form, summary: str) -> None:
    """The card of a model that says again what another one knows, as after merging.

    Sections about training, data and scores are those of `source`; scores leave the header, since they were measured on
    other weights.

    Args:
        source: folder or Hub id of the model it was made from.
        folder: where its card and the pictures in it are written.
        title, form, summary: of `Card`.
    """
    chain = _chain(source)
    whole, base = _origin(chain), _origin(chain[1:] or chain)
    # The base is what remains where an adapter has gone into its weights, and what an adapter goes onto.
    origin = replace(whole if form in ("whole", "klip") else base, hub=base.hub, license=whole.license)
    known, text = _card(chain[0])
    kept = {heading: part for heading, part in sections_of(text).items() if heading not in (USE, LICENCE)}
    sections = {heading: _without_links(part, chain[0], folder) for heading, part in kept.items()}
    card = Card(
        title,
        form,
        f"{summary} What is said below of its training and scores is of `{whole.name}`." if sections else summary,
        origin,
        sections,
        tags=[tag for tag in known.get("tags") or () if tag != "lora"],
        datasets=known.get("datasets") or (),
    )
    write_card(folder, card)


def _chain(name: str, revision: str = "main") -> list[Artefact]:
    return read_chain(name, {"revision": revision})


def _origin(chain: Sequence[Artefact]) -> Origin:
    headers = [_card(one)[0] for one in chain]
    hubs = [_hub_id(one, header) for one, header in zip(chain, headers, strict=True)]
    licensed = next((header for header in headers if header.get("license")), {})
    name = chain[0].name
    return Origin(
        shown(name),
        _place(name),
        next((hub for hub in hubs if hub), None),
        {key: licensed[key] for key in _LICENSE if isinstance(licensed.get(key), str)},
    )


def _place(name: str) -> Place:
    if os.path.isdir(name):
        return "package" if shipped_name(name) else "folder"
    return "hub" if HUB_ID.fullmatch(name) else "folder"


def _card(artefact: Artefact) -> tuple[Mapping[str, Any], str]:
    """Empty where there is none, none that can be read, or no way to the Hub."""
    try:
        path = artefact.find(CARD)
        return ({}, "") if path is None else read_card(Path(path))
    except (InputError, OSError, ArtefactError):
        return {}, ""


def _hub_id(artefact: Artefact, header: Mapping[str, Any]) -> str | None:
    if not os.path.isdir(artefact.name):
        return artefact.name
    named = header.get("base_model")
    names = named if isinstance(named, list) else [named]
    return next((name for name in names if isinstance(name, str) and HUB_ID.fullmatch(name)), None)


def _without_links(text: str, source: Artefact, folder: Path) -> str:
    """Pictures are copied, or left out where they are not there; links to other files of the source become text."""

    def copied(match: re.Match[str]) -> str:
        name = match[1]
        path = source.find(name) if name == Path(name).name else None
        if path is None:
            return match[0] if name.startswith("https://") else ""
        shutil.copyfile(path, folder / name)
        return match[0]

    return _LINK_TO_A_FILE.sub(r"\1", _PICTURE.sub(copied, text))


__all__ = ["read_origin", "shown", "write_carried_card"]
