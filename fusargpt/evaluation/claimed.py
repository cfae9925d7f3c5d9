"""The folder of a benchmark, for one run of one benchmark alone."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fusargpt.errors import InputError
from fusargpt.files import held, output_file, reason
from fusargpt.inference.journal import check_same

SETTINGS = "settings.json"
RUN = "an evaluation"
"""What wrote a folder, for messages."""
_LOCK = ".lock"


@contextmanager
def claimed(out: Path, settings: Mapping[str, object]) -> Generator[None]:
    """The folder is this benchmark's, for this run alone, while the block runs.

    Args:
        out: new, empty, or begun with the same settings.
        settings: all that the result depends on, as plain JSON.

    Raises:
        InputError: a folder that holds something else, that another run is at work on, or that cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: a file; choose another place")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder ({reason(error)}); choose another place") from error
    with held(out / _LOCK, out):
        _claim(out, settings)
        yield


def _claim(out: Path, settings: Mapping[str, object]) -> None:
    path = out / SETTINGS
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: a damaged file; choose another place or remove the folder") from error
        check_same(str(out), found, settings, RUN)
        return
    if any(found.name != _LOCK for found in out.iterdir()):
        raise InputError(f"{out}: not empty, and no evaluation; choose another place")
    with output_file(path, "make room, or choose another place") as partial:
        partial.write_text(json.dumps(settings, indent=1), encoding="utf-8")
