"""The kinds of inputs: what is changed, which verb gets it, and what must be there all the same."""

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from rasterio.transform import Affine

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.triplets.augment import main as augment
from tests.fusargpt.scenes.scenes import CRS, SIDE, TRANSFORM
from tests.fuzz import area_kinds, klip_kinds, product_kinds, stage_kinds
from tests.fuzz.material import Material
from tests.fuzz.mutations import (
    HEADER,
    TEXTS,
    changed_bytes,
    changed_of_type,
    changed_text,
    changed_value,
)
from tests.fuzz.trial import SHORT, Lost, check_there, rows_of, tell

SCENE_VERBS = ("classify", "count", "describe", "detect", "localize")


def picture(random: Random, material: Material, place: Path) -> None:
    """`ask` about a damaged picture, a damaged prior, or both."""
    image = random.choice(sorted(material.pictures.iterdir()))
    suffix = image.suffix if random.random() < 0.8 else random.choice((".png", ".jpg", ".tif"))
    changed = place / f"image{suffix}"
    changed.write_bytes(changed_bytes(random, image.read_bytes(), 200))
    arguments = ["ask", str(changed), "How many ships?", "--model", str(material.model), *SHORT]
    if random.random() < 0.4:
        prior = place / "prior.npz"
        prior.write_bytes(changed_bytes(random, material.prior.read_bytes()))
        arguments[1] = str(random.choice((image, changed)))
        arguments += ["--prior", str(prior)]
    tell(arguments)


def words(random: Random, material: Material, place: Path) -> None:
    """Questions that nobody would ask, of an image, a folder or a scene."""
    question = "".join(random.choice((*TEXTS, "How many ships?", " ")) for _ in range(random.randrange(1, 5)))
    model = ["--model", str(material.model), *SHORT]
    verb = random.choice(("ask", "batch", "detect"))
    if verb == "ask" and not question.startswith("-"):  # which argparse takes for an option
        said = tell(["ask", *model, str(material.pictures / "grey.png"), question])
    elif verb == "batch":
        given = ["--question", question] if not question.startswith("-") else [f"--question={question}"]
        said = tell(["batch", str(material.pictures), *given, *model, "--out", str(place / "out.jsonl")])
    else:
        scene = [str(material.harbour), "--no-prior", "--tile", "48", "--no-quicklook"]
        said = tell(["detect", *scene, f"--question={question}", *model, "--out", str(place / "out.json")])
    readable = question.strip() and "\x00" not in question and question.encode(errors="ignore").decode() == question
    if (said.code == 0 and not readable) or (readable and said.code == 2 and len(question) < 1000):
        raise Lost(f"{verb} {question!r}: code {said.code}\n{said.err}")


def arguments(random: Random, material: Material, place: Path) -> None:
    """A command line with words changed, left out, doubled or added."""
    os.chdir(place)
    found = commands(material)
    verb = random.choice(sorted(found))
    line = list(found[verb])
    vocabulary = [word for words in found.values() for word in words if not Path(word).exists()]
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(line) + 1)
        kind = random.randrange(4)
        if kind == 0 and at < len(line):
            del line[at]
        elif kind == 1 and at < len(line):
            line[at] = random.choice(TEXTS)
        else:
            line.insert(at, random.choice((random.choice(vocabulary), random.choice(TEXTS))))
    tell([verb, *line])


def commands(material: Material) -> dict[str, list[str]]:
    """A good command line of each verb; nothing in it works on more than one process, nor for long."""
    model, grey = str(material.model), str(material.pictures / "grey.png")
    scene = [str(material.harbour), "--no-prior", "--tile", "48", "--model", model, *SHORT, "--out", "out.geojson"]
    verbs = {verb: [*scene, "--bbox", "-119", "33", "-118", "34"] for verb in SCENE_VERBS}
    klip = ["--model", str(material.klip)]
    return verbs | {
        "embed": [str(material.pictures), "--band", "1", *klip, "--out", "features.parquet"],
        "search": ["ships", "--in", str(material.features), *klip, "--top", "3", "--out", "found"],
        "ask": [grey, "--task", "count", "--target", "ship", "--model", model, *SHORT, "--band", "1", "--json"],
        "batch": [str(material.pictures), "--task", "count", "--model", model, *SHORT, "--out", "out.parquet"],
        "caption": [str(material.dataset), "--limit", "1", "--out", "captions"],
        "calibrate": [model, str(material.dataset), "--split", "train", "--limit", "1", *SHORT, "--out", "fitted"],
        "convert": [str(material.release), "--base", str(material.released_backbone), "--out", "converted"],
        "demo": ["--model", model, "--host", "127.0.0.1", "--port", "7860"],
        "evaluate": [model, str(material.dataset), "--tasks", "count", "--limit", "1", *SHORT, "--out", "evaluation"],
        "manifest": ["coco", str(material.root), "--images", ".", "--annotations", "coco.json", "--out", "m.csv"],
        "merge": [str(material.stage1), "--out", "merged", "--dtype", "float32"],
        "plan": [str(material.recipe), "--gpus", "2", "--triplets", "100", "--model_name_or_path", model],
        "prior": [str(material.harbour), "--aef", str(material.field), "--anchors", "4", "--out", "prior.npz"],
        "push": [str(material.stage1), "someone/model", "--base", "not a name"],
        "quickstart": ["--model", "nowhere", "--out", "quickstart.png"],
        "scio": [str(material.dataset), "--config", "captions", "--only-halves", "--out", "halves"],
        "train": [str(material.recipe), "--model_name_or_path", "nowhere", "--output_dir", "stage"],
        "triplets": ["build", str(material.root / "absent.jsonl"), "--workers", "0", "--out", "triplets"],
    }


