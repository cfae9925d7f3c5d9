"""The rows that are asked: a dataset of triplet records in a folder, a Parquet file or on the Hub, or the simulator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from datasets import Dataset, Image, concatenate_datasets, get_dataset_config_names, load_dataset
from tqdm import tqdm

from fusargpt.checkpoints import shipped
from fusargpt.errors import InputError, one_line
from fusargpt.files import read_regular
from fusargpt.geo.embeddings import EMBEDDING_SIZE, dequantize
from fusargpt.geo.image import open_picture, to_rgb
from fusargpt.geo.prior import PRIOR_COLUMNS, PRIOR_EMBEDDINGS, PRIOR_POSITIONS, Prior
from fusargpt.inference.questions import Failure
from fusargpt.inference.read_split import read_split
from fusargpt.simulator.records import SPLIT_SEEDS, records
from fusargpt.simulator.simulated_scene import simulate_scene
from fusargpt.tasks.prompts import TASKS, check_question
from fusargpt.triplets.features import RECORD_FEATURES
from modeling_fusargpt.artefacts import HUB_ID

SIMULATOR = "simulator"
"""The name under which scenes are simulated instead of read; `./simulator` is a folder."""
SIMULATED_SCENES = 500
"""As many as are simulated where no limit is given."""
QUESTION_COLUMNS = ("id", "image", "task", "prompt", "completion")


@dataclass(frozen=True)
class RowName:
    """A row that can be told from the others: its number in the dataset, its id and its task."""

    number: int
    id: str
    task: str


def name_rows(rows: Dataset, tasks: Sequence[str] | None) -> tuple[list[RowName], list[Failure]]:
    """The rows of `tasks` by their names, in their order; None takes all tasks.

    Returns:
        The rows, and those that cannot be told from others or ask nothing that is known: without an id, with that of an
        earlier row, or (where all tasks are taken) of a task that there is not.
    """
    named: list[RowName] = []
    failures: list[Failure] = []
    seen: dict[str, int] = {}
    for number, (name, task) in enumerate(zip(rows["id"], rows["task"], strict=True)):
        if tasks is not None and task not in tasks:
            continue
        shown = f"row {number}" if name is None or not str(name).strip() else str(name)
        if shown != str(name):
            failures.append(Failure(shown, f"id: found {name!r}; expected a text"))
        elif shown in seen:
            failures.append(Failure(f"row {number}", f"id: {shown!r} is that of row {seen[shown]} already"))
        elif task not in TASKS:
            failures.append(Failure(shown, f"task: found {task!r}; expected one of {', '.join(TASKS)}"))
        else:
            seen[shown] = number
            named.append(RowName(number, shown, task))
    return named, failures


def only_message(row: Mapping[str, Any], column: str, role: str) -> str:
    """The text of the one message that a column of a row holds; raises InputError for anything else."""
    turns = row[column]
    first = turns[0] if isinstance(turns, list) and len(turns) == 1 else None
    if not isinstance(first, Mapping) or first.get("role") != role:
        raise InputError(f"{column}: expected one message, of the {role}")
    if not isinstance(first.get("content"), str):
        raise InputError(f"{column}: expected a message whose content is a text")
    return first["content"]


def question_of(row: Mapping[str, Any]) -> str:
    """What a row asks; raises InputError for a prompt that is not one question of the user."""
    question = only_message(row, "prompt", "user")
    check_question(question, "prompt")
    return question


def load_rows(
    name: str, configs: Sequence[str] | None, split: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Dataset:
    """All rows of a split with `columns`, images undecoded, of one config after the other.

    Args:
        name: a folder, a Parquet file, or a dataset on the Hub.
        configs: None takes all there are. A Parquet file has none.
        split: as the dataset names it. A Parquet file is the split that is asked for.
        columns: in each config; others are left out.
        optional: columns that are taken along where all configs have them.

    Raises:
        InputError: no such dataset, config or split, a column that is missing, no rows, or files that cannot be read.
    """
    name = shipped(name)
    # The Hub would be asked, and again, before it is said.
    if not Path(name).exists() and not HUB_ID.fullmatch(name):
        raise InputError(
            f"{name}: there is no such folder; expected a dataset's folder, Parquet or Hub name (owner/name)"
        )
    try:
        if name.endswith(".parquet") and Path(name).is_file():
            parts = {name: load_dataset("parquet", data_files={split: name}, split=split)}
        else:
            chosen = configs or get_dataset_config_names(name)
            parts = {f"{name}, config {config}": read_split(name, config, split) for config in chosen}
        return _joined(parts, columns, optional)
    except InputError:
        raise
    # What datasets, pyarrow and the Hub's client raise on names and files that are not as they should be: of any type.
    except Exception as error:
        raise InputError(f"{name}: split {split!r} cannot be read: {one_line(error)}") from error


def simulated_rows(split: str, tasks: Sequence[str], scenes: int) -> Dataset:
    """`scenes` scenes of the simulator's `split`, each asked all of `tasks` once.

    Raises:
        InputError: a split that the simulator has not.
    """
    if split not in SPLIT_SEEDS:
        raise InputError(f"split: found {split!r}; the simulator has {', '.join(SPLIT_SEEDS)}")
    first = SPLIT_SEEDS[split]
    seeds = tqdm(range(first, first + scenes), desc="simulating", unit="scene", disable=None, leave=False)
    rows: list[dict[str, object]] = [row for seed in seeds for row in records(simulate_scene(seed), tasks)]
    return _undecoded(Dataset.from_list(rows, features=RECORD_FEATURES))


def read(
    name: str, configs: Sequence[str] | None, split: str, tasks: Sequence[str] | None, limit: int | None, prior: bool
) -> Dataset:
    """The rows of `load_rows` or `simulated_rows`, whichever `name` means; with the prior's columns where asked."""
    if name != SIMULATOR:
        return load_rows(name, configs, split, (*QUESTION_COLUMNS, *(PRIOR_COLUMNS if prior else ())))
    if configs:
        raise InputError(f"config: found {', '.join(configs)}; the simulator has none, choose with tasks (--tasks)")
    return simulated_rows(split, tasks or TASKS, limit or SIMULATED_SCENES)


