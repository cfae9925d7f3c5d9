"""The tasks of the suite, each of which scores one entry. Another one is a module beside these and a line here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.captioning import NeighbourCaptions, WrittenCaptions
from fusargpt.foundation.tasks.counting import CountProbe
from fusargpt.foundation.tasks.covers import CoverProbe
from fusargpt.foundation.tasks.detection import DetectionProbe
from fusargpt.foundation.tasks.fine_labels import FineLabelProbe
from fusargpt.foundation.tasks.labelled import LabelledProbe
from fusargpt.foundation.tasks.questions import CoversPresent, Position, Recognition, RegionalCover
from fusargpt.foundation.tasks.real_chips import SarAcdProbe, SsddProbe
from fusargpt.foundation.tasks.retrieval import LikeliestRetrieval, RerankedRetrieval, Retrieval
from fusargpt.foundation.tasks.segmentation import SegmentationProbe
from fusargpt.foundation.tasks.two_polarizations import TwoPolarizations
from fusargpt.foundation.tasks.zero_shot import ZeroShotCount, ZeroShotCover
from fusargpt.metrics.tally import Tally


class Task(Protocol):
    """One task of the suite.

    Attributes:
        name: in tables and files.
        headline: the one metric by which it stands in the radar plot and in a card.
        how: what is done, with what: split, prompts, probes; in words.
    """

    name: str
    headline: str
    how: str

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        """The scores of an entry over the test places; None where it cannot do the task at all."""
        ...


ONLY_BY_NAME = (TwoPolarizations.name,)
"""Tasks that are left out unless they are asked for: they take as long as all others together."""
BY_CLASSES = FineLabelProbe | LabelledProbe
"""Those that a model is asked that was fine-tuned to their classes."""
OF_REAL_IMAGES = (SarAcdProbe.name, SsddProbe.name, LabelledProbe.name)
"""Those that do not ask about the simulator's places."""
RERANKED = 32
"""Partners that are put in order again, by matching and by likelihood."""


def tasks(
    reranked: int = RERANKED, sar_acd: Path | None = None, ssdd: Path | None = None, labelled: str | None = None
) -> dict[str, Task]:
    """All tasks by their names.

    Args:
        reranked: partners that are put in order again; 0 leaves that task out.
        sar_acd: folder of the chips of SAR-ACD; None leaves that task out.
        ssdd: likewise of SSDD.
        labelled: dataset or folder of images with classes; None leaves that task out.
    """
    found: list[Task] = [
        *(Retrieval(name) for name in ("landforms", "targets", "parts", "caption")),
        *([kind("landforms", reranked) for kind in (RerankedRetrieval, LikeliestRetrieval)] if reranked else []),
        ZeroShotCover(),
        ZeroShotCount(),
        CoverProbe(),
        CountProbe(),
        FineLabelProbe("ship"),
        FineLabelProbe("aircraft"),
        SegmentationProbe(),
        DetectionProbe(),
        TwoPolarizations(),
        NeighbourCaptions(),
        WrittenCaptions(),
        Recognition(),
        Position(),
        CoversPresent(),
        RegionalCover(),
        *([] if sar_acd is None else [SarAcdProbe(sar_acd)]),
        *([] if ssdd is None else [SsddProbe(ssdd)]),
        *([] if labelled is None else [LabelledProbe(labelled)]),
    ]
    return {task.name: task for task in found}
