"""The land cover of every pixel, read of patch tokens."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from fusargpt.foundation.features import Features
from fusargpt.foundation.places import Place
from fusargpt.foundation.probes import Classifier, Labelled, logistic_probe
from fusargpt.foundation.subject import Subject
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.metrics.segmentation import confusion, segmentation_tallies
from fusargpt.metrics.tally import Tally

TOKENS_A_PLACE = 24
"""That the probe is fitted to, drawn by the place's seed: neighbours say much the same."""
_CLASSES = len(LANDCOVER_CLASSES)


class SegmentationProbe:
    """Nine classes; scores of tokens are interpolated to pixels."""

    name = "segmentation"
    headline = "miou"
    how = (
        f"nine land covers (an apron is built area); logistic regression of {TOKENS_A_PLACE} tokens a training place, "
        "a token of several classes counting for each by its share; probabilities interpolated bilinearly to pixels; "
        "strength chosen by mIoU on the validation split"
    )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        places = subject.places("test")
        confusions = [
            confusion(predicted, place.cover, _CLASSES)
            for predicted, place in zip(predicted_covers(subject), places, strict=True)
        ]
        return segmentation_tallies(np.stack(confusions), LANDCOVER_CLASSES)


def predicted_covers(subject: Subject) -> NDArray[np.int8]:
    """The land cover [N, H, W] that the probe reads of the test places, int8; fitted once for a subject."""

    def compute() -> NDArray[np.int8]:
        train = token_samples(subject.fitting("train"), subject.places("train"))
        validation = (subject.fitting("validation"), subject.places("validation"))
        return covers_by(fitted_probe(train, *validation), subject.features("test"), subject.places("test"))

    return subject.once("covers", compute)


def fitted_probe(train: Labelled, features: Features, places: Sequence[Place]) -> Classifier:
    """The probe of `train` with the strength that gives the places of the validation split their highest mIoU."""

    def score(probe: Classifier) -> float:
        covers = covers_by(probe, features, places)
        tables = [confusion(cover, place.cover, _CLASSES) for cover, place in zip(covers, places, strict=True)]
        return segmentation_tallies(np.stack(tables), LANDCOVER_CLASSES)["miou"].value

    return logistic_probe(train, train, score)


def covers_by(probe: Classifier, features: Features, places: Sequence[Place]) -> NDArray[np.int8]:
    """The land cover [N, H, W] that a probe reads of tokens, int8."""
    pairs = zip(features.tokens, places, strict=True)
    return np.stack([predicted_cover(probe, tokens, place.shape) for tokens, place in pairs]).astype(np.int8)


def token_samples(features: Features, places: Sequence[Place]) -> Labelled:
    """Some tokens of each place, once for every class beneath them, weighted by its share."""
    kept, labels, weights = [], [], []
    for tokens, place in zip(features.tokens, places, strict=True):
        height, width, _ = tokens.shape
        rng = np.random.default_rng([place.seed, 1])
        drawn = rng.permutation(height * width)[:TOKENS_A_PLACE]
        cells, classes = np.nonzero(shares := cover_shares(place.cover, height, width).reshape(-1, _CLASSES)[drawn])
        kept.append(tokens.reshape(height * width, -1)[drawn][cells])
        labels.append(classes)
        weights.append(shares[cells, classes])
    return Labelled(np.concatenate(kept).astype(np.float32), np.concatenate(labels), np.concatenate(weights))


def cover_shares(cover: NDArray[np.integer], height: int, width: int) -> NDArray[np.float64]:
    """The share of each class in each of `height` x `width` cells [h, w, classes]; pixels belong to one cell each."""
    rows, columns = (np.arange(size) * cells // size for size, cells in zip(cover.shape, (height, width), strict=True))
    cells = rows[:, None] * width + columns
    counts = np.bincount((cells * _CLASSES + cover).ravel(), minlength=height * width * _CLASSES)
    counts = counts.reshape(height, width, _CLASSES)
    return counts / np.maximum(counts.sum(-1, keepdims=True), 1)


def predicted_cover(probe: Classifier, tokens: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The class of every pixel of an image with tokens [h, w, C]."""
    height, width, channels = tokens.shape
    found = probe.predict_proba(tokens.reshape(-1, channels).astype(np.float32))
    probabilities = np.zeros((len(found), _CLASSES), np.float32)
    # A class that the training places lack is never predicted.
    probabilities[:, probe.classes_] = found
    maps = torch.from_numpy(probabilities).reshape(1, height, width, _CLASSES).permute(0, 3, 1, 2)
    return interpolate(maps, size=shape, mode="bilinear").argmax(1)[0].numpy()
