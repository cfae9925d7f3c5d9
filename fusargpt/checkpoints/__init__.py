"""The checkpoints that travel with the package, and what travels with it beside them, by name.

A Python package only so that the folder is found in the same way from a clone, from an editable install and from a
wheel: beside this file.
"""

import json
import re
from difflib import get_close_matches
from pathlib import Path

from fusargpt.errors import InputError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
"""As in modeling_fusargpt.artefacts, whose import takes seconds."""

MINI = Path(__file__).resolve().parent / "fusargpt-mini"
"""Folder of fusargpt-mini, which has seen real SAR: model, processor and model card, loadable by `from_pretrained`."""

NANO = MINI.with_name("fusargpt-nano")
"""Folder of fusargpt-nano, the test bed, which has seen simulated scenes alone; likewise."""

NANO_BACKBONE = NANO.with_name("fusargpt-nano-backbone")
"""Folder of nano before both stages: what they, and the ablation, start from."""

NANO_SSDD = NANO.with_name("fusargpt-nano-ssdd")
"""Folder of a LoRA adapter on nano, fine-tuned on real SAR chips with ships; names nano by its relative path."""

KLIP_NANO = NANO.with_name("fusarklip-nano")
"""Folder of fusarklip-nano, which embeds images and texts."""

DEFAULT = MINI
"""What every command and page takes where no model is named."""

SHIPPED = {
    **{folder.name: folder for folder in (MINI, NANO, NANO_BACKBONE, NANO_SSDD, KLIP_NANO)},
    "dataset_card": Path(__file__).resolve().parents[2] / "dataset_card",
}
"""Models, and the sample of a dataset, that can be named from any folder."""


def shipped(name: str) -> str:
    """The path of what comes with the package by that name, unless a file or folder here has it; else `name` itself."""
    return str(SHIPPED[name]) if name in SHIPPED and not Path(name).exists() else name


def shipped_name(path: str | Path) -> str | None:
    """The name by which the folder `path` comes with the package; None for any other."""
    folder = Path(path).resolve()
    return next((name for name, place in SHIPPED.items() if place == folder), None)


def name_of(model: str) -> str:
    """What a model is called: a folder by its name, as "fusargpt-mini", a model on the Hub as it is there."""
    return Path(model).absolute().name if Path(model).is_dir() else model


def targets_of(model: str) -> tuple[str, ...] | None:
    """The classes that a model folder says it knows; None where it says nothing, or must be loaded to be read."""
    try:
        found = json.loads((Path(model) / "processor_config.json").read_bytes())["targets"]
    # What is damaged is told when the model is loaded.
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    known = found if isinstance(found, list) else []
    names = tuple(name for name in known if isinstance(name, str))
    return names if names and len(names) == len(known) else None


def check_model_name(name: str) -> None:
    """Raises InputError for what can be neither a model folder nor a model on the Hub; nothing is opened or asked."""
    if not name.strip():
        raise InputError("model: found an empty name; expected a model folder or the Hub's owner/name")
    folder = Path(name)
    if folder.is_dir():
        return
    if folder.exists():
        raise InputError(f"{name}: a file; expected a model folder or the Hub's owner/name")
    if folder.parts[0] in (".", "..", "~") or Path(folder.parts[0]).is_dir() or not HUB_ID.fullmatch(name):
        close = get_close_matches(name, SHIPPED, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{name}: no such model folder; expected one, or the Hub's owner/name{meant}")
