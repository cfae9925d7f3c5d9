"""Real chips: classes of SAR-ACD, and ships of SSDD."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from fusargpt.foundation.chip_folders import FOLDS, class_folders, fold_of_chips, ssdd
from fusargpt.foundation.probes import Labelled, logistic_probe, neighbour_probe
from fusargpt.foundation.subject import Subject
from fusargpt.foundation.tasks.classification import PROBES
from fusargpt.foundation.tasks.detection import DetectionProbe, detected
from fusargpt.metrics.classification import label_tallies
from fusargpt.metrics.tally import Tally


class SarAcdProbe:
    """The class of each chip, in five folds of blocks of neighbouring numbers.

    SAR-ACD (AICyberTeam/SAR-ACD on GitHub) counts its chips "after expansion": neighbours are copies of one another,
    and random folds would be scored on what they were fitted to.

    Args:
        folder: `CLASS/NUMBER.jpg`.
    """

    name = "sar-acd"
    headline = "accuracy"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.how = (
            f"classes of the chips of {folder.name}, squeezed to a square, without a prior; five folds, each a block "
            f"of neighbouring numbers of each class; the next block chooses, the other three fit; {PROBES}"
        )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        names, chips = class_folders(self._folder)
        listed = "\\n".join(f"{chip.path.parent.name}/{chip.path.name}" for chip in chips)
        stem = f"{self.name}-{sha256(listed.encode()).hexdigest()[:8]}"
        pooled = subject.features_of(stem, [chip.view() for chip in chips]).pooled
        labels = np.array([chip.label for chip in chips])
        folds = np.concatenate([fold_of_chips(int((labels == label).sum())) for label in range(len(names))])
        predicted, voted = np.zeros_like(labels), np.zeros_like(labels)
        for fold in range(FOLDS):
            shown, choosing = folds == fold, folds == (fold + 1) % FOLDS
            train = Labelled(pooled[~shown & ~choosing], labels[~shown & ~choosing])
            validation = Labelled(pooled[choosing], labels[choosing])
            predicted[shown] = logistic_probe(train, validation).predict(pooled[shown])
            voted[shown] = neighbour_probe(train, validation).predict(pooled[shown])
        found = label_tallies(predicted, labels, names)
        return found | {"knn_accuracy": label_tallies(voted, labels, names)["accuracy"]}


class SsddProbe:
    """The ships of SSDD's chips, as simulated ones are found.

    Args:
        folder: as `fusargpt.foundation.chip_folders.ssdd` reads it.
    """

    name = "ssdd"
    headline = DetectionProbe.headline

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.how = (
            "ships of SSDD (Zhang et al., Remote Sensing 13(18), 3690, 2021): chips squeezed to a square, without a "
            "prior; four fifths of the training chips fit, one fifth chooses, the validation chips are scored; "
            f"otherwise as {DetectionProbe.name}"
        )

    def tallies(self, subject: Subject) -> Mapping[str, Tally] | None:
        chips = ssdd(self._folder)
        train, validation, test = (
            (subject.features_of(f"ssdd-{split}-{len(of_split)}", [chip.view for chip in of_split]), of_split)
            for split, of_split in chips.items()
        )
        return detected(train, validation, test).tallies(test[1])
