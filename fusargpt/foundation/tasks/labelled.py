"""The classes of somebody's own images, of a dataset or of folders of chips."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from datasets import Image
from numpy.typing import NDArray

from fusargpt.errors import InputError, one_line
from fusargpt.foundation.labelled_rows import LABEL, NO_CLASS, SPLITS, class_names, class_numbers, read_labelled
from fusargpt.foundation.places import ACQUISITION, View
from fusargpt.foundation.probes import Labelled
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES, TUNED, told
from fusargpt.geo.prior import PRIOR_COLUMNS
from fusargpt.inference.rows import read_picture, read_prior
from fusargpt.metrics.tally import Tally


class _Split(NamedTuple):
    views: list[View]
    labels: NDArray[np.int64]


class LabelledProbe:
    """Classes of a dataset with the splits train, validation and test, or of folders `CLASS/NUMBER.jpg`.

    Rows hold `image`, `label`, and where they have them the prior and `ACQUISITION`.

    Args:
        name: of the dataset or folder.
    """

    name = "labelled"
    headline = "accuracy"

    def __init__(self, name: str) -> None:
        self._source = name
        self.how = (
            f"classes of {Path(name).name}, as its rows are split, or of a folder of classes by blocks of neighbouring "
            "numbers, of which the first of five reports, the second chooses and three fit; prior and acquisition "
            f"where rows have them; {PROBES}; {TUNED}"
        )

    @property
    def classes(self) -> Sequence[str]:
        """By their numbers. InputError for rows that are not what they should be."""
        return self._read[0]

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        names, splits = self._read

        def labelled(split: str) -> Labelled:
            views, labels = splits[split]
            name = f"{self.name}-{self._state}-{split}"
            return Labelled(subject.features_under_arm(name, views, fitting=split != "test").pooled, labels)

        return told(subject.entry, names, labelled)

    @cached_property
    def _read(self) -> tuple[list[str], dict[str, _Split]]:
        """Names of the classes, and all splits. InputError for rows that are not what they should be."""
        parts = {split: read_labelled(self._source, None, split) for split in SPLITS}
        names = class_names([(self._source, parts["train"])], LABEL)
        splits: dict[str, _Split] = {}
        seen: dict[str, str] = {}
        for split, part in parts.items():
            where = f"{self._source}, split {split}"
            labels = class_numbers(where, part, LABEL, names)
            if not len(part) or (labels == NO_CLASS).any():
                row = f"row {int((labels == NO_CLASS).argmax())} without a class" if len(part) else "no rows"
                raise InputError(f"{where}: found {row}; expected images, each with its class")
            views: list[View] = []
            for number, row in enumerate(part.cast_column("image", Image(decode=False))):
                try:
                    views.append(_view(cast(Mapping[str, Any], row)))
                # What is raised on files and priors that are not what they should be.
                except (OSError, SyntaxError, ValueError) as error:
                    raise InputError(f"{where}, row {number}: {one_line(error)}") from error
                digest = sha256(views[-1].picture.tobytes()).hexdigest()
                if seen.setdefault(digest, split) != split:
                    raise InputError(
                        f"{where}, row {number}: found an image that is in {seen[digest]}, too; expected splits of "
                        "different places"
                    )
            splits[split] = _Split(views, labels)
        return names, splits

    @cached_property
    def _state(self) -> str:
        """8 hexadecimal digits of all pictures and labels."""
        names, splits = self._read
        digest = sha256(repr(names).encode())
        for views, labels in splits.values():
            digest.update(labels.tobytes())
            for view in views:
                digest.update(view.picture.tobytes() + repr(sorted(view.acquisition.items())).encode())
                if view.prior is not None:
                    digest.update(view.prior.embeddings.tobytes() + view.prior.positions.tobytes())
        return digest.hexdigest()[:8]


def _view(row: Mapping[str, Any]) -> View:
    has_prior = all(row.get(name) is not None for name in PRIOR_COLUMNS)
    told_of = {name: row[name] for name in ACQUISITION if row.get(name) not in (None, "")}
    return View(read_picture(row), read_prior(row) if has_prior else None, told_of)
