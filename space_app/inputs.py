"""What a visitor types and hands in beside the image: question, prior, and how the image is to be read."""

import math
from dataclasses import dataclass
from typing import cast

from fusargpt.errors import InputError
from fusargpt.geo.prior import Prior, load_prior
from fusargpt.geo.reading import Reading
from fusargpt.geo.stored import Stored
from fusargpt.tasks.prompts import prompt
from space_app.limits import MAX_ANCHORS, MAX_QUESTION, check_prior_size

FREE = "free"
"""The choice beside the tasks: a question in the visitor's own words."""


def read_question(task: str, target: str, question: str) -> str:
    """The task's own question about `target`, or the visitor's `question` when the task is "free".

    Raises:
        InputError: no question, or one of more than 2,000 characters.
        ValueError: an unknown task or target.
    """
    if task != FREE:
        return prompt(task, target)
    if not question.strip():
        raise InputError("Write a question first, or choose a task.")
    if len(question) > MAX_QUESTION:
        raise InputError(f"A question of {len(question):,} characters; at most {MAX_QUESTION:,}. Ask less at once.")
    return question.strip()


@dataclass(frozen=True)
class Told:
    """How the image is to be read, as the controls hold it; what is empty is left to the file.

    Attributes:
        band: of a TIFF, from 1.
        stored: what the values are, of `fusargpt.geo.stored.Stored`.
        nodata: a number that marks pixels without data, or "none".
        crs: of the file's transform, as "EPSG:32611".
        height_m: of the ground, for files placed by RPCs.
        polarization: of the band to read.
    """

    band: float | None = 1
    stored: str = ""
    nodata: str = ""
    crs: str = ""
    height_m: float | None = None
    polarization: str = ""

    def reading(self) -> Reading:
        """The same, read.

        Raises:
            InputError: a band that is no whole number, a nodata that is no number, or what `Reading` raises.
        """
        if self.band is None or not float(self.band).is_integer():
            raise InputError(f"Band: found {self.band}; expected a whole number from 1")
        text, polarization = self.nodata.strip(), self.polarization.strip()
        try:
            nodata = None if not text else math.nan if text.lower() == "none" else float(text)
        except ValueError:
            raise InputError(f"Nodata: found {text[:60]!r}; expected a number, or none") from None
        return Reading(
            stored=cast(Stored, self.stored) if self.stored else None,
            nodata=nodata,
            crs=self.crs.strip() or None,
            height_m=self.height_m,
            # The control shows 1 where none was chosen.
            band=None if self.band == 1 else int(self.band),
            polarization=polarization or None,
        )


def read_small_prior(path: str) -> Prior:
    """A prior of at most 4,096 anchors.

    Raises:
        InputError: more anchors, a file that unpacks to more than these take, or one that
            `fusargpt.geo.prior.load_prior` refuses.
    """
    check_prior_size(path)
    prior = load_prior(path)
    if len(prior.embeddings) > MAX_ANCHORS:
        raise InputError(
            f"{path}: {len(prior.embeddings):,} anchors; at most {MAX_ANCHORS:,}. Take every second pixel of the "
            "AlphaEarth tile, or fewer."
        )
    return prior
