"""Are simulated chips told from real ones? A sheet to look at, and a classifier of hand-made features.

    python -m benchmarks.simulated_and_real --chips shared/data/ssdd --out build/simulated_and_real

Real chips are those of SSDD's training split (`train_full.txt`), each cut about one of its ships; simulated ones are
scenes of both versions of the simulator about one of theirs, stretched and stored as chips are: amplitude, its median
that of a real chip, JPEG. As many are of open sea as of the real chips. The sheet, which is never committed, has real
and simulated chips in an order that `key.txt` tells. The classifier is asked about chips that it has not seen
(five folds; all crops of a real chip are in one): half of its answers are right where it cannot tell.

SSDD: Zhang et al., Remote Sensing 13(18) 3690, 2021 (Apache-2.0).
"""

import argparse
import io
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from fusargpt.errors import InputError
from fusargpt.files import written_whole
from fusargpt.simulator.rendering import render_backscatter
from fusargpt.simulator.simulated_scene import SIMULATOR_VERSION, simulate_scene
from fusargpt.simulator.version2.scene import simulate_pixels
from fusargpt.triplets.sheet import lay_out
from fusargpt.triplets.voc import voc_entries

SIDE = 96
"""Pixels of a crop along each side."""
CHIPS = 500
PIXEL_SIZES_M = (2.5, 4.5)
"""Of version 2 beside these chips, which are of 1 to 15 m and mostly fine: ships are as long in pixels then."""
COAST_SHARE = 0.2
"""Of the real chips about: those that show land."""
MOST_SHIPS = 3
"""In a simulated place: the real chips hold 2.2 on average."""
FIRST_SEED = 30_000_000
# As the chips were stored: three quarters of them with tables of quality 75, the others with finer ones.
_QUALITIES, _QUALITY_SHARES = (75, 95), (0.75, 0.25)
_ENLARGED_SHARE, _ENLARGED = 0.25, (1.8, 3.0)
_SHEET = 60
_FOLDS = 5
_EDGES = (0, 4, 8, 12, 16, 20, 25, 30, 36, 44, 54, 68, 86, 110, 150, 200, 250, 256)

Grey = NDArray[np.uint8]


def real_crops(folder: Path, count: int, rng: np.random.Generator) -> tuple[list[Grey], NDArray[np.int64], list[float]]:
    """Crops about ships, the number of the chip that each is of, and the median grey of every chip.

    Raises:
        InputError: no such folder or no list of training chips in it.
    """
    if not (names := folder / "train_full.txt").is_file():
        raise InputError(f"{names}: not a file; expected the folder of SSDD with the list of its training chips")
    crops: list[Grey] = []
    chips: list[int] = []
    medians: list[float] = []
    stems = [Path(name).stem for name in names.read_text(encoding="utf-8").split()]
    for number in rng.permutation(len(stems)).tolist():
        with Image.open(folder / "images" / f"{stems[number]}.jpg") as picture:
            grey = np.asarray(picture.convert("L"))
        medians.append(float(np.median(grey)))
        if len(crops) == count or min(grey.shape) < SIDE:
            continue
        entries = voc_entries(str(folder / "annotations" / f"{stems[number]}.xml"), grey.shape[1], grey.shape[0])
        crops.append(_about(grey, entries[rng.integers(0, len(entries))]["bbox_2d"], rng))
        chips.append(number)
    return crops, np.array(chips), medians


def _about(grey: Grey, box: Sequence[float], rng: np.random.Generator, height: int = SIDE, width: int = SIDE) -> Grey:
    """A crop that holds the middle of a box, anywhere but close to an edge of the crop."""
    x1, y1, x2, y2 = (float(edge) for edge in box)
    start = [
        int(np.clip(round(middle - side * rng.uniform(0.25, 0.75)), 0, length - side))
        for middle, side, length in zip(((y1 + y2) / 2, (x1 + x2) / 2), (height, width), grey.shape, strict=True)
    ]
    return grey[start[0] : start[0] + height, start[1] : start[1] + width]


def as_chip(decibels: NDArray[np.float64], box: Sequence[float], median: float, rng: np.random.Generator) -> Grey:
    """A crop about a ship as chips are: amplitude in 256 steps of `median`, some of them enlarged, through JPEG."""
    amplitude = 10 ** (decibels / 20)
    grey = np.clip(amplitude * (max(median, 1.5) / np.median(amplitude)), 0, 255).astype(np.uint8)
    side = SIDE + 8  # so that JPEG's blocks lie anywhere
    # A part of the real ones shows pixels that are oblong and some times as large.
    enlarged = rng.uniform(1, _ENLARGED) if rng.random() < _ENLARGED_SHARE else (1.0, 1.0)
    height, width = (round(side / by) for by in enlarged)
    picture = Image.fromarray(_about(grey, box, rng, height, width)).resize((side, side), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(rng.choice(_QUALITIES, p=_QUALITY_SHARES)))
    top, left = rng.integers(0, 9, 2)
    return np.asarray(Image.open(buffer).convert("L"))[top : top + SIDE, left : left + SIDE]


