"""The kinds of inputs: what is changed, which verb gets it, and what must be there all the same."""

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from rasterio.transform import Affine

from fusargpt.alphaearth.anchors import spatiotemporal_anchors
from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError
from fusargpt.geo.geometry import Geometry
from fusargpt.triplets.augment import main as augment
from tests.fusargpt.scenes.scenes import CRS, SIDE, TRANSFORM
from tests.fuzz import area_kinds, klip_kinds, product_kinds
from tests.fuzz.material import Material
from tests.fuzz.mutations import HEADER, TEXTS, change_file, changed_bytes, changed_text, changed_value, odd_value
from tests.fuzz.trial import Lost, check_there, rows_of, tell

SCENE_VERBS = ("classify", "count", "describe", "detect", "localize")
_SHORT = ["--max-new-tokens", "3"]


def picture(random: Random, material: Material, place: Path) -> None:
    """`ask` about a damaged picture, a damaged prior, or both."""
    image = random.choice(sorted(material.pictures.iterdir()))
    suffix = image.suffix if random.random() < 0.8 else random.choice((".png", ".jpg", ".tif"))
    changed = place / f"image{suffix}"
    changed.write_bytes(changed_bytes(random, image.read_bytes(), 200))
    arguments = ["ask", str(changed), "How many ships?", "--model", str(material.model), *_SHORT]
    if random.random() < 0.4:
        prior = place / "prior.npz"
        prior.write_bytes(changed_bytes(random, material.prior.read_bytes()))
        arguments[1] = str(random.choice((image, changed)))
        arguments += ["--prior", str(prior)]
    tell(arguments)


