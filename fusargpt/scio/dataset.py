"""Rows of `captions` that are cleaned: read from a dataset, halved by place, and written with what became of parts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, get_dataset_config_names

from fusargpt.captioning.rows import CONFIG, caption_text, doubted_answer
from fusargpt.errors import InputError, one_line
from fusargpt.geo.prior import Prior
from fusargpt.inference.rows import image_bytes, load_rows, read_picture, read_prior
from fusargpt.scio.parts import Caption, columns_of, read_caption
from fusargpt.scio.settings import HALVES
from fusargpt.tasks.facts import (
    DIMENSIONS,
    DOUBTED_COLUMN,
    LANDFORM_COLUMN,
    PART_SOURCE_COLUMN,
    PART_WEIGHT_COLUMN,
    TARGET_COLUMN,
    doubted_phrases,
)
from fusargpt.tasks.questions import conversation
from fusargpt.triplets.features import CAPTION_FEATURES, DOUBTED_FEATURE
from fusargpt.triplets.shards import PartWriter, write_shards
from fusargpt.triplets.splits import Located, split_by_place
from modeling_fusargpt.artefacts import HUB_ID

SCIO_FEATURES = Features(
    {
        **CAPTION_FEATURES,
        PART_WEIGHT_COLUMN: List(Value("float32"), length=len(DIMENSIONS)),
        "part_origin": List(Value("string"), length=len(DIMENSIONS)),
        PART_SOURCE_COLUMN: List(Value("string"), length=len(DIMENSIONS)),
        "scio_round": Value("int32"),
        DOUBTED_COLUMN: DOUBTED_FEATURE,
    }
)
ACQUISITION_COLUMNS = ("resolution_m", "sensor", "polarization", "acquired", "bounds", "crs")
_PARTS = ".parts"


class CaptionRows:
    """The rows of one split.

    Args:
        name: a folder, a Parquet file, or a dataset on the Hub.
        split: as the dataset names it.
        config: of the dataset; None takes `captions` where there is one, else the first.

    Attributes:
        ids: of the rows.
        captions: as the dataset has them.

    Raises:
        InputError: no such dataset, one without both descriptions, ids that are missing or appear twice, or one that
            has been cleaned already.
    """

    def __init__(self, name: str, split: str, config: str | None) -> None:
        config = _config(name) if config is None else config
        configs = None if config is None else [config]
        columns = tuple(CAPTION_FEATURES)
        self._rows: Dataset = load_rows(name, configs, split, columns, (PART_WEIGHT_COLUMN,))
        self.name, self.split, self.config = name, split, config
        if PART_WEIGHT_COLUMN in self._rows.column_names:
            raise InputError(f"{name}: found a column {PART_WEIGHT_COLUMN}: it has been cleaned; expected its source")
        self.ids: list[str] = [str(found or "") for found in self._rows["id"]]
        self.captions: list[Caption] = []
        known: dict[str, int] = {}
        described = self._rows.select_columns([LANDFORM_COLUMN, TARGET_COLUMN])
        for number, (found, row) in enumerate(zip(self.ids, described, strict=True)):
            assert isinstance(row, Mapping)
            if not found or found in known:
                raise InputError(
                    f"{name}: row {number}: id: found {found or None!r}, expected one that no other row has"
                )
            known[found] = number
            self.captions.append(read_caption(row))
        if not any(self.captions):
            raise InputError(f"{name}: found no phrase in {LANDFORM_COLUMN} and {TARGET_COLUMN}; caption it first")

    def __len__(self) -> int:
        return len(self.ids)

    def conditions(self) -> dict[str, object]:
        """What identifies the rows, as plain JSON."""
        return {"source": self.name, "config": self.config, "split": self.split, "rows": len(self)}

    def picture(self, number: int) -> tuple[Any, Prior | None, dict[str, Any]]:
        """Image in RGB, prior and what is told of the acquisition; InputError for what cannot be read."""
        row: dict[str, Any] = dict(self._rows[number])
        try:
            return read_picture(row), read_prior(row), {name: row[name] for name in ACQUISITION_COLUMNS}
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: {self.ids[number]}: {one_line(error)}; leave the row out") from error

    def halves(self) -> dict[str, list[int]]:
        """Numbers of the rows of each half of `HALVES`; near places are in one, and so are chips of one scene.

        Raises:
            InputError: all rows are of one place.
        """
        located = [
            # Chips are called SCENE/NUMBER; without bounds nothing else tells where they lie.
            Located(name.partition("/")[0], self.name, None, None)
            if bounds is None
            else Located(name, self.name, (bounds[0], bounds[1], bounds[2], bounds[3]), None)
            for name, bounds in zip(self.ids, self._rows["bounds"], strict=True)
        ]
        places = split_by_place(located, shares=(0.5, 0.5, 0.0))
        found: dict[str, list[int]] = {half: [] for half in HALVES}
        for number, one in enumerate(located):
            found[HALVES[places[one.id] != "train"]].append(number)
        if not all(found.values()):
            raise InputError(f"{self.name}: all rows are of one place; expected places of which some can judge others")
        return found

    def rows(self, numbers: Iterable[int], captions: Sequence[Caption]) -> Iterator[dict[str, Any]]:
        """Rows with what their parts say now, but for those of which too little is left to tell them from others.

        The answer of a row whose parts have changed is told anew, without what was dropped; `doubted` has it with that.
        """
        for number in numbers:
            caption = captions[number]
            columns = columns_of(caption)
            row: dict[str, Any] = {**self._rows[number], **columns}
            row["image"] = {"bytes": image_bytes(row), "path": None}
            if any(part.origin != "source" for part in caption.values()):
                question = row["prompt"][0]["content"]
                row |= conversation("describe", question, caption_text(self.ids[number], columns))
            row[DOUBTED_COLUMN] = doubted_answer(self.ids[number], columns, doubted_phrases(columns))
            yield row

    def too_little(self, caption: Caption) -> bool:
        """Whether so much was dropped that the row says nothing that would tell its image from others."""
        try:
            caption_text("", columns_of(caption))
        except InputError:
            return True
        return False


def _config(name: str) -> str | None:
    """The config to read; None for a file, which has none, and for what cannot be read, which `load_rows` tells."""
    if not Path(name).is_dir() and (Path(name).exists() or not HUB_ID.fullmatch(name)):
        return None
    try:
        configs = get_dataset_config_names(name)
    # What datasets and the Hub's client raise, of any type.
    except Exception:
        return None
    return CONFIG if CONFIG in configs else configs[0]


def write_captions(folder: Path, rows: CaptionRows, numbers: Sequence[int], captions: Sequence[Caption]) -> int:
    """Write rows as shards with the header by which `datasets` finds them; returns how many were written."""
    useful = [number for number in numbers if not rows.too_little(captions[number])]
    schema = SCIO_FEATURES.arrow_schema
    parts = folder / _PARTS
    parts.mkdir(parents=True, exist_ok=True)
    writer = PartWriter(parts / rows.split, {CONFIG: schema})
    for row in rows.rows(useful, captions):
        writer.add(CONFIG, [row])
    writer.finish({})
    written = parts / f"{rows.split}.{CONFIG}.parquet"
    write_shards(folder / CONFIG, rows.split, [written] if written.is_file() else [], schema)
    for path in parts.iterdir():
        path.unlink()
    parts.rmdir()
    return len(useful)