def simulated_crops(version: int, medians: Sequence[float], count: int, rng: np.random.Generator) -> list[Grey]:
    """Crops about simulated ships; of coasts as many as `COAST_SHARE`."""
    crops: list[Grey] = []
    wanted = {"harbour": round(count * COAST_SHARE)}
    wanted["sea"] = count - wanted["harbour"]
    seed = FIRST_SEED
    with tqdm(total=count, unit="chip", desc=f"version {version}") as progress:
        while len(crops) < count:
            seed += 1
            scene = simulate_scene(seed)
            if not 1 <= len(scene.targets) <= MOST_SHIPS or not wanted.get(scene.kind):
                continue
            if version != SIMULATOR_VERSION:
                scene = simulate_pixels(seed, PIXEL_SIZES_M)
            decibels = render_backscatter(scene)
            wanted[scene.kind] -= 1
            box = scene.targets[int(rng.integers(0, len(scene.targets)))].box
            crops.append(as_chip(decibels, box, medians[int(rng.integers(0, len(medians)))], rng))
            progress.update()
    return crops


def features(crop: Grey) -> NDArray[np.float64]:
    """Histogram, gradients, and the power spectrum in rings and along both axes, of one crop."""
    values = crop.astype(np.float64)
    histogram = np.histogram(values, _EDGES)[0] / values.size
    across, down = np.diff(values, axis=1), np.diff(values, axis=0)
    gradients = [
        *(np.percentile(np.abs(part), [25, 50, 75, 90, 99]) / (values.mean() + 1) for part in (across, down)),
        [across.std() / (down.std() + 1e-6)],
        [np.mean(values[:, step:] * values[:, :-step]) / np.mean(values**2 + 1e-6) for step in (1, 2, 4)],
        [np.mean(values[step:] * values[:-step]) / np.mean(values**2 + 1e-6) for step in (1, 2, 4)],
    ]
    logarithm = np.log(values + 1)
    spectrum = np.log(np.abs(np.fft.fft2(logarithm - logarithm.mean())) ** 2 + 1e-3)
    frequency = np.abs(np.fft.fftfreq(SIDE))
    radius = np.hypot(frequency[:, None], frequency)
    rings = np.linspace(0, 0.5, 13)
    parts = [spectrum[(radius >= low) & (radius < high)].mean() for low, high in pairwise(rings)]
    for axis in (0, 1):
        line = spectrum.mean(axis)
        parts += [
            float(line[(frequency >= low) & (frequency <= high)].mean())
            for low, high in zip(rings[:-1:2], rings[2::2], strict=True)
        ]
    return np.concatenate([histogram, *gradients, parts]).astype(np.float64)


def told_apart(real: Sequence[Grey], simulated: Sequence[Grey], seed: int) -> dict[str, float]:
    """Shares of right answers of two classifiers, about crops of other folds; each real crop is of its own chip."""
    table = np.stack([features(crop) for crop in (*real, *simulated)])
    truth = np.repeat([0, 1], [len(real), len(simulated)])
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        "boosted trees": HistGradientBoostingClassifier(max_iter=120, random_state=seed),
    }
    return {
        name: float(np.mean(np.asarray(cross_val_predict(classifier, table, truth, cv=folds)) == truth))
        for name, classifier in classifiers.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=Path, required=True, help="folder of SSDD")
    parser.add_argument("--count", type=int, default=CHIPS, help="crops of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/simulated_and_real"))
    parser.add_argument("--results", type=Path, help="file for the accuracies, JSON")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        print(f"simulated_and_real: error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    rng = np.random.default_rng(options.seed)
    real, _, medians = real_crops(options.chips, options.count, rng)
    by_version = {version: simulated_crops(version, medians, len(real), rng) for version in (1, 2)}
    options.out.mkdir(parents=True, exist_ok=True)
    for name, versions in (("sheet", (2,)), ("version1", (1,))):
        shown = [("real", crop) for crop in real[: _SHEET // 2]]
        shown += [("simulated", crop) for version in versions for crop in by_version[version][: _SHEET // 2]]
        order = rng.permutation(len(shown))
        lay_out([Image.fromarray(shown[index][1]).resize((144, 144)) for index in order]).save(
            options.out / f"{name}.png"
        )
        key = "\n".join(f"row {at // 10 + 1}, {at % 10 + 1}: {shown[index][0]}" for at, index in enumerate(order))
        (options.out / f"{name}_key.txt").write_text(key + "\n", encoding="utf-8")
    result = {
        "crops": len(real),
        "pixels": SIDE,
        "seed": options.seed,
        "right": {f"version {version}": told_apart(real, crops, options.seed) for version, crops in by_version.items()},
        "right, real against real": told_apart(real[::2], real[1::2], options.seed),
    }
    print(json.dumps(result, indent=1))
    if options.results is not None:
        with written_whole(options.results) as part:
            part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
