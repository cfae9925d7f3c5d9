"""A finished dataset folder to the Hub."""

from pathlib import Path

import yaml
from huggingface_hub import HfApi

from fusargpt.errors import InputError, one_line
from fusargpt.triplets.build import FAILURES, FINISHED
from fusargpt.triplets.card import MAP, SHEET

_SHARDS = ("captions/*.parquet", "instructions/*.parquet")


def push(
    folder: str | Path, repo: str, *, private: bool = False, partly: bool = False, api: HfApi | None = None
) -> str:
    """Upload the shards, the card and its pictures; shards of an earlier upload that are no more are deleted there.

    Args:
        folder: made by `fusargpt.triplets.build.build`.
        repo: `owner/name` of a dataset, which is made where it does not exist.
        private: whether a new repository is private; an existing one stays as it is.
        partly: whether a dataset of which some scenes failed is uploaded without them.
        api: the client; None takes the Hub and the token that `hf auth login` stored.

    Returns:
        The address of the commit.

    Raises:
        InputError: a folder that no build finished, failed scenes, or what the Hub refuses.
    """
    folder = Path(folder)
    _check(folder, partly)
    api = HfApi() if api is None else api
    try:
        api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=["README.md", MAP, SHEET, FINISHED, *_SHARDS],
            delete_patterns=list(_SHARDS),
            commit_message="Upload triplets",
        )
    # The client's own errors and those of its HTTP library, whose classes differ between releases.
    except Exception as error:
        raise InputError(f"{repo}: the Hub refuses or cannot be reached: {one_line(error)}") from error
    return commit.commit_url


def _check(folder: Path, partly: bool) -> None:
    card = folder / "README.md"
    if (folder / FAILURES).is_file() and not partly:
        count = len((folder / FAILURES).read_text().splitlines())
        raise InputError(f"{folder}: scenes that failed: {count}; build again, or push without them: partly (--partly)")
    if not card.is_file():
        raise InputError(f"{folder}: no README.md; expected a folder that 'fusargpt triplets build' made")
    if not (folder / FINISHED).is_file() and not partly:
        raise InputError(f"{folder}: the build has not finished; run it again")
    try:
        text = card.read_text(encoding="utf-8").split("---\n")[1]
        # Nested aliases make gigabytes of a few lines; the builder writes none.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("aliases")
        header = yaml.safe_load(text)
        patterns = [item["path"] for config in header["configs"] for item in config["data_files"]]
        missing = [pattern for pattern in patterns if not any(folder.glob(pattern))]
    # A card that was edited: no text, no YAML, or another structure.
    except (ValueError, yaml.YAMLError, LookupError, TypeError, NotImplementedError, RecursionError) as error:
        raise InputError(f"{card}: no configs with data files in its YAML; build the folder again") from error
    if not patterns:
        raise InputError(f"{card}: names no shards; build the folder again")
    if missing:
        raise InputError(f"{folder}: the card names {missing[0]}, but there is no such file; build it again")
