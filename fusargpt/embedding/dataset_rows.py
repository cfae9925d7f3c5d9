"""Images of a dataset of triplet records to embed."""

from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from typing import Any

from affine import Affine
from datasets import Dataset

from fusargpt.embedding.settings import EmbeddingSettings
from fusargpt.embedding.source import TASK, Box, outline_of
from fusargpt.errors import InputError, one_line
from fusargpt.geo.acquisition import Acquisition, parse_date
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.mapping import WGS84
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.inference.questions import Answer, Failure, Item, Question
from fusargpt.inference.rows import image_bytes, load_rows, read_picture, read_prior

_ROW_COLUMNS = ("id", "image", "bounds", "sensor", "polarization", "resolution_m", "acquired")


class DatasetRows:
    """The images of a dataset of triplet records, each once, whatever is asked about it.

    Args:
        name: a folder, a Parquet file, or a dataset on the Hub.
        settings: which split and configs, and whether with priors.
    """

    def __init__(self, name: str, settings: EmbeddingSettings) -> None:
        self.name, self._settings = name, settings

    def items(self) -> tuple[list[Item], list[Failure]]:
        items: list[Item] = []
        failures: list[Failure] = []
        ids: set[str] = set()
        images: set[bytes] = set()
        for number, row in enumerate(self._rows.select_columns(["id", "image"])):
            assert isinstance(row, Mapping)
            id_ = f"row {number}" if row["id"] is None or row["id"] in ids else str(row["id"])
            ids.add(id_)
            try:
                image = blake2b(image_bytes(row)).digest()
            except (InputError, OSError) as error:
                failures.append(Failure(id_, one_line(error)))
                continue
            if image not in images:
                images.add(image)
                items.append(Item(id_, TASK, "", str(number), 0))
        if not items:
            raise InputError(f"{self.name}: none of {len(failures):,} rows can be embedded; {failures[0].reason}")
        return items, failures

    def read(self, item: Item) -> Question | Answer:
        row: Mapping[str, Any] = self._rows[int(item.place)]
        prior = None if self._settings.no_prior else read_prior(row)
        acquisition = Acquisition(
            row["resolution_m"], row["sensor"] or None, row["polarization"] or None, parse_date(row["acquired"] or "")
        )
        return Question(item, read_picture(row), "", prior, acquisition=acquisition)

    def box(self, item: Item, answer: Answer) -> Box:
        return (0, 0, *answer.size)

    def outline(self, item: Item, box: Box) -> dict[str, object] | None:
        bounds = self._rows[int(item.place)]["bounds"]
        if bounds is None:
            return None
        west, south, east, north = bounds
        _, _, width, height = box
        transform = Affine((east - west) / width, 0, west, 0, (south - north) / height, north)
        return outline_of(Geometry.from_affine(transform, WGS84, width, height), box)

    @cached_property
    def _rows(self) -> Dataset:
        columns = (*_ROW_COLUMNS, *(() if self._settings.no_prior else PRIOR_COLUMNS))
        return load_rows(self.name, self._settings.configs, self._settings.split, columns)