def scene(random: Random, material: Material, place: Path) -> None:
    """A verb over a damaged scene."""
    changed = place / "scene.tif"
    changed.write_bytes(changed_bytes(random, material.harbour.read_bytes(), 600))
    out = place / f"out{random.choice(('.geojson', '.json', '.gpkg', '.parquet'))}"
    prior = random.choice((["--no-prior"], ["--aef", str(material.field)]))
    model = ["--model", str(material.model), "--tile", "48", *SHORT]
    tell([random.choice(SCENE_VERBS), str(changed), *prior, *model, "--out", str(out)])


def tile(random: Random, material: Material, place: Path) -> None:
    """Anchors from a tile with a changed header, or a changed index."""
    field = place / "field"
    shutil.copytree(material.field, field)
    (path,) = field.rglob("*.tiff")
    if random.random() < 0.2:
        path = field / "aef_index.parquet"
    path.write_bytes(changed_bytes(random, path.read_bytes(), HEADER))
    geometry = Geometry.from_affine(TRANSFORM @ Affine.scale(random.choice((0.5, 1.0))), CRS, SIDE, SIDE)
    chosen: Any = {"grid": (4, 4)} if random.random() < 0.5 else {"spacing_m": 100.0, "resolution": "match"}
    try:
        source = AlphaEarth(field)
        _ = source.years
        spatiotemporal_anchors(geometry, 2023, source=source, missing=random.choice(("raise", "empty")), **chosen)
    except InputError as error:
        if len(str(error).split("\n")) > 1:
            raise Lost(f"more than a line: {error}") from error


def folder(random: Random, material: Material, place: Path) -> None:
    """`batch` over a folder with one bad file among good ones."""
    images = place / "images"
    images.mkdir()
    for name in ("colour.png", "grey.jpg"):
        shutil.copy(material.pictures / name, images)
    bad = random.choice(sorted(material.pictures.iterdir()))
    name = random.choice((f"z{bad.suffix}", f"caf\udce9{bad.suffix}", f"{'z' * 200}{bad.suffix}", f"a\nb{bad.suffix}"))
    content = changed_bytes(random, bad.read_bytes(), 200)
    (images / name).write_bytes(content)
    if random.random() < 0.3:
        (images / name).with_suffix(".npz").write_bytes(changed_bytes(random, material.prior.read_bytes()))
    out = place / f"out{random.choice(('.jsonl', '.parquet'))}"
    said = tell(["batch", str(images), "--task", "count", "--model", str(material.model), *SHORT, "--out", str(out)])
    check_there(said, rows_of(out), {"colour.png", "grey.jpg"})


def rows(random: Random, material: Material, place: Path) -> None:
    """`batch` or `evaluate` over a dataset of which one row in three is altered."""
    data = place / "data"
    shutil.copytree(material.dataset, data)
    (path,) = data.glob("test*.parquet")
    table = pq.read_table(path)
    records = table.to_pylist()
    altered = set(random.sample(range(len(records)), 5))
    for number in altered:
        column = random.choice(("id", "task", "prompt", "completion", "image", "prior_embeddings", "prior_positions"))
        records[number][column] = changed_of_type(random, table.schema.field(column).type, records[number][column])
    pq.write_table(pa.Table.from_pylist(records, table.schema), path)
    good = {records[number]["id"] for number in set(range(len(records))) - altered}
    taken = {records[number]["id"] for number in altered}
    if random.random() < 0.5:
        out = place / "out.jsonl"
        said = tell(["batch", str(data), "--model", str(material.model), *SHORT, "--out", str(out)])
        check_there(said, rows_of(out), good - taken)
    else:
        out = place / "evaluation"
        said = tell(["evaluate", str(material.model), str(data), *SHORT, "--device", "cpu", "--out", str(out)])
        found = json.loads((out / "results.json").read_text()) if said.code < 2 else {"predictions": {"": []}}
        check_there(said, [row for rows in found["predictions"].values() for row in rows], good - taken)


