"""Do the TLM-modulated tokens name the land cover of real AlphaEarth points better than the tokens before?

    python -m benchmarks.aef_probe --points shared/data/aef/*.csv --out benchmarks/results/aef_probe/results.json

Each real point (AlphaEarth vector, Sentinel-1 VV and VH, Dynamic World class) becomes ground of a SAR scene: its VV is
the mean backscatter, with the simulator's speckle, its vector is what the prior's anchors hold. Scenes are of one
point, or of four, a quarter each, in which the tokens of a quarter have to keep to their own vector. A linear probe is
fitted to the mean token of each point's ground, without prior, with its own, and with that of another point, and,
beside these, to what went in: VV and VH, the vector alone, both, longitude and latitude, and a location encoder.

Points near each other are alike, so that a random split tells a probe of places, not of their ground. So every probe is
held out three ways: scenes at random, whole blocks of 0.1 degree, and whole regions.

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

from benchmarks.aef_places import SCHEMES, Places, block_folds, folds, location_features, read_places, scene_order
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
PRIORS = ("none", "true", "shuffled")
VECTOR = "AlphaEarth vector"
LOCATION = "location encoder"
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
                fields: dict[str, Any] = {key: torch.as_tensor(value) for key, value in priors.items()}
                modulated = model.model.modulate(outputs, grids, **fields)
            tokens = cast(tuple[torch.Tensor, ...], modulated.pooler_output)
            found[name].append(region_tokens(torch.stack(tokens), side))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def probe(
    features: NDArray[np.floating], landcover: NDArray[np.integer], fold: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether each point is named right by the probe that is fitted to all points of other folds: bool [N]."""
    right = np.zeros(len(landcover), bool)
    for index in np.unique(fold):
        test = np.flatnonzero(fold == index)
        right[test] = linear_probe(features, landcover, np.flatnonzero(fold != index), test)
    return right


def by_block(right: NDArray[np.bool_], blocks: NDArray[np.integer]) -> Tally:
    """The share of points that are right, with blocks to be drawn again: points of one block are alike."""
    _, block = np.unique(blocks, return_inverse=True)
    return Tally(np.stack([np.bincount(block, right), np.bincount(block)], axis=1).astype(np.float64))


@dataclass(frozen=True)
class Held:
    """The points of a run, in the order of its scenes, and how they are held out."""

    points: Points
    places: Places
    fold: NDArray[np.integer]

    @classmethod
    def of(cls, points: Points, places: Places) -> "Held":
        """The same for scenes of every size, so that all probes are about the same points."""
        fold = block_folds(places)
        order = scene_order(places, fold, max(SIDES) ** 2)
        return cls(points.take(order), places.take(order), fold[order])

    def probes(self, features: NDArray[np.floating]) -> dict[str, NDArray[np.bool_]]:
        """Whether each point is named right, under each of `SCHEMES`."""
        schemes = folds(self.places, self.fold, max(SIDES) ** 2)
        return {scheme: probe(features, self.points.landcover, schemes[scheme]) for scheme in SCHEMES}

    def tallies(self, found: dict[str, NDArray[np.bool_]]) -> dict[str, Tally]:
        """Of all points under each of `SCHEMES`, and of each region that was held out."""
        blocks = self.places.blocks()
        tallies = {scheme: by_block(right, blocks) for scheme, right in found.items()}
        for region in np.unique(self.places.region):
            chosen = self.places.region == region
            tallies[str(region)] = by_block(found["regions"][chosen], blocks[chosen])
        return tallies


def run(
    model_path: Path, points: Points, places: Places, renderings: Sequence[Rendering] = RENDERINGS
) -> dict[str, Any]:
    """All probes, as they are written: accuracies in [0, 1] with 95 % intervals over blocks.

    Raises:
        InputError: points in fewer blocks than there are folds.
    """
    held = Held.of(points, places)
    points, places = held.points, held.places
    model = FusarGptForConditionalGeneration.from_pretrained(model_path, dtype=torch.float32).eval()
    use_linear_patch_embedding(model.model)  # the same to rounding, and faster on a CPU
    processor = FusarGptProcessor.from_pretrained(model_path)
    inputs = {
        "VV": points.backscatter[:, :1],
        "VV and VH": points.backscatter,
        VECTOR: points.embedding,
        "VV, VH and the vector": np.concatenate([points.backscatter, points.embedding], axis=1),
        "longitude and latitude": places.lonlat,
        LOCATION: location_features(places.lonlat),
    }
    tallies = {name: held.tallies(held.probes(features)) for name, features in inputs.items()}
    scores = [row for name, of_scheme in tallies.items() for row in _scores(name, of_scheme)]
    differences = _differences(f"{VECTOR} minus {LOCATION}", tallies[VECTOR], tallies[LOCATION])
    for side in SIDES:
        for rendering in renderings:
            features = probe_features(model, processor, points, side, rendering)
            found = {name: held.tallies(held.probes(features[name])) for name in PRIORS}
            place = {"points_a_scene": side**2, "rendering": rendering}
            scores += [place | row for name in PRIORS for row in _scores(f"tokens, prior {name}", found[name])]
            for name in ("none", "shuffled"):
                gains = _differences(f"prior true minus {name}", found["true"], found[name])
                differences += [place | row for row in gains]
            gains = _differences(f"prior true minus {VECTOR}", found["true"], tallies[VECTOR])
            differences += [place | row for row in gains]
    return {
        "model": model_path.name,
        "points": len(points),
        "blocks": len(np.unique(places.blocks())),
        "scores": scores,
        "differences": differences,
    }


def _scores(name: str, of_scheme: dict[str, Tally]) -> list[dict[str, Any]]:
    return [{"features": name, "held_out": scheme, **_interval(tally.score())} for scheme, tally in of_scheme.items()]


def _differences(name: str, first: dict[str, Tally], second: dict[str, Tally]) -> list[dict[str, Any]]:
    return [
        {"features": name, "held_out": scheme, **_interval(difference(tally, second[scheme]))}
        for scheme, tally in first.items()
    ]


def _interval(score: Score) -> dict[str, float]:
    values = asdict(score)
    return {"value": values["value"], "low": values["low"], "high": values["high"], "blocks": values["n"]}


def table(results: dict[str, Any]) -> str:
    """Markdown: a row for each kind of features, a column for each way of holding out, in percent."""
    columns = list(dict.fromkeys(row["held_out"] for row in results["scores"]))
    lines = [
        f"| points a scene | rendering | features | {' | '.join(columns)} |",
        f"|{'---|' * (3 + len(columns))}",
    ]
    for rows, sign in ((results["scores"], ""), (results["differences"], "+")):
        cells: dict[tuple[str, ...], dict[str, str]] = {}
        for row in rows:
            name = (str(row.get("points_a_scene", "-")), row.get("rendering", "-"), row["features"])
            cells.setdefault(name, {})[row["held_out"]] = _percent(row, sign)
        lines += [f"| {' | '.join((*name, *(found[column] for column in columns)))} |" for name, found in cells.items()]
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
        results = run(options.model, read_points(options.points), read_places(options.points))
    except InputError as error:
        print(f"aef_probe: error: {error}", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