def words(random: Random, material: Material, place: Path) -> None:
    """Questions that nobody would ask, of an image, a folder or a scene."""
    question = "".join(random.choice((*TEXTS, "How many ships?", " ")) for _ in range(random.randrange(1, 5)))
    model = ["--model", str(material.model), *_SHORT]
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
    scene = [str(material.harbour), "--no-prior", "--tile", "48", "--model", model, *_SHORT, "--out", "out.geojson"]
    verbs = {verb: [*scene, "--bbox", "-119", "33", "-118", "34"] for verb in SCENE_VERBS}
    klip = ["--model", str(material.klip)]
    return verbs | {
        "embed": [str(material.pictures), "--band", "1", *klip, "--out", "features.parquet"],
        "search": ["ships", "--in", str(material.features), *klip, "--top", "3", "--out", "found"],
        "ask": [grey, "--task", "count", "--target", "ship", "--model", model, *_SHORT, "--band", "1", "--json"],
        "batch": [str(material.pictures), "--task", "count", "--model", model, *_SHORT, "--out", "out.parquet"],
        "caption": [str(material.dataset), "--limit", "1", "--out", "captions"],
        "calibrate": [model, str(material.dataset), "--split", "train", "--limit", "1", *_SHORT, "--out", "fitted"],
        "convert": [str(material.release), "--base", str(material.released_backbone), "--out", "converted"],
        "demo": ["--model", model, "--host", "127.0.0.1", "--port", "7860"],
        "evaluate": [model, str(material.dataset), "--tasks", "count", "--limit", "1", *_SHORT, "--out", "evaluation"],
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
    model = ["--model", str(material.model), "--tile", "48", *_SHORT]
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
    said = tell(["batch", str(images), "--task", "count", "--model", str(material.model), *_SHORT, "--out", str(out)])
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
        records[number][column] = _of_type(random, table.schema.field(column).type, records[number][column])
    pq.write_table(pa.Table.from_pylist(records, table.schema), path)
    good = {records[number]["id"] for number in set(range(len(records))) - altered}
    taken = {records[number]["id"] for number in altered}
    if random.random() < 0.5:
        out = place / "out.jsonl"
        said = tell(["batch", str(data), "--model", str(material.model), *_SHORT, "--out", str(out)])
        check_there(said, rows_of(out), good - taken)
    else:
        out = place / "evaluation"
        said = tell(["evaluate", str(material.model), str(data), *_SHORT, "--device", "cpu", "--out", str(out)])
        found = json.loads((out / "results.json").read_text()) if said.code < 2 else {"predictions": {"": []}}
        check_there(said, [row for rows in found["predictions"].values() for row in rows], good - taken)


def _of_type(random: Random, kind: pa.DataType, value: Any) -> Any:
    """Another value that a column can hold."""
    if value is None or random.random() < 0.2:
        return None
    if pa.types.is_string(kind):
        return random.choice([text for text in TEXTS if text.encode(errors="ignore").decode() == text])
    if pa.types.is_struct(kind) and "bytes" in value:
        return value | {"bytes": changed_bytes(random, value["bytes"], 200)}
    if pa.types.is_list(kind) and value:
        changed = list(value)
        at = random.randrange(len(changed))
        what = random.randrange(3)
        if what == 0:
            changed = changed[:at]
        elif what == 1:
            changed.insert(at, changed[at])
        else:
            changed[at] = _of_type(random, kind.value_type, changed[at])
        return changed
    if pa.types.is_struct(kind):
        name = random.choice(sorted(value))
        return value | {name: _of_type(random, kind.field(name).type, value[name])}
    if pa.types.is_integer(kind):
        return random.choice((0, 1, -128, 127))
    return random.choice((0.0, float("nan"), float("inf"), -1.0, 2.0)) if pa.types.is_floating(kind) else None


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
        tell(["batch", str(data), "--model", str(material.model), *_SHORT, "--out", str(place / "out.jsonl")])
    else:
        evaluation = ["--device", "cpu", "--out", str(place / "evaluation")]
        tell(["evaluate", str(material.model), str(data), *_SHORT, *evaluation])


def journal(random: Random, material: Material, place: Path) -> None:
    """A run that was cut finds its journal, or settings, changed."""
    verb = random.choice(("batch", "detect", "evaluate"))
    out = place / {"batch": "out.jsonl", "detect": "out.json", "evaluate": "evaluation"}[verb]
    model = ["--model", str(material.model), *_SHORT]
    images = place / "images"
    images.mkdir()
    shutil.copy(material.pictures / "grey.png", images)
    (images / "bad.png").write_bytes(b"no image")
    evaluation = [*_SHORT, "--device", "cpu", "--tasks", "count"]
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


def recipe(random: Random, material: Material, place: Path) -> None:
    """`plan` or `train` of a changed recipe. What is understood is not trained."""
    path = place / "recipe.yaml"
    text = random.choice((material.recipe, material.recipe, material.reinforcement)).read_text()
    if random.random() < 0.5:
        values = yaml.safe_load(text) | {"model_name_or_path": str(material.model), "output_dir": str(place / "out")}
        for _ in range(random.choice((1, 2))):
            values[random.choice(sorted(values))] = odd_value(random)
        text = json.dumps(values)
    else:
        text = changed_text(random, re.sub("build/nano/(pretrain|stage2)", str(material.model), text))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    os.chdir(place)
    environment = dict(os.environ)
    try:
        tell([random.choice(("plan", "train")), str(path)])
    finally:
        os.environ.clear()
        os.environ.update(environment)


_REINFORCEMENT = {
    "system": "fusar-gpt-grpo",
    "tasks": ["count"],
    "num_generations": 2,
    "per_device_train_batch_size": 4,
    "max_completion_length": 8,
    "beta": 0.0,
    "replay_weight": 0.5,
    "replay_batch_size": 1,
}


def training(random: Random, material: Material, place: Path) -> None:
    """A stage of any kind on a dataset of which rows are altered, or columns of another type, up to its first batch."""
    data = place / "data"
    data.mkdir()
    (path,) = material.triplets.glob("*.parquet")
    table = pq.read_table(path)
    records = table.to_pylist()
    changes = random.choice((0, 1, 2, 4))
    for _ in range(changes):
        record, column = random.choice(records), random.choice(table.column_names)
        record[column] = _of_type(random, table.schema.field(column).type, record[column])
    table = pa.Table.from_pylist(records, table.schema)
    if changes and random.random() < 0.3:
        at = random.randrange(table.num_columns)
        table = table.set_column(at, table.column_names[at], pa.array([random.choice((1, "text", None))] * len(table)))
        table = table.replace_schema_metadata(None)
    pq.write_table(table, data / path.name)
    fields = {
        "model_name_or_path": str(material.model),
        "dataset_name": str(data),
        "output_dir": str(place / "out"),
        "pairs_per_sequence": random.choice((1, 2)),
        "remove_unused_columns": False,
        "activation_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "max_steps": 1,
        "report_to": "none",
    }
    fields |= random.choice(({"max_length": None}, _REINFORCEMENT))
    fields |= random.choice(({"unreadable": "skip", "unreadable_share": 0.9}, {"unreadable": "raise"}))
    recipe = place / "recipe.json"
    recipe.write_text(json.dumps(fields))
    said = tell(["train", str(recipe), "--train", "tlm"])
    if said.code and not changes:
        raise Lost(f"rows that nobody changed are not trained on: code {said.code}\n{said.err}")


def model(random: Random, material: Material, place: Path) -> None:
    """A model folder with one file changed or gone, as several verbs load it."""
    source = random.choice((material.model, material.stage1, material.stage2, material.backbone))
    changed = place / "model"
    shutil.copytree(source, changed)
    change_file(random, changed)
    verb = random.choice(("ask", "ask", "merge", "evaluate", "plan"))
    if verb == "ask":
        tell(["ask", str(material.pictures / "grey.png"), "How many?", "--model", str(changed), *_SHORT])
    elif verb == "merge":
        tell(["merge", str(changed), "--out", str(place / "out")])
    elif verb == "plan":
        tell(["plan", str(material.recipe), "--model_name_or_path", str(changed), "--output_dir", str(place / "out")])
    else:
        evaluation = ["--tasks", "count", "--limit", "1", *_SHORT, "--device", "cpu", "--out", str(place / "out")]
        tell(["evaluate", str(changed), str(material.dataset), *evaluation])


def template(random: Random, material: Material, place: Path) -> None:
    """A chat template that is changed."""
    changed = place / "model"
    shutil.copytree(material.model, changed)
    path = changed / "chat_template.jinja"
    path.write_bytes(changed_text(random, path.read_text()).encode("utf-8", "surrogatepass"))
    tell(["ask", str(material.pictures / "grey.png"), "How many?", "--model", str(changed), *_SHORT])


def release(random: Random, material: Material, place: Path) -> None:
    """`convert` of a release with one file changed or gone."""
    changed = place / "release"
    shutil.copytree(material.release, changed)
    change_file(random, changed)
    merge = random.choice(([], ["--no-merge"]))
    tell(["convert", str(changed), "--base", str(material.released_backbone), "--out", str(place / "out"), *merge])


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
    "recipe": (6, recipe),
    "training": (3, training),
    "model": (4, model),
    "template": (2, template),
    "release": (2, release),
    "product": (6, product_kinds.product),
    "item": (4, product_kinds.item),
    "klip": (8, klip_kinds.pictures),
    "klip_model": (3, klip_kinds.model),
    "features": (4, klip_kinds.features),
}
"""By name: how often, of all inputs, and what runs one."""
datasets.disable_progress_bars()
