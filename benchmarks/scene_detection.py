"""Boxes of whole simulated scenes against the truth: python -m benchmarks.scene_detection

Scenes of 1008 x 1008 pixels at 5 m, harbours and open sea in turn, are written as GeoTIFFs with their AlphaEarth tiles,
and asked for ships in tiles by fusargpt-nano. Printed are, over all scenes and for each way of asking: recall and
precision of the merged boxes at an overlap of 0.25, and how many true ships have a box whose centre lies on them. Then,
over other scenes and without a model: how many ships lie wholly in no tile that the rule for empty sea lets through.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.checkpoints import NANO
from fusargpt.metrics.detection import matched_overlaps
from fusargpt.scenes.emptiness import nothing_stands_out
from fusargpt.simulator.rendering import DISPLAY_DB, render_backscatter
from fusargpt.simulator.simulated_scene import RESOLUTION_M
from fusargpt.simulator.vector_field import VectorField
from fusargpt.simulator.world import AEF_PIXEL_M, ground_of, scene_of
from fusargpt.simulator.world_files import north_up_grid, write_scene
from fusargpt.simulator.world_plan import Place, plan_places

SIDE = 1008
_TILE, _OVERLAP = 168, 42
_YEAR = 2023
_IOU = 0.25
_CENTRE_TOLERANCE = 2.0  # pixels


@dataclass
class Score:
    """Sums over scenes."""

    ships: int = 0
    boxes: int = 0
    matched: int = 0
    centred: int = 0


def places(count: int, seed: int, side: int = SIDE) -> list[Place]:
    """Harbours and seas in turn, 5 m pixels, decibels on an affine grid."""
    planned = []
    for index, place in enumerate(plan_places(count, [_YEAR], seed, (side,))):
        kind = ("harbour", "sea")[index % 2]
        transform = Affine(RESOLUTION_M, 0, place.transform.c, 0, -RESOLUTION_M, place.transform.f)
        planned.append(
            replace(
                place,
                name=f"{index:02d}-{kind}",
                kind=kind,
                storage="decibels",
                at_border=False,
                resolution_m=RESOLUTION_M,
                transform=transform,
                acquired=f"{_YEAR}-06-01",
            )
        )
    return planned


def write(folder: Path, place: Place) -> Path:
    """The scene and its AlphaEarth tile; returns the scene's path."""
    ground = ground_of(place)
    path = folder / f"{place.name}.tif"
    write_scene(path, place, [render_backscatter(scene_of(place, ground), "VV")])
    field = VectorField.of(ground, place.ground_geometry, _YEAR)
    grid, height, width = north_up_grid(place.ground_geometry.bounds(), place.crs, AEF_PIXEL_M)
    transform = Affine(AEF_PIXEL_M, 0, grid.c, 0, AEF_PIXEL_M, grid.f - height * AEF_PIXEL_M)
    zone = f"{place.zone}{'S' if place.south else 'N'}"
    codes = field.tile(place.crs, transform, height, width, -180.0, 180.0)
    write_tile(folder / "aef" / str(_YEAR) / zone / f"{place.name}.tiff", codes, crs=place.crs, transform=transform)
    return path


def ships_of(place: Place) -> list[tuple[int, int, int, int]]:
    return [target.box for target in scene_of(place, ground_of(place)).targets]


def add(score: Score, boxes: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> None:
    score.ships += len(truth)
    score.boxes += len(boxes)
    score.matched += sum(overlap >= _IOU for overlap in matched_overlaps(boxes, truth))
    centres = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes]
    slack = _CENTRE_TOLERANCE
    for x1, y1, x2, y2 in truth:
        score.centred += any(x1 - slack <= x <= x2 + slack and y1 - slack <= y <= y2 + slack for x, y in centres)


def detections(folder: Path, count: int, seed: int) -> dict[str, Score]:
    """The score of each way of asking."""
    from fusargpt.inference.loading import load
    from fusargpt.scenes import detect

    predictor = load(NANO)
    prior, limits = {"aef": str(folder / "aef")}, {"decibels": DISPLAY_DB["VV"]}
    ways: dict[str, dict[str, Any]] = {
        "limits of training, prior": {**prior, **limits},
        "the same, no prior": {"no_prior": True, **limits},
        "the same, tiles without overlap": {**prior, **limits, "overlap": 0},
        "the same, boxes left unmerged": {**prior, **limits, "overlap_threshold": 1.0},
        "the same, every score": {**prior, **limits, "min_score": 0.0},
        "stretch of the scene, prior": prior,
        "stretch of each tile, prior": {**prior, "stretch": "tile"},
    }
    scores = {way: Score() for way in ways}
    for place in places(count, seed):
        path, truth = folder / f"{place.name}.tif", ships_of(place)
        for way, options in ways.items():
            result = detect(path, predictor=predictor, **options)
            add(scores[way], [found.box for found in result.places], truth)
    return scores


def rule(count: int, seed: int, contrasts: Sequence[float]) -> None:
    """How many ships lie in no tile that is asked, and how many tiles are, by the contrast asked for."""
    from fusargpt.scenes.tiles import cut

    tiles = cut(SIDE, SIDE, _TILE, _OVERLAP)
    ships, missed, asked = 0, dict.fromkeys(contrasts, 0), dict.fromkeys(contrasts, 0)
    for place in places(count, seed):
        scene = scene_of(place, ground_of(place))
        decibels = render_backscatter(scene, "VV").astype(np.float32)
        boxes = np.array([target.box for target in scene.targets], float).reshape(-1, 4)
        ships += len(boxes)
        for contrast in contrasts:
            seen = np.zeros(len(boxes), bool)
            for tile in tiles:
                part = decibels[tile.top : tile.top + tile.side, tile.left : tile.left + tile.side]
                if not nothing_stands_out(part, np.ones(part.shape, bool), "decibels", contrast):
                    asked[contrast] += 1
                    right, bottom = tile.left + tile.side, tile.top + tile.side
                    seen |= (boxes >= (tile.left, tile.top, tile.left, tile.top)).all(1) & (
                        boxes <= (right, bottom, right, bottom)
                    ).all(1)
            missed[contrast] += int((~seen).sum())
    for contrast in contrasts:
        share = 100 * asked[contrast] / (len(tiles) * count)
        print(f"contrast {contrast:g} dB: {missed[contrast]} of {ships} ships in no asked tile; {share:.0f} % asked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/scene_detection"), help="of scenes and field")
    parser.add_argument("--scenes", type=int, default=6, help="that the model is asked about (default: 6)")
    parser.add_argument("--rule-scenes", type=int, default=20, help="for the rule alone (default: 20)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for place in places(options.scenes, options.seed):
        if not (options.folder / f"{place.name}.tif").exists():
            write(options.folder, place)
    write_index(options.folder / "aef")
    for way, score in detections(options.folder, options.scenes, options.seed).items():
        print(
            f"{way}: recall {100 * score.matched / score.ships:.1f} %, precision "
            f"{100 * score.matched / max(score.boxes, 1):.1f} %; {score.centred} of {score.ships} ships have a box on "
            f"them; {score.boxes} boxes"
        )
    if options.rule_scenes:
        rule(options.rule_scenes, options.seed + 1, (3.0, 6.0, 9.0, 12.0))


if __name__ == "__main__":
    main()
