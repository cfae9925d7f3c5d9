"""Memory and time of a detection over a scene of 20,000 x 20,000 pixels: python -m benchmarks.scene_memory

Writes, block by block, a scene of 100 km as Sentinel-1 products are (uint16 amplitude, 5 m pixels, a border without
data): calm sea with speckle and swell, 300 ships, and 10 km of land in a corner, over which an AlphaEarth field of
20 km lies. Then fusargpt-nano boxes its ships, and what is printed is the largest resident memory above that of the
loaded model, the time and the share of the tiles that were skipped. Time is given as processor seconds, too, which
other work on the machine does not change.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from tqdm import tqdm

from fusargpt.alphaearth.layout import write_index, write_tile
from fusargpt.checkpoints import NANO
from fusargpt.files import written_whole

SIDE = 20_000
_RESOLUTION_M = 5.0
_EPSG, _WEST, _NORTH = 32611, 400_000, 3_800_000
_BLOCK = 512
_YEAR = 2023
_SHIPS = 300
_LAND_PIXELS = 2048
_FIELD_PIXELS = 2048
_BORDER = 0.02  # of the width, without data
_LOOKS = 4


def write_simulated_scene(path: Path, side: int) -> None:
    """The scene; the same side always gives the same pixels."""
    rng = np.random.default_rng(0)
    # One patch of speckle turned and shifted for each block: drawing 400 million values would take longer than the run.
    speckle = rng.gamma(_LOOKS, 1 / _LOOKS, (1024, 1024)).astype(np.float32)
    ships = rng.integers(_LAND_PIXELS, side - 64, (_SHIPS, 2))
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "width": side,
        "height": side,
        "nodata": 0,
    }
    tiling: dict[str, Any] = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "if_safer"}
    transform = Affine(_RESOLUTION_M, 0, _WEST, 0, -_RESOLUTION_M, _NORTH)
    with rasterio.open(path, "w", **profile, **tiling, crs=f"EPSG:{_EPSG}", transform=transform) as dataset:
        dataset.update_tags(ACQUISITION_DATETIME=f"{_YEAR}-06-01T05:40:12Z", SENSOR="simulated SAR")
        dataset.set_band_description(1, "VV")
        for top in tqdm(range(0, side, _BLOCK), unit="row", desc="scene"):
            for left in range(0, side, _BLOCK):
                height, width = min(_BLOCK, side - top), min(_BLOCK, side - left)
                decibels = _ground(left, top, height, width)
                for x, y in ships:
                    _add_ship(decibels, int(x) - left, int(y) - top, 6 + int(x) % 30, 4 + int(y) % 5)
                shifts = rng.integers(0, 1024 - _BLOCK, 2)
                noise = speckle[shifts[0] : shifts[0] + height, shifts[1] : shifts[1] + width]
                amplitude = np.sqrt(10 ** (decibels / 10) * noise) * 1000
                values = np.clip(np.rint(amplitude), 1, 65535).astype(np.uint16)
                values[:, : max(0, int(_BORDER * side) - left)] = 0
                dataset.write(values, 1, window=Window.from_slices((top, top + height), (left, left + width)))


def write_field(root: Path) -> None:
    """An AlphaEarth field of 20 km around the land, in blocks as large as published ones."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(-60, 61, (_FIELD_PIXELS // 64, _FIELD_PIXELS // 64, 64)).astype(np.int8)
    # Unit length: codes are square roots, so that their fourth powers sum to 127.5^4.
    lengths = ((np.abs(coarse.astype(np.float64)) / 127.5) ** 4).sum(-1, keepdims=True) ** 0.25
    codes = np.clip(np.rint(coarse / lengths), -127, 127).astype(np.int8).repeat(64, 0).repeat(64, 1)
    south = _NORTH - _FIELD_PIXELS * 10
    transform = Affine(10, 0, _WEST, 0, 10, south)
    write_tile(root / str(_YEAR) / "11N" / "field.tiff", codes, crs=f"EPSG:{_EPSG}", transform=transform)
    write_index(root)


def _ground(left: int, top: int, height: int, width: int) -> NDArray[np.float32]:
    """Decibels without speckle: sea with swell, and fields of different brightness on land."""
    rows, columns = np.indices((height, width), np.float32)
    rows, columns = rows + top, columns + left
    sea = -20 + 0.7 * np.sin(columns / 37 + rows / 53)
    land = -9 + 4 * np.sin(rows // 90 * 1.7) * np.cos(columns // 70 * 2.3)
    return np.where((rows < _LAND_PIXELS) & (columns < _LAND_PIXELS), land, sea)


def _add_ship(decibels: NDArray[np.float32], x: int, y: int, length: int, width: int) -> None:
    if x < decibels.shape[1] and y < decibels.shape[0] and x + length > 0 and y + width > 0:
        decibels[max(y, 0) : y + width, max(x, 0) : x + length] = 0


def _memory_mib(field: str) -> float:
    """VmRSS, the memory in use, or VmHWM, the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(folder: Path, with_prior: bool) -> None:
    from fusargpt.inference.loading import load
    from fusargpt.scenes import detect

    predictor = load(NANO)
    loaded = _memory_mib("VmRSS")
    # Resets VmHWM.
    Path("/proc/self/clear_refs").write_text("5")
    clock, processor = time.perf_counter(), time.process_time()
    prior: dict[str, Any] = {"aef": str(folder / "aef")} if with_prior else {"no_prior": True}
    result = detect(
        folder / "scene.tif",
        out=folder / "ships.geojson",
        quicklook=folder / "ships.png",
        predictor=predictor,
        max_new_tokens=200,
        **prior,
    )
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    tiles = result.provenance["tiles"]
    total = sum(tiles[name] for name in ("asked", "no data", "nothing stands out", "failed"))
    print(f"{total:,} tiles: {tiles}")
    print(f"skipped: {100 * (total - tiles['asked'] - tiles['failed']) / total:.1f} %; boxes: {len(result.places):,}")
    print(f"memory: {loaded:.0f} MiB with the model, at most {_memory_mib('VmHWM') - loaded:.0f} MiB more")
    print(f"time: {clock:.0f} s, {total / clock:.0f} tiles/s; {processor:.0f} processor seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/scene_memory"), help="of scene, field and output")
    parser.add_argument("--side", type=int, default=SIDE, help="pixels (default: 20000)")
    parser.add_argument("--no-prior", action="store_true", help="answer from the image alone")
    parser.add_argument("--write-only", action="store_true", help="write scene and field, measure nothing")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / "scene.tif").exists():
        with written_whole(options.folder / "scene.tif", keep_suffix=True) as partial:
            write_simulated_scene(partial, options.side)
    if not (options.folder / "aef" / "aef_index.parquet").exists():
        write_field(options.folder / "aef")
    if not options.write_only:
        # Written in this process, the field's codes would count as memory of the run.
        measure(options.folder, not options.no_prior)


if __name__ == "__main__":
    main()
