"""A model's folder to the Hub: what it takes to use the model and its card, and nothing of its training."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from fusargpt.checkpoints import HUB_ID
from fusargpt.conversion.model_card import CARD, FENCE, NAME_LINE, read_card
from fusargpt.errors import InputError, one_line

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
BASE = "base_model_name_or_path"
# What transformers, peft and this package write of a model and read again.
_FILES = (
    *(CARD, "LICENSE*", "NOTICE*", CONFIG, ADAPTER_CONFIG, "generation_config.json"),
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *("tlm.safetensors", "adapter_model.safetensors"),
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "chat_template.*"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*"),
    "merges.txt",
)
_CODE = "*.py"
# Asked for by --training: it holds pickles, and paths of the machine that trained.
_TRAINING = ("trainer_state.json", "training_args.bin", "unreadable.json", "checkpoint-*/*")
_RELATIVE_IMPORT = re.compile(r"^\s*from\s+\.(\w+)\s+import", re.MULTILINE)
_PICTURE = re.compile(r"!\[[^\]]*\]\(([\w.-]+)\)")
_PLACEHOLDERS = ("More Information Needed", "fine-tuned version of [None]")


def push(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    base: str | None = None,
    training: bool = False,
    api: HfApi | None = None,
) -> str:
    """Upload a model in one commit; files of an earlier model in the repository that are no more are deleted there.

    Args:
        folder: of a whole model, a TLM, an adapter or a FUSAR-KLIP, with its card.
        repo: `owner/name` of a model, which is made where it does not exist. The card's snippet then names it.
        private: whether a new repository is private; an existing one stays as it is.
        base: `owner/name` of the base on the Hub, put in the place of a folder that a TLM or an adapter names; written
            into the card, too.
        training: upload checkpoints and what was logged as well.
        api: the client; None takes the Hub and the token that `hf auth login` stored.

    Returns:
        The address of the commit.

    Raises:
        InputError: a folder that holds no whole model of these kinds, a card that is missing or not filled in, a base
            that others cannot find, or what the Hub refuses.
    """
    folder = Path(folder)
    for name, what in ((repo, "repository"), (base, "--base")):
        if name is not None and not HUB_ID.fullmatch(name):
            raise InputError(f"{what}: found {name}, expected owner/name on the Hub")
    changed = _check(folder, repo, base)
    paths = _chosen(folder, (*_FILES, *_TRAINING) if training else _FILES, changed[CARD])
    api = HfApi() if api is None else api
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        there = api.list_repo_files(repo)
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(name, _content(changed.get(name), path)) for name, path in paths.items()),
                *(
                    CommitOperationDelete(name)
                    for name in there
                    if _is_ours(name, (*_FILES, _CODE)) and name not in paths
                ),
            ],
            commit_message="Upload model",
        )
    # The client's own errors and those of its HTTP library, whose classes differ between releases.
    except Exception as error:
        raise InputError(f"{repo}: the Hub refuses or cannot be reached: {one_line(error)}") from error
    return commit.commit_url


def _content(text: str | None, path: Path) -> str | bytes:
    return str(path) if text is None else text.encode()


def _is_ours(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def _chosen(folder: Path, patterns: Iterable[str], card: str) -> dict[str, Path]:
    """The files to upload by their names there: those of `patterns`, the model's code, and the pictures of the card."""
    wanted = [*patterns, *_code(folder), *_PICTURE.findall(card)]
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {name: path for path in found if _is_ours(name := path.relative_to(folder).as_posix(), wanted)}


def _code(folder: Path) -> set[str]:
    """The files that `trust_remote_code` reads: those that configurations name, and what these import beside them."""
    named: list[object] = []
    for name in (CONFIG, "processor_config.json", "tokenizer_config.json"):
        auto_map = _read(folder / name).get("auto_map") if (folder / name).is_file() else None
        named += auto_map.values() if isinstance(auto_map, dict) else ()
    # A tokenizer has two classes, of which one may be missing; another repository's code is that repository's.
    references = [one for value in named for one in (value if isinstance(value, list) else [value])]
    waiting = {f"{one.split('.')[0]}.py" for one in references if isinstance(one, str) and "--" not in one}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; expected the model's code, which its configuration names")
        found.add(name)
        imported = _RELATIVE_IMPORT.findall((folder / name).read_text(encoding="utf-8", errors="replace"))
        waiting |= {f"{module}.py" for module in imported}
    return found


def _check(folder: Path, repo: str, base: str | None) -> dict[str, str]:
    """The text of the files that are uploaded otherwise than they are here, the card among them."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one of a model")
    if unfinished := sorted(path.name for path in folder.glob("partial-*")):
        raise InputError(f"{folder}: holds {unfinished[0]}, which a run has not finished; run it again to its end")
    adapter = (folder / ADAPTER_CONFIG).is_file()
    if not adapter and not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: found neither {CONFIG} nor {ADAPTER_CONFIG}; expected the folder of a model")
    config = _read(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    tlm = not adapter and config.get("weights") == "tlm"
    for name in _weights(folder, "tlm" if tlm else "adapter" if adapter else "whole"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no {name}; expected the model's weights")
    changed = {CARD: _checked_card(folder / CARD, repo, base)}
    if tlm or adapter:
        name, revision = (ADAPTER_CONFIG, "revision") if adapter else (CONFIG, "base_model_revision")
        settings = _read(folder / name)
        found = settings.get(BASE)
        if base is not None:
            changed[name] = json.dumps({**settings, BASE: base, revision: None}, indent=2) + "\n"
        elif not isinstance(found, str) or not HUB_ID.fullmatch(found) or found.startswith(".") or os.path.isdir(found):
            raise InputError(
                f"{folder / name}: {BASE}: found {found}, expected owner/name on the Hub, where others find it; push "
                "the base, and name it: --base owner/name"
            )
    return changed


def _weights(folder: Path, form: str) -> Iterator[str]:
    if form != "whole":
        yield "tlm.safetensors" if form == "tlm" else "adapter_model.safetensors"
        return
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        yield "model.safetensors"
        return
    shards = _read(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InputError(f"{index}: no weight_map; expected the names of weights and their files")
    yield from sorted({str(name) for name in shards.values()})


def _checked_card(path: Path, repo: str, base: str | None) -> str:
    """The card as it is uploaded: its snippet names the repository, its header the base."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the model's card, as training, merge and convert write it")
    header, text = read_card(path)
    for placeholder in _PLACEHOLDERS:
        if placeholder in text:
            raise InputError(f"{path}: found {placeholder!r}; write what is known there, or take the line out")
    if base is not None:
        header["base_model"] = base
    for name, known in (("base_model", HUB_ID), ("datasets", re.compile(rf"{HUB_ID.pattern}|[\w.-]+"))):
        values = header.get(name) or []
        for value in [values] if isinstance(values, str) else cast(Iterable[object], values):
            if not isinstance(value, str) or not known.fullmatch(value) or value.startswith("."):
                raise InputError(f"{path}: {name}: found {value!r}, expected owner/name on the Hub; mend its header")
    text = NAME_LINE.sub(f'name = "{repo}"', text, count=1)
    return f"{FENCE}{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}{FENCE}{text}"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {type(content).__name__}, expected a JSON object")
    return cast(Mapping[str, Any], content)


__all__ = ["push"]
