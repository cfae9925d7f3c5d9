"""The dominant land cover of an image, read of its pooled features."""

from collections.abc import Mapping

import numpy as np

from fusargpt.foundation.probes import Labelled
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES, probed
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.tally import Tally


class CoverProbe:
    """Nine classes, of which one covers most pixels."""

    name = "probe-cover"
    headline = "accuracy"
    how = f"the class of most pixels; {PROBES}"

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        labelled = {
            split: Labelled(features.pooled, np.array([place.dominant_cover for place in subject.places(split)]))
            for split, features in (
                ("train", subject.fitting("train")),
                ("validation", subject.fitting("validation")),
                ("test", subject.features("test")),
            )
        }
        return probed(labelled["train"], labelled["validation"], labelled["test"], LANDCOVER_CLASSES)
