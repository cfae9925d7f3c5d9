"""Write the outlines that maps of places are drawn from: python -m scripts.make_outlines COUNTRIES.shp CITIES.shp

Both are of Natural Earth (public domain, naturalearthdata.com) at 1:110 million: `ne_110m_admin_0_countries.shp` and
`ne_110m_populated_places.shp`, with the files beside them; those in use are the copies that came with geopandas 0.14.
Outlines are simplified to a tenth of a degree, which a map of a few hundred pixels hardly shows. Needs the extra
`scenes`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from pyogrio.raw import read as read_layer

OUTLINES = Path(__file__).parents[1] / "fusargpt" / "geo" / "outlines.json"
TOLERANCE_DEGREES = 0.1


def make_outlines(countries: Path, cities: Path, out: Path) -> None:
    """Write rings of (longitude, latitude) in tenths of a degree, and cities with name, longitude and latitude."""
    _, _, shapes, _ = read_layer(countries, columns=[])
    rings = shapely.get_rings(shapely.get_parts(shapely.from_wkb(shapes)))
    # As lines they keep their ends; of rings, newer releases of GEOS may drop the point they begin with.
    lines = [shapely.LineString(ring.coords) for ring in rings]
    simplified = shapely.simplify(lines, TOLERANCE_DEGREES, preserve_topology=False)
    tenths = [np.round(shapely.get_coordinates(ring) * 10).astype(int) for ring in simplified]
    land = [ring.ravel().tolist() for ring in tenths if len(np.unique(ring, axis=0)) > 2]
    # By SQL, to which NAME is name as well.
    _, _, points, (names,) = read_layer(cities, sql=f'SELECT name FROM "{cities.stem}"')
    places = shapely.get_coordinates(shapely.from_wkb(points)).round(2).tolist()
    # "?" stands for a letter that the file's encoding lacks.
    named = sorted([name, *place] for name, place in zip(names, places, strict=True) if "?" not in name)
    out.write_text(f'{{"land":[\n{_lines(land)}\n],"cities":[\n{_lines(named)}\n]}}\n', encoding="utf-8")


def _lines(rows: Sequence[Sequence[object]]) -> str:
    return ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("countries", type=Path)
    parser.add_argument("cities", type=Path)
    options = parser.parse_args()
    make_outlines(options.countries, options.cities, OUTLINES)