def columns(random: Random, material: Material, place: Path) -> None:
    """A dataset whose columns are of other types, or are not there."""
    (path,) = material.dataset.glob("test*.parquet")
    table = pq.read_table(path)
    name = random.choice(("id", "task", "prompt", "completion", "image", "prior_embeddings", "prior_positions"))
    at = table.schema.get_field_index(name)
    other = [random.choice((1, "text", None, ["a", "b"], b"\xff"))] * len(table)
    table = table.remove_column(at) if random.random() < 0.2 else table.set_column(at, name, pa.array(other))
    data = place / "data"
    data.mkdir()
    pq.write_table(table.replace_schema_metadata(None), data / "test-00000-of-00001.parquet")
    if random.random() < 0.5:
        tell(["batch", str(data), "--model", str(material.model), *SHORT, "--out", str(place / "out.jsonl")])
    else:
        evaluation = ["--device", "cpu", "--out", str(place / "evaluation")]
        tell(["evaluate", str(material.model), str(data), *SHORT, *evaluation])


def journal(random: Random, material: Material, place: Path) -> None:
    """A run that was cut finds its journal, or settings, changed."""
    verb = random.choice(("batch", "detect", "evaluate"))
    out = place / {"batch": "out.jsonl", "detect": "out.json", "evaluate": "evaluation"}[verb]
    model = ["--model", str(material.model), *SHORT]
    images = place / "images"
    images.mkdir()
    shutil.copy(material.pictures / "grey.png", images)
    (images / "bad.png").write_bytes(b"no image")
    evaluation = [*SHORT, "--device", "cpu", "--tasks", "count"]
    command = {
        "batch": ["batch", str(images), "--task", "count", *model, "--out", str(out)],
        "detect": ["detect", str(material.harbour), "--no-prior", "--tile", "48", *model, "--out", str(out)],
        "evaluate": ["evaluate", str(material.model), str(material.dataset), *evaluation, "--out", str(out)],
    }[verb]
    if verb == "detect":
        # As it stands while tiles are missing.
        left = place / ".out.json.journal.jsonl"
        left.write_text('{"scene": "other"}\n' + '{"id": "0,0", "answer": "None"}\n' * 2)
    else:
        tell(command)
        found = [path for path in place.rglob("*.json*") if path.is_file() and path not in (out, out / "results.json")]
        left = random.choice(sorted(found))
    change = random.randrange(3)
    if change == 0:
        left.write_bytes(changed_bytes(random, left.read_bytes()))
    elif change == 1:
        left.write_text(changed_text(random, left.read_text()), errors="replace")
    else:
        lines = left.read_text().split("\n")
        at = random.randrange(len(lines))
        if lines[at].startswith("{") and lines[at].endswith("}"):
            lines[at] = json.dumps(changed_value(random, json.loads(lines[at])))
        left.write_text("\n".join(lines))
    tell(command)


def manifest(random: Random, material: Material, place: Path) -> None:
    """`triplets build` of a manifest that is changed."""
    row = {"scene": str(material.scene), "acquired": "2021-06-01", "year": 2021, "polarization": "VV", "split": "train"}
    kind = random.choice((".csv", ".jsonl", ".geojson"))
    path = place / f"manifest{kind}"
    if kind == ".csv":
        text = "\n".join([",".join(row), ",".join(map(str, row.values())), ""])
        text = changed_text(random, text)
    else:
        row |= {"boxes": [{"bbox_2d": [10, 12, 30, 24], "label": "ship"}]}
        content: Any = [row, row | {"id": "b"}]
        content = changed_value(random, content)
        if kind == ".geojson":
            features = [{"properties": one} for one in content] if isinstance(content, list) else content
            text = json.dumps({"type": "FeatureCollection", "features": features})
        else:
            text = "\n".join(json.dumps(one) for one in content) if isinstance(content, list) else json.dumps(content)
        if random.random() < 0.3:
            text = changed_text(random, text)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    if random.random() < 0.2:
        path.write_bytes(changed_bytes(random, path.read_bytes()))
    tell(["triplets", "build", str(path), *_BUILD, "--out", str(place / "out")])


_BUILD = ["--workers", "0", "--missing-prior", "empty", "--chip-size", "56"]


