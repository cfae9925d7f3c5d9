"""How the time of many scenes, chips, boxes and answers grows with their number, of all that runs no model.

    python -m benchmarks.growth

Each case runs at three sizes, each twice as large as the one before. Given is processor time, since the wall tells who
else was running, and the exponent p of a fit of time ~ size ** p through the three: 1 where twice the work takes twice
the time, 2 where it takes four times.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fusargpt.inference.questions import Answer

RESULT = Path(__file__).parent / "results" / "growth.json"
STEPS = (1, 2, 4)
SIDE = 504
METRES = 10.0


def splits_side_by_side(count: int, _folder: Path) -> Callable[[], object]:
    """Scenes of 5 km, 7 km apart, that fill a square."""
    from fusargpt.triplets.splits import Located, split_by_place

    across = math.isqrt(count)
    corners = [(0.063 * (index % across), 0.063 * (index // across)) for index in range(count)]
    scenes = [Located(str(n), "", (x, y, x + 0.045, y + 0.045), None) for n, (x, y) in enumerate(corners)]
    return lambda: split_by_place(scenes)


def splits_of_many_passes(count: int, _folder: Path) -> Callable[[], object]:
    """Scenes of ten places, each photographed again and again, no two with quite the same outline."""
    from fusargpt.triplets.splits import Located, split_by_place

    shifts = np.random.default_rng(0).uniform(0, 0.02, (count, 2)).tolist()
    corners = [(n % 10 + x, 50 + y) for n, (x, y) in enumerate(shifts)]
    scenes = [Located(str(n), "", (x, y, x + 0.3, y + 0.2), None) for n, (x, y) in enumerate(corners)]
    return lambda: split_by_place(scenes)


def boxes_to_chips(count: int, _folder: Path) -> Callable[[], object]:
    """One scene of so many chips, with four ships a chip."""
    from fusargpt.geo.tiling import chip_windows
    from fusargpt.triplets.boxes import Box, PlacedBoxes, assign

    side = SIDE * math.isqrt(count)
    corners = np.random.default_rng(0).uniform(0, side - 40, (4 * (side // SIDE) ** 2, 2)).tolist()
    boxes = [Box((x, y, x + 40, y + 15), "ship") for x, y in corners]
    windows = [w.flatten() for w in chip_windows(side, side, SIDE)]

    def deal() -> None:
        placed = PlacedBoxes(boxes)
        for left, top, width, height in windows:
            chip = (left, top, left + width, top + height)
            assign(placed.near(chip), chip)

    return deal


def one_geojson(count: int, folder: Path) -> Callable[[], object]:
    """So many scenes side by side, and one file with ten ships a scene for all of them, as the survey reads it."""
    from affine import Affine

    from fusargpt.geo.geometry import Geometry
    from fusargpt.triplets.annotations import labels_of, read_boxes
    from fusargpt.triplets.boxes import LabelNames

    across, extent = math.isqrt(count), SIDE * METRES
    grids = [
        Affine(METRES, 0, 400_000 + extent * (n % across), 0, -METRES, 3_700_000 - extent * (n // across))
        for n in range(across**2)
    ]
    scenes = [Geometry.from_affine(grid, "EPSG:32611", SIDE, SIDE) for grid in grids]
    rng = np.random.default_rng(0)
    features = []
    outline = np.array([[0, 0], [40, 0], [40, 15], [0, 15], [0, 0]])
    for scene in scenes:
        corners = rng.uniform(0, SIDE - 40, (10, 1, 2)) + outline
        for ring in scene.to_lonlat(corners.reshape(-1, 2)).reshape(10, 5, 2).tolist():
            shape = {"type": "Polygon", "coordinates": [ring]}
            features.append({"type": "Feature", "properties": {"label": "ship"}, "geometry": shape})
    path = folder / "ships.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    names = LabelNames(("ship",), {})

    def read() -> None:
        for n, scene in enumerate(scenes):
            labels_of(str(path), f"{n}.tif", SIDE, SIDE, names)
            read_boxes(str(path), f"{n}.tif", SIDE, SIDE, scene, names)

    return read


def one_coco(count: int, folder: Path) -> Callable[[], object]:
    """So many pictures, and one file with ten ships a picture for all of them, as the survey reads it."""
    from fusargpt.triplets.annotations import labels_of, read_boxes
    from fusargpt.triplets.boxes import LabelNames

    content = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(count)],
        "categories": [{"id": 1, "name": "ship"}],
        "annotations": [{"image_id": n % count, "category_id": 1, "bbox": [9, 9, 40, 15]} for n in range(10 * count)],
    }
    path = folder / "ships.json"
    path.write_text(json.dumps(content))
    names = LabelNames(("ship",), {})

    def read() -> None:
        for n in range(count):
            labels_of(str(path), f"{n}.png", SIDE, SIDE, names)
            read_boxes(str(path), f"{n}.png", SIDE, SIDE, None, names)

    return read


def small_blocks(count: int, folder: Path) -> Callable[[], object]:
    """Blocks of 4 KiB put into a cache that holds all of them, as overviews of a field are."""
    return _blocks(folder, count, 8 * 2**30)


def small_blocks_of_a_full_cache(count: int, folder: Path) -> Callable[[], object]:
    """Blocks of 4 KiB put into a cache that holds 250."""
    return _blocks(folder, count, 250 * 4200)


def _blocks(folder: Path, count: int, max_bytes: int) -> Callable[[], object]:
    from fusargpt.alphaearth.block_cache import BlockCache

    cache, block = BlockCache(folder / "blocks", max_bytes), np.zeros(4096, np.int8)

    def put() -> None:
        for n in range(count):
            cache.put(str(n), block)
            cache.get(str(n))

    return put


def detections_to_objects(count: int, _folder: Path) -> Callable[[], object]:
    """The answers of so many tiles of one scene, three ships each, to one list of objects."""
    from fusargpt.scenes.layers import objects
    from fusargpt.scenes.tiles import cut

    side = 400 * math.isqrt(count)
    tiles, answers = cut(side, side, SIDE, 104), {}
    rng = np.random.default_rng(0)
    for tile in tiles:
        corners = rng.integers(0, SIDE - 40, (3, 2)).tolist()
        boxes = [{"bbox_2d": [x, y, x + 40, y + 15], "label": "ship"} for x, y in corners]
        answers[tile.id] = _answer(tile.id, "detect", json.dumps(boxes))
    return lambda: objects(tiles, answers, side, side, 0.5)


def scores_of_answers(count: int, _folder: Path) -> Callable[[], object]:
    """So many answers of each task but one, scored with their intervals."""
    from fusargpt.metrics.scores import TALLIES

    boxes = json.dumps([{"bbox_2d": [10, 10, 50, 25], "label": "ship"}])
    texts = {"detect": boxes, "count": "3", "localize": "1, 2", "classify": "ship"}

    def score() -> None:
        for task, text in texts.items():
            for tally in TALLIES[task]([text] * count, [text] * count).values():
                tally.score()

    return score


def journal_and_rows(count: int, folder: Path) -> Callable[[], object]:
    """So many answers appended to a journal 64 at a time, read again as by a run that goes on, and written as rows."""
    from fusargpt.inference.journal import new_journal, read_journals
    from fusargpt.serving.answer_file import write_answers

    answers = [_answer(f"{n}.png", "count", "3") for n in range(count)]

    def write() -> None:
        journal = new_journal(folder / "journals", {}, "a run")
        for first in range(0, count, 64):
            journal.add(answers[first : first + 64])
        write_answers(folder / "answers.parquet", list(read_journals(folder / "journals", {}, "a run").values()))

    return write


CASES: dict[str, tuple[Callable[[int, Path], Callable[[], object]], int]] = {
    "build: splits, scenes side by side": (splits_side_by_side, 4000),
    "build: splits, many passes over ten places": (splits_of_many_passes, 4000),
    "build: boxes to chips": (boxes_to_chips, 900),
    "build: one GeoJSON for all scenes": (one_geojson, 144),
    "build: one COCO for all scenes": (one_coco, 400),
    "caches: small blocks": (small_blocks, 500),
    "caches: small blocks, full": (small_blocks_of_a_full_cache, 1000),
    "detect: boxes of tiles to objects": (detections_to_objects, 900),
    "evaluate: scores with intervals": (scores_of_answers, 5000),
    "batch: journal and file of rows": (journal_and_rows, 4000),
}


def measure(name: str, size: int, repeats: int) -> float:
    """Processor seconds of one case at one size, the least of some turns."""
    make, seconds = CASES[name][0], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            run = make(size, Path(folder))
            before = time.process_time()
            run()
            seconds.append(time.process_time() - before)
    return min(seconds)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each size, of which the fastest counts")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    result = {}
    for name, (make, first) in CASES.items():
        sizes = [first * step for step in STEPS]
        measure(name, first, 1)  # imports, and what libraries look up once
        seconds = [measure(name, size, options.repeats) for size in sizes]
        grown = round(exponent(sizes, seconds), 2)
        result[name] = {"sizes": sizes, "processor_seconds": [round(value, 3) for value in seconds], "exponent": grown}
        print(f"{name:<45}{grown:>6}  {result[name]['processor_seconds']}  {make.__doc__}", flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def _answer(name: str, task: str, text: str) -> Answer:
    return Answer(name, task, "", text, (SIDE, SIDE), (SIDE, SIDE), anchors=64, seconds=0.0)


if __name__ == "__main__":
    main()