def _joined(parts: dict[str, Dataset], columns: Sequence[str], optional: Sequence[str]) -> Dataset:
    for title, part in parts.items():
        missing = [column for column in columns if column not in part.column_names]
        if missing:
            raise InputError(
                f"{title}: no column {', '.join(missing)}; found {', '.join(part.column_names)}; expected a dataset of "
                "triplet records (without the prior's columns only with the prior none (--prior none))"
            )
        if not len(part):
            raise InputError(f"{title}: the split has no rows")
    also = [column for column in optional if all(column in part.column_names for part in parts.values())]
    return concatenate_datasets([_undecoded(part.select_columns([*columns, *also])) for part in parts.values()])


def _undecoded(rows: Dataset) -> Dataset:
    """Images as bytes: most are read when they are asked about, all are hashed before."""
    return rows.cast_column("image", Image(decode=False)) if "image" in rows.column_names else rows


class SharedReading:
    """Reads pictures and priors of rows; rows in succession about one image get the same objects, so that a model
    encodes it once."""

    def __init__(self) -> None:
        self._file = b""
        self._picture: PIL.Image.Image | None = None
        self._prior: Prior | None = None

    def picture(self, row: Mapping[str, object]) -> PIL.Image.Image:
        """As `read_picture`; the last one again for a file that is the same byte for byte."""
        file = image_bytes(row)
        if self._picture is None or file != self._file:
            self._file, self._picture = file, read_picture(row)
        return self._picture

    def prior(self, row: Mapping[str, object]) -> Prior | None:
        """As `read_prior`; the last one again where its values are the same."""
        found, last = read_prior(row), self._prior
        if (
            found is None
            or last is None
            or not (
                np.array_equal(found.embeddings, last.embeddings) and np.array_equal(found.positions, last.positions)
            )
        ):
            self._prior = found
        return self._prior


def read_picture(row: Mapping[str, object]) -> PIL.Image.Image:
    """The image of a row in RGB; raises what `fusargpt.geo.image.open_picture` raises, OSError for a damaged one."""
    with open_picture(image_bytes(row)) as image:
        return to_rgb(image)


def read_prior(row: Mapping[str, object]) -> Prior | None:
    """The prior of a row; None for one without anchors. Raises InputError or ValueError for a wrong one."""
    embeddings = np.asarray(row[PRIOR_EMBEDDINGS])
    if embeddings.size == 0:
        return None
    if embeddings.dtype.kind == "i" and embeddings.min() >= -128 and embeddings.max() <= 127:
        embeddings = dequantize(embeddings.astype(np.int8))
    if embeddings.ndim != 2 or embeddings.shape[1] != EMBEDDING_SIZE:
        raise InputError(f"prior_embeddings: found shape {list(embeddings.shape)}; expected [S, {EMBEDDING_SIZE}]")
    return Prior(embeddings.astype(np.float32), np.asarray(row[PRIOR_POSITIONS], np.float32))


def image_bytes(row: Mapping[str, Any]) -> bytes:
    """The file of a row's image; raises InputError where there is none, OSError where it cannot be read."""
    stored = row["image"]
    if stored is None:
        raise InputError("image: there is none")
    return read_regular(stored["path"]) if stored["bytes"] is None else stored["bytes"]