def annotations(random: Random, material: Material, place: Path) -> None:
    """A good scene with good boxes, and one whose annotation file is changed; the first is built whatever the other."""
    source = random.choice((material.voc, material.coco, material.polygons, material.dota))
    path = place / source.name
    if source.suffix in (".json", ".geojson") and random.random() < 0.5:
        path.write_text(json.dumps(changed_value(random, json.loads(source.read_text()))))
    elif random.random() < 0.5:
        path.write_bytes(changed_text(random, source.read_text()).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(changed_bytes(random, source.read_bytes()))
    shutil.copy(material.scene, place / "scene.tif")
    good = {"scene": str(material.scene), "id": "good", "boxes": str(material.voc)}
    rows = [good, {"scene": "scene.tif", "id": "other", "boxes": str(path)}]
    (place / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    # A label that is changed would be a class more, about which the good scene is asked as well.
    only = ["--targets", "ship", "--out", str(place / "out")]
    said = tell(["triplets", "build", str(place / "manifest.jsonl"), *_BUILD, *only])
    shards = (place / "out" / "instructions").glob("*.parquet")
    found = [row["id"] for shard in shards for row in pq.read_table(shard).to_pylist() if row["id"].startswith("good/")]
    if len(found) != 3 * 4:  # of its four chips one shows less than half of a ship
        raise Lost(f"the good scene has {found}\n{said.err}")


def pairs(random: Random, material: Material, place: Path) -> None:
    """A set whose pictures, annotations, names or lists are damaged, in a layout; copies of what is left of it."""
    kind = random.choice(("voc", "dota", "yolo", "coco", "hrsid", "sardet"))
    images = place / {"voc": "JPEGImages", "hrsid": "JPEGImages", "sardet": "JPEGImages/train"}.get(
        kind, "train/images"
    )
    images.mkdir(parents=True)
    image = random.choice(sorted(material.pictures.iterdir()))
    (images / image.name).write_bytes(
        image.read_bytes() if random.random() < 0.5 else changed_bytes(random, image.read_bytes())
    )
    more: list[str] = []
    if kind in ("voc", "dota", "yolo"):
        folder = {"voc": "Annotations", "dota": "train/labelTxt", "yolo": "train/labels"}[kind]
        yolo = "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n"
        text = yolo if kind == "yolo" else (material.voc if kind == "voc" else material.dota).read_text()
        path = place / folder / f"{image.stem}{'.xml' if kind == 'voc' else '.txt'}"
        text = text.replace("112", "48").replace("scene.tif", image.name)
        (place / "data.yaml").write_text(changed_text(random, "names: [bridge, oil tank]\n"), errors="replace")
        (place / "list.txt").write_bytes(changed_text(random, f"{image.name}\n").encode("utf-8", "surrogatepass"))
        if kind == "voc" and random.random() < 0.5:
            more = ["--split", "train=list.txt"]
    else:
        name = {"coco": "b.json", "hrsid": "annotations/train2017.json", "sardet": "Annotations/train.json"}[kind]
        content = json.loads(material.coco.read_text().replace("112", "48").replace("scene.tif", image.name))
        text = json.dumps(changed_value(random, content) if random.random() < 0.7 else content)
        path = place / name
        more = ["--annotations", name, "--images", "train/images"] if kind == "coco" else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((changed_text(random, text) if random.random() < 0.7 else text).encode("utf-8", "surrogatepass"))
    out = place / f"manifest{random.choice(('.csv', '.jsonl'))}"
    said = tell(["manifest", kind, str(place), *more, "--out", str(out)])
    if said.code < 2:
        tell(["triplets", "build", str(out), *_BUILD, "--out", str(place / "out")])
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            augment([str(out), "--copies", "1", "--out", str(place / "copies")])


KINDS: dict[str, tuple[int, Callable[[Random, Material, Path], None]]] = {
    "picture": (8, picture),
    "words": (4, words),
    "arguments": (8, arguments),
    "scene": (6, scene),
    "polygons": (6, area_kinds.polygons),
    "tile": (12, tile),
    "folder": (6, folder),
    "rows": (6, rows),
    "columns": (1, columns),
    "journal": (3, journal),
    "manifest": (6, manifest),
    "annotations": (8, annotations),
    "pairs": (3, pairs),
    "recipe": (6, stage_kinds.recipe),
    "training": (3, stage_kinds.training),
    "model": (4, stage_kinds.model),
    "template": (2, stage_kinds.template),
    "release": (2, stage_kinds.release),
    "product": (6, product_kinds.product),
    "item": (4, product_kinds.item),
    "klip": (8, klip_kinds.pictures),
    "klip_model": (3, klip_kinds.model),
    "features": (4, klip_kinds.features),
}
"""By name: how often, of all inputs, and what runs one."""
datasets.disable_progress_bars()
