"""Do the TLM-modulated tokens name the land cover of real AlphaEarth points better than the tokens before?

    python -m benchmarks.aef_probe --points shared/data/aef/*.csv --out benchmarks/results/aef_probe/results.json

Each real point (AlphaEarth vector, Sentinel-1 VV and VH, Dynamic World class) becomes ground of a SAR scene: its VV is
the mean backscatter, with the simulator's speckle, its vector is what the prior's anchors hold. Scenes are of one
point, or of four, a quarter each, in which the tokens of a quarter have to keep to their own vector. A linear probe is
fitted to the mean token of each point's ground, without prior, with its own, and with that of another point, and,
beside these, to VV and VH and to the vector themselves. Ten random splits of the scenes, so that no point is on both
sides.

Two renderings: `level` has the same texture whatever the class, so that the image tells no more than the real VV does;
`textured` adds what the simulator knows of the class: fields, buildings, swell, buoys.

"The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind." (CC BY 4.0)
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fusargpt.checkpoints import NANO
from fusargpt.errors import InputError
from fusargpt.geo.land_classes import LANDCOVER_CLASSES
from fusargpt.geo.prior import PRIOR_EMBEDDINGS, PRIOR_POSITIONS
from fusargpt.metrics.tally import Score, Tally, difference
from fusargpt.simulator.linear_probe import linear_probe
from fusargpt.simulator.rendering import render_sar
from fusargpt.simulator.simulated_scene import IMAGE_SIZE, Scene
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from modeling_fusargpt.processing_fusargpt import batch_priors
from trl_recipes.model.patch_embedding import use_linear_patch_embedding

Rendering = Literal["level", "textured"]
RENDERINGS: tuple[Rendering, ...] = ("level", "textured")
SIDES = (1, 2)
"""Points along each side of a scene."""
SPLITS = 10
TRAIN_SHARE = 1500 / 2160
PRIORS = ("none", "true", "shuffled")
_BANDS = [f"A{band:02d}" for band in range(64)]
_BACKSCATTER = ["S1_VV", "S1_VH"]
# A class without a texture of its own: all points of a `level` scene are rendered as this.
_PLAIN = LANDCOVER_CLASSES.index("bare ground")
_BATCH = 32


@dataclass(frozen=True)
class Points:
    """N real points: embedding [N, 64] unit vectors, backscatter [N, 2] VV and VH in dB, landcover [N] of 0..8."""

    embedding: NDArray[np.float64]
    backscatter: NDArray[np.float64]
    landcover: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.landcover)

    def take(self, chosen: NDArray[np.integer]) -> "Points":
        return Points(self.embedding[chosen], self.backscatter[chosen], self.landcover[chosen])


def read_points(paths: Sequence[Path]) -> Points:
    """The points of all files, in their order.

    Raises:
        InputError: a file that cannot be read, lacks a column, or holds values that are not finite, vectors that are
            not of unit length, or a class outside 0..8.
    """
    tables = []
    for path in paths:
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error}); expected a CSV of points") from error
        missing = [name for name in (*_BANDS, *_BACKSCATTER, "dw_label") if name not in table]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected A00..A63, S1_VV, S1_VH and dw_label")
        values = table[[*_BANDS, *_BACKSCATTER, "dw_label"]].to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(values).all(1) | ~np.isin(values[:, -1], range(len(LANDCOVER_CLASSES)))
        # Codes of 8 bit come out a little beside 1.
        wrong |= np.abs(np.linalg.norm(values[:, :64], axis=1) - 1) > 0.05
        if wrong.any():
            raise InputError(
                f"{path}, row {int(wrong.argmax()) + 2}: expected finite numbers, a vector of length 1 and a class "
                "from 0 to 8"
            )
        tables.append(values)
    values = np.concatenate(tables)
    embedding = values[:, :64] / np.linalg.norm(values[:, :64], axis=1, keepdims=True)
    return Points(embedding, values[:, 64:66], values[:, 66].astype(np.int64))


def scene_of(points: Points, side: int, rendering: Rendering, seed: int) -> Scene:
    """A scene whose regions, `side` x `side` squares in reading order, are the points."""
    cells = np.arange(IMAGE_SIZE) * side // IMAGE_SIZE
    landcover = points.landcover if rendering == "textured" else np.full(len(points), _PLAIN)
    return Scene(
        seed=seed,
        kind="inland",
        region=cells[:, None] * side + cells,
        landcover=landcover,
        backscatter=points.backscatter,
        embedding=points.embedding,
        apron=None,
        targets=(),
    )


def region_tokens(tokens: torch.Tensor, side: int) -> NDArray[np.float64]:
    """Mean token of each square region: from [images, h w, C] of square grids to [images side^2, C]."""
    images, count, channels = tokens.shape
    grid = round(count**0.5)
    if grid**2 != count or grid % side:
        raise ValueError(f"tokens: found {count} an image; expected a square grid that {side} divides")
    cells = tokens.reshape(images, side, grid // side, side, grid // side, channels)
    return cells.mean(dim=(2, 4)).reshape(-1, channels).double().numpy()


@torch.no_grad()
def probe_features(
    model: FusarGptForConditionalGeneration,
    processor: FusarGptProcessor,
    points: Points,
    side: int,
    rendering: Rendering,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Mean token of each point's ground, [N, C], without prior ("none"), with its own ("true"), with that of another
    point ("shuffled"). `len(points)` is a multiple of `side` squared; points of one scene follow each other."""
    size = side**2
    # In a circle, so that no point keeps its own vector.
    circle = np.random.default_rng(seed).permutation(len(points))
    other = np.empty_like(circle)
    other[circle] = np.roll(circle, 1)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in PRIORS}
    starts = range(0, len(points), size * _BATCH)
    for start in tqdm(starts, desc=f"{size} points a scene, {rendering}", unit="batch"):
        chosen = [np.arange(at, at + size) for at in range(start, min(start + size * _BATCH, len(points)), size)]
        scenes = [scene_of(points.take(index), side, rendering, int(index[0])) for index in chosen]
        inputs = processor(images=[render_sar(scene) for scene in scenes], return_tensors="pt")
        grids = inputs["image_grid_thw"]
        outputs = model.model.get_image_features(inputs["pixel_values"], grids)
        for name in PRIORS:
            modulated = outputs
            if name != "none":
                held = chosen if name == "true" else [other[index] for index in chosen]
                laid = [
                    scene_of(points.take(index), side, rendering, int(at[0])).anchors()
                    for index, at in zip(held, chosen, strict=True)
                ]
                priors = batch_priors(
                    [{PRIOR_EMBEDDINGS: vectors, PRIOR_POSITIONS: positions} for vectors, positions in laid]
                )
                fields = {key: torch.as_tensor(value) for key, value in priors.items()}
                modulated = model.model.modulate(outputs, grids, **fields)
            tokens = cast(tuple[torch.Tensor, ...], modulated.pooler_output)
            found[name].append(region_tokens(torch.stack(tokens), side))
    return {name: np.concatenate(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class Probe:
    """What the probe reads from one kind of features.

    Attributes:
        splits: accuracy of each random split.
        tally: of points, how often each was named right, of the times it was held out.
    """

    splits: tuple[float, ...]
    tally: Tally


def probe(features: NDArray[np.floating], landcover: NDArray[np.integer], size: int, splits: int = SPLITS) -> Probe:
    """Accuracy over random splits of the scenes, each of `size` points that follow each other."""
    scenes = np.arange(len(landcover)).reshape(-1, size)
    sums = np.zeros((len(landcover), 2))
    accuracies = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(scenes))
        limit = round(TRAIN_SHARE * len(scenes))
        train, test = scenes[order[:limit]].ravel(), scenes[order[limit:]].ravel()
        right = linear_probe(features, landcover, train, test)
        sums[test] += np.stack([right, np.ones(len(right))], axis=1)
        accuracies.append(float(right.mean()))
    return Probe(tuple(accuracies), Tally(sums))


def run(model_path: Path, points: Points, renderings: Sequence[Rendering] = RENDERINGS) -> dict[str, Any]:
    """All probes, as they are written: accuracies in [0, 1] with sd over splits and 95 % interval over points."""
    model = FusarGptForConditionalGeneration.from_pretrained(model_path, dtype=torch.float32).eval()
    use_linear_patch_embedding(model.model)  # the same to rounding, and faster on a CPU
    processor = FusarGptProcessor.from_pretrained(model_path)
    # Files hold places and classes in a row: scenes of four are of points drawn from all.
    order = np.random.default_rng(0).permutation(len(points))
    largest = max(SIDES) ** 2
    points = points.take(order[: len(order) // largest * largest])
    probes = {
        "VV": probe(points.backscatter[:, :1], points.landcover, 1),
        "VV and VH": probe(points.backscatter, points.landcover, 1),
        "AlphaEarth vector": probe(points.embedding, points.landcover, 1),
    }
    scores: list[dict[str, Any]] = [_score(name, found) for name, found in probes.items()]
    differences: list[dict[str, Any]] = []
    for side in SIDES:
        for rendering in renderings:
            features = probe_features(model, processor, points, side, rendering)
            found = {name: probe(features[name], points.landcover, side**2) for name in PRIORS}
            place = {"points_a_scene": side**2, "rendering": rendering}
            scores += [place | _score(f"tokens, prior {name}", found[name]) for name in PRIORS]
            for name in ("none", "shuffled"):
                gain = difference(found["true"].tally, found[name].tally)
                differences.append(place | {"features": f"prior true minus {name}", **_interval(gain)})
    return {
        "model": model_path.name,
        "points": len(points),
        "splits": SPLITS,
        "scores": scores,
        "differences": differences,
    }


def _score(name: str, found: Probe) -> dict[str, Any]:
    spread = {"accuracy_mean": float(np.mean(found.splits)), "accuracy_sd": float(np.std(found.splits, ddof=1))}
    return {"features": name, **spread, **_interval(found.tally.score())}


def _interval(score: Score) -> dict[str, float]:
    return {name: value for name, value in asdict(score).items() if name in ("value", "low", "high", "n")}


def table(results: dict[str, Any]) -> str:
    """Markdown: one row for each kind of features, in percent."""
    lines = ["| points a scene | rendering | features | accuracy [95 %] | sd of splits |", "|---|---|---|---|---|"]
    for row in results["scores"]:
        place = f"{row.get('points_a_scene', '-')} | {row.get('rendering', '-')}"
        lines.append(f"| {place} | {row['features']} | {_percent(row)} | {100 * row['accuracy_sd']:.1f} |")
    for row in results["differences"]:
        lines.append(f"| {row['points_a_scene']} | {row['rendering']} | {row['features']} | {_percent(row, '+')} | |")
    return "\n".join(lines)


def _percent(row: dict[str, Any], sign: str = "") -> str:
    value, low, high = (format(100 * row[name], f"{sign}.1f") for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", metavar="CSV", type=Path, nargs="+", required=True)
    parser.add_argument("--model", metavar="DIR", type=Path, default=NANO, help="default: fusargpt-nano")
    parser.add_argument("--out", metavar="FILE.json", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        results = run(options.model, read_points(options.points))
    except InputError as error:
        print(f"aef_probe: error: {error}", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
