"""Ships of a real scene, found and missed: python -m benchmarks.los_angeles sentinel1_vv_port_of_la_2021-01-05.tif

The scene (Sentinel-1, VV, 550 x 756 pixels of 30 m) is not part of this repository. `los_angeles_ships.csv` holds the
brightest pixel of each of 40 ships in open water, marked by eye on the picture, without other records: a small one may
be missing, and a buoy among them. Ships moored at the quays are not in it, so a box on one of those counts as false.

Printed for each model: boxes, how many of them have a ship's brightest pixel within two pixels, and how many ships have
such a box. `--out` names a folder for the boxes and the picture that they are drawn on.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from fusargpt.checkpoints import NANO, NANO_SSDD
from fusargpt.scenes import detect

SHIPS = Path(__file__).with_name("los_angeles_ships.csv")
TOLERANCE = 2.0  # pixels


def ships() -> list[tuple[float, float]]:
    """Centres (x, y) of the ships' brightest pixels."""
    with SHIPS.open(newline="") as file:
        return [(int(row["column"]) + 0.5, int(row["row"]) + 0.5) for row in csv.DictReader(file)]


def holds(box: Sequence[float], ship: tuple[float, float]) -> bool:
    x1, y1, x2, y2 = box
    x, y = ship
    return x1 - TOLERANCE <= x <= x2 + TOLERANCE and y1 - TOLERANCE <= y <= y2 + TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/los_angeles"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = ships()
    for model in (NANO, NANO_SSDD):
        out, picture = options.out / f"{model.name}.geojson", options.out / f"{model.name}.png"
        for earlier in (out, picture):
            earlier.unlink(missing_ok=True)
        result = detect(options.scene, target="ship", no_prior=True, model=str(model), out=out, quicklook=picture)
        boxes = [place.box for place in result.places]
        right = sum(any(holds(box, ship) for ship in truth) for box in boxes)
        found = sum(any(holds(box, ship) for box in boxes) for ship in truth)
        print(f"{model.name}: {len(boxes)} boxes, {right} on a ship; {found} of {len(truth)} ships have one; {out}")


if __name__ == "__main__":
    main()
