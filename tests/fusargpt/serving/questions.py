"""What both engines are asked: the sample's test questions on all five tasks, each with its image and prior."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from datasets import load_dataset
from PIL import Image

from fusargpt.geo.prior import Prior
from fusargpt.inference.rows import read_prior
from tests import paths

DATASET = str(paths.DATASET)
MAX_NEW_TOKENS = 300


@dataclass(frozen=True)
class Questions:
    """Lists of equal length; of `priors`, None stands for an image alone."""

    images: list[Image.Image]
    questions: list[str]
    priors: list[Prior | None]

    def given(self, prior: str) -> list[Prior | None]:
        """The priors of a setting: "prior" all, "none" no one, "mixed" every other one."""
        if prior == "mixed":
            return [given if index % 2 else None for index, given in enumerate(self.priors)]
        return self.priors if prior == "prior" else [None] * len(self.priors)


@cache
def sample_questions() -> Questions:
    """All 40 of the test split. One prior in three is thinned out, so that their numbers of anchors differ."""
    rows: list[Any] = [
        row for config in ("captions", "instructions") for row in load_dataset(DATASET, config, split="test")
    ]
    priors = [read_prior(row) for row in rows]
    for index in range(0, len(priors), 3):
        whole = priors[index]
        assert whole is not None
        priors[index] = Prior(np.ascontiguousarray(whole.embeddings[::2]), np.ascontiguousarray(whole.positions[::2]))
    return Questions(
        [row["image"].convert("RGB") for row in rows], [row["prompt"][0]["content"] for row in rows], priors
    )
