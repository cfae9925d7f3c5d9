"""Inputs of areas: polygons that are changed, and numbers of rectangles."""

import json
from pathlib import Path
from random import Random

from tests.fusargpt.scenes.polygons import in_crs, write_geojson, write_layer
from tests.fuzz.material import Material
from tests.fuzz.mutations import changed_bytes, changed_text, changed_value
from tests.fuzz.trial import tell

_CRS = ("EPSG:4326", "EPSG:3857", "EPSG:32612")


def polygons(random: Random, material: Material, place: Path) -> None:
    """A verb over a part of a scene, or without its land, of which the file is changed."""
    crs, kind = random.choice(_CRS), random.choice((".geojson", ".geojson", ".gpkg", ".shp"))
    path, shapes = place / f"area{kind}", in_crs(crs, (10, 10, 60, 50), (55, 45, 90, 200))
    if kind == ".geojson":
        name = {"type": "name", "properties": {"name": crs}}
        write_geojson(path, shapes, crs=name)
        if random.random() < 0.6:
            path.write_text(json.dumps(changed_value(random, json.loads(path.read_text()))))
        else:
            path.write_bytes(changed_text(random, path.read_text()).encode("utf-8", "surrogatepass"))
    else:
        write_layer(path, shapes, crs)
        changed = random.choice(sorted(place.glob("area.*")))
        changed.write_bytes(changed_bytes(random, changed.read_bytes(), 4000))
    edges = [random.choice(("-118.1", "-118.05", "33.4", "33.45", "nan", "inf", "1e9", "-180")) for _ in range(4)]
    area = random.choice((["--aoi", str(path)], ["--land", str(path)], ["--bbox", *edges]))
    crs_out = random.choice(([], ["--out-crs", random.choice((*_CRS, "EPSG:5514", "EPSG:4978", "EPSG:0"))]))
    out = place / f"out{random.choice(('.gpkg', '.parquet', '.json'))}"
    model = ["--model", str(material.model), "--tile", "48", "--max-new-tokens", "2"]
    verb = random.choice(("detect", "count", "localize"))
    tell([verb, str(material.harbour), "--no-prior", *area, *crs_out, *model, "--out", str(out)])
