"""Classes without training: each label becomes a caption, and an image has the class of the caption nearest to it."""

import colorsys
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from fusargpt.embedding.embedder import Embedder
from fusargpt.embedding.features import Features
from fusargpt.errors import InputError
from fusargpt.files import output_file
from fusargpt.inference.questions import Failure
from fusargpt.scenes.layers import Place
from fusargpt.scenes.writing import REMEDY, write_geopackage, write_geoparquet, write_json

PROMPT = "the terrain is mostly {label}"
"""In the words of the captions that FUSAR-KLIP is trained on."""
SUFFIXES = (".geojson", ".gpkg", ".parquet", ".json", ".csv")
_PLACE = "{label}"


@dataclass(frozen=True, eq=False)
class Classified:
    """The classes of images.

    Attributes:
        features: what was classified, N images.
        labels: L of them.
        prompt: what captions were made of labels by.
        probabilities: float32 [N, L]; a row sums to 1. They tell labels from each other, not from what has no label.
        failures: images that have no vector.
        files: that were written.
    """

    features: Features
    labels: tuple[str, ...]
    prompt: str
    probabilities: NDArray[np.float32]
    failures: list[Failure]
    files: tuple[Path, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The most probable label of each image."""
        return [self.labels[column] for column in self.probabilities.argmax(1)]

    def counts(self) -> dict[str, int]:
        """Images of each label, in the labels' order."""
        found = Counter(self.classes)
        return {label: found[label] for label in self.labels}

    def rows(self) -> list[dict[str, Any]]:
        """Plain values: id, source, box in pixels, class, its probability, and those of all labels."""
        table = self.features.table
        columns = {name: table[name].to_pylist() for name in ("id", "source", "box", "anchors")}
        rows: list[dict[str, Any]] = []
        for number, (name, shares) in enumerate(zip(self.classes, self.probabilities, strict=True)):
            told = {column: values[number] for column, values in columns.items()}
            each = {label: round(float(share), 4) for label, share in zip(self.labels, shares, strict=True)}
            rows.append({**told, "class": name, "probability": each[name], "probabilities": each})
        return rows

    def feature_collection(self) -> dict[str, Any]:
        """GeoJSON, one polygon an image that has a place.

        Raises:
            InputError: none has.
        """
        places = []
        for number, row in enumerate(self.rows()):
            outline = self.features.outline(number)
            if outline is None:
                continue
            properties = {"kind": "tile", **{name: value for name, value in row.items() if name != "box"}}
            properties |= {"bbox_pixels": row["box"], "model": self.features.model}
            geometry = json.loads(shapely.to_geojson(outline))
            places.append({"type": "Feature", "properties": properties, "geometry": geometry})
        if not places:
            raise InputError(f"{self.features.provenance['sources'][0]}: no georeference, and so no map")
        return {"type": "FeatureCollection", "fusargpt": self.about(), "features": places}

    def places(self) -> list[Place]:
        """The same in pixels of the scene, as they are drawn."""
        boxes = self.features.boxes.tolist()
        return [
            Place(tuple(box), {"kind": "tile", "class": name}) for box, name in zip(boxes, self.classes, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """How they came about, as plain JSON."""
        provenance = {name: value for name, value in self.features.provenance.items() if name != "file"}
        return {"task": "classify", "labels": [*self.labels], "prompt": self.prompt, **provenance}

    def colours(self) -> dict[str, tuple[int, int, int]]:
        """One for each label, spread over the hues."""
        count = len(self.labels)
        shades = (colorsys.hsv_to_rgb(number / count, 0.75, 1.0) for number in range(count))
        return {
            label: (round(255 * red), round(255 * green), round(255 * blue))
            for label, (red, green, blue) in zip(self.labels, shades, strict=True)
        }

    def write(self, out: Path) -> None:
        """As a map (.geojson, .gpkg, .parquet), in pixels (.json) or as a table (.csv).

        Raises:
            InputError: another suffix, a map of what has no place, or a file that cannot be written.
        """
        check_suffix(out)
        suffix = out.suffix.lower()
        if suffix == ".geojson":
            write_json(out, self.feature_collection())
        elif suffix == ".gpkg":
            write_geopackage(out, self.feature_collection(), "classify", colours=self.colours())
        elif suffix == ".parquet":
            write_geoparquet(out, self.feature_collection())
        elif suffix == ".json":
            write_json(out, {"fusargpt": self.about(), "places": self.rows()})
        else:
            with output_file(out, REMEDY) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "source", "x1", "y1", "x2", "y2", "class", "probability", *self.labels])
                for row in self.rows():
                    start = [row["id"], row["source"], *row["box"], row["class"], row["probability"]]
                    writer.writerow([*start, *row["probabilities"].values()])


def classify_features(
    features: Features, labels: Sequence[str], prompt: str, embedder: Embedder, failures: list[Failure]
) -> Classified:
    """The classes of images that are embedded.

    Raises:
        InputError: labels or a prompt that are not what they should be, features of another model, or captions that the
            model cannot read.
    """
    check_labels(labels, prompt)
    features.check_model(embedder.name, embedder.fingerprint)
    captions = embedder.texts([prompt.replace(_PLACE, label) for label in labels])
    logits = embedder.scale * features.vectors @ captions.T
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    return Classified(features, tuple(labels), prompt, shares.astype(np.float32), failures)


def check_labels(labels: Sequence[str], prompt: str) -> None:
    """Raises InputError for labels among which nothing can be chosen, or a prompt that has no place for one."""
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise InputError(f"labels: found {', '.join(labels) or 'none'}; expected two or more different ones")
    if prompt.count(_PLACE) != 1:
        raise InputError(f"prompt: found {prompt!r}; expected a text with {_PLACE} in it, as {PROMPT!r}")


def check_suffix(out: Path) -> None:
    """Raises InputError for a file that `Classified.write` cannot write."""
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"out: found {out.name}; expected a name that ends in {', '.join(SUFFIXES)}")
