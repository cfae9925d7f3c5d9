"""Stages of training, and the folders of models that they begin from and leave."""

import json
import os
import re
import shutil
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.fuzz.material import Material
from tests.fuzz.mutations import change_file, changed_of_type, changed_text, odd_value
from tests.fuzz.trial import SHORT, Lost, tell


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
        record[column] = changed_of_type(random, table.schema.field(column).type, record[column])
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
        tell(["ask", str(material.pictures / "grey.png"), "How many?", "--model", str(changed), *SHORT])
    elif verb == "merge":
        tell(["merge", str(changed), "--out", str(place / "out")])
    elif verb == "plan":
        tell(["plan", str(material.recipe), "--model_name_or_path", str(changed), "--output_dir", str(place / "out")])
    else:
        evaluation = ["--tasks", "count", "--limit", "1", *SHORT, "--device", "cpu", "--out", str(place / "out")]
        tell(["evaluate", str(changed), str(material.dataset), *evaluation])


def template(random: Random, material: Material, place: Path) -> None:
    """A chat template that is changed."""
    changed = place / "model"
    shutil.copytree(material.model, changed)
    path = changed / "chat_template.jinja"
    path.write_bytes(changed_text(random, path.read_text()).encode("utf-8", "surrogatepass"))
    tell(["ask", str(material.pictures / "grey.png"), "How many?", "--model", str(changed), *SHORT])


def release(random: Random, material: Material, place: Path) -> None:
    """`convert` of a release with one file changed or gone."""
    changed = place / "release"
    shutil.copytree(material.release, changed)
    change_file(random, changed)
    merge = random.choice(([], ["--no-merge"]))
    tell(["convert", str(changed), "--base", str(material.released_backbone), "--out", str(place / "out"), *merge])
