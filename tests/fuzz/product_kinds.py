"""The kinds of inputs that archives publish: Sentinel-1 products and items of STAC."""

import json
import shutil
from pathlib import Path
from random import Random

from tests.fusargpt.geo.safe_products import packed
from tests.fuzz.material import Material
from tests.fuzz.mutations import changed_bytes, changed_text, changed_value
from tests.fuzz.trial import tell


def product(random: Random, material: Material, place: Path) -> None:
    """`count` over a Sentinel-1 product of which a file is changed or gone, or its archive is damaged."""
    (source,) = material.product.iterdir()
    changed = place / source.name
    shutil.copytree(source, changed)
    path = random.choice(sorted(file for file in changed.rglob("*") if file.is_file()))
    if random.random() < 0.1:
        path.unlink()
    elif path.suffix == ".xml" and random.random() < 0.6:
        path.write_bytes(changed_text(random, path.read_text()).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(changed_bytes(random, path.read_bytes()))
    if random.random() < 0.4:
        changed = packed(changed)
        if random.random() < 0.5:
            changed.write_bytes(changed_bytes(random, changed.read_bytes()))
    _count(random, material, place, changed)


def item(random: Random, material: Material, place: Path) -> None:
    """`count` over a changed item of STAC, or over a damaged raster of a good one."""
    folder = place / "item"
    shutil.copytree(material.stac, folder)
    path = random.choice(sorted(folder.iterdir()))
    if path.suffix != ".json":
        path.write_bytes(changed_bytes(random, path.read_bytes()))
    elif random.random() < 0.7:
        path.write_text(json.dumps(changed_value(random, json.loads(path.read_text()))))
    else:
        path.write_bytes(changed_text(random, path.read_text()).encode("utf-8", "surrogatepass"))
    _count(random, material, place, folder / "item.json")


def _count(random: Random, material: Material, place: Path, scene: Path) -> None:
    polarization = random.choice(([], ["--polarization", "VV"], ["--polarization", "VH"]))
    options = ["--tile", "48", "--no-quicklook", "--model", str(material.model), "--max-new-tokens", "3"]
    tell(["count", str(scene), "--no-prior", *polarization, *options, "--out", str(place / "out.json")])
