"""Segmentation of two polarizations of each place, seen one after the other."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fusargpt.foundation.features import Features, without_texts
from fusargpt.foundation.places import View
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.segmentation import SegmentationProbe, covers_by, fitted_probe, token_samples
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.segmentation import confusion, segmentation_tallies
from fusargpt.metrics.tally import Tally
from fusargpt.simulator.rendering import POLARIZATIONS, render_sar


class TwoPolarizations:
    """The tokens of a place's VV and VH picture in one; twice the pictures to see, so that it is only done by name."""

    name = "segmentation-two-polarizations"
    headline = "miou"
    how = f"as {SegmentationProbe.name}, of the tokens of the {' and the '.join(POLARIZATIONS)} picture side by side"

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        train, validation, test = (both_features(subject, split) for split in ("train", "validation", "test"))
        probe = fitted_probe(token_samples(train, subject.places("train")), validation, subject.places("validation"))
        places = subject.places("test")
        covers = covers_by(probe, test, places)
        tables = [
            confusion(cover, place.cover, len(LANDCOVER_CLASSES)) for cover, place in zip(covers, places, strict=True)
        ]
        return segmentation_tallies(np.stack(tables), LANDCOVER_CLASSES)


def both_features(subject: Subject, split: str) -> Features:
    """Of the VV and the VH picture of each place, side by side."""
    seen: list[Features] = []
    for polarization in POLARIZATIONS:
        views = [
            replace(
                place.view, picture=render_sar(place.scene, polarization), acquisition=_told(place.view, polarization)
            )
            for place in subject.places(split)
        ]
        seen.append(subject.features_under_arm(f"{split}-{polarization}", views, fitting=split != "test"))
    tokens = np.concatenate([features.tokens for features in seen], -1)
    return without_texts(np.concatenate([features.pooled for features in seen], 1), tokens)


def _told(view: View, polarization: str) -> dict[str, str | float]:
    return {**view.acquisition, "polarization": polarization}
