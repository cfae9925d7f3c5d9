"""The models of the authors' release, by the names of their folders."""

from pathlib import Path

from fusargpt.errors import InputError

RELEASED = {
    "stage1": "describe",
    "stage2/localization": "localize",
    "stage2/counting": "count",
    "stage2/classification": "classify",
    "stage2/detection": "detect",
}
"""What each of the five answers, of `fusargpt.tasks.prompts.TASKS`: stage 2 was trained for each task alone."""
REPOSITORY = "kkcyy/FUSAR-GPT"
"""On the Hub."""


def released(folder: Path, name: str) -> Path:
    """The folder of one of the models in a download of the release.

    Args:
        folder: holds `stage1`, `stage2` or both, each with what was downloaded of it.
        name: of `RELEASED`, letter for letter.

    Raises:
        InputError: another name, or a model that was not downloaded.
    """
    if name not in RELEASED:
        raise InputError(f"--model: found {name!r}; expected one of {', '.join(RELEASED)}")
    path = folder / name
    if not path.is_dir():
        there = [other for other in RELEASED if (folder / other).is_dir()]
        found = f"found {', '.join(there)}" if there else "found none of the release's models"
        raise InputError(
            f"{path}: no such folder; {found}; get it by: hf download {REPOSITORY} --include '{name}/*' "
            f"--local-dir {folder}"
        )
    return path
