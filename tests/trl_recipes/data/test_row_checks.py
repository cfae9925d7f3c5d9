"""Rows that cannot be trained on: each kind is found before the first step, and refused or left out by choice."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

from fusargpt.errors import InputError
from tests.tiny import tiny_processor
from tests.trl_recipes.stages import arguments, write_base
from tests.trl_recipes.triplets import PRIOR_FEATURES, TURN, assistant, triplet, user, write_triplets
from trl_recipes.arguments import parse
from trl_recipes.data import row_checks
from trl_recipes.data.doubted import check_doubted
from trl_recipes.data.row_checks import find_problems
from trl_recipes.sft import main, make_trainer


def png(height: int = 56, width: int = 56) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Pillow.fromarray(noise).save(file, format="PNG")
    return file.getvalue()


def cut(values: list[list[int]]) -> list[list[int]]:
    return [row[:-1] for row in values]


def stored(array: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(array).save(file, format=kind)
    return file.getvalue()


FEATURES = Features({"image": Image(), **PRIOR_FEATURES, "prompt": List(TURN), "completion": List(TURN)})
DEEP = np.full((56, 56), 5000)

UNREADABLE: list[tuple[dict[str, Any], str]] = [
    ({"image": None}, r"image: found nothing"),
    ({"image": {"bytes": png()[:900], "path": None}}, r"image: does not decode \(OSError: .*truncated"),
    (
        {"image": {"bytes": b"not an image", "path": None}},
        r"image: not a PNG, JPEG or TIFF image \(it starts",
    ),
    ({"image": {"bytes": png(4, 1000), "path": None}}, r"image: found 1000 x 4 px, which the image processor refuses"),
    ({"image": {"bytes": stored(DEEP.astype(np.uint16), "PNG"), "path": None}}, r"image: found a picture of mode I;16"),
    (
        {"image": {"bytes": stored(DEEP.astype(np.uint16), "TIFF"), "path": None}},
        r"image: found a picture of mode I;16",
    ),
    (
        {"image": {"bytes": stored(DEEP.astype(np.int32), "TIFF"), "path": None}},
        r"image: found a picture of mode I, exp",
    ),
    ({"image": {"bytes": stored(DEEP.astype(np.float32), "TIFF"), "path": None}}, r"mode F, expected 8 bit; fusargpt"),
    ({"prior_embeddings": None}, r"prior_embeddings: found nothing beside the other"),
    ({"prior_embeddings": cut(triplet(0)["prior_embeddings"])}, r"found shape \[4, 63\], expected \[S, 64\]"),
    ({"prior_positions": [[float("nan"), 0.5]] * 4}, r"prior_positions.*"),
    ({"prior_positions": [[0.5, 0.5]]}, r"found 4 embeddings and 1 positions"),
    ({"prompt": []}, r"prompt: found no turns"),
    ({"completion": None}, r"completion: found no turns"),
    ({"completion": [assistant(" ")]}, r"completion: found an empty answer"),
    ({"completion": [user("And?")]}, r"completion: found no turn of the assistant"),
    ({"prompt": [None]}, r"prompt: found NoneType for a turn"),
    ({"prompt": [assistant("I begin.")]}, r"found no turn of the user"),
    ({"prompt": [{"role": "pilot", "content": "?"}]}, r"prompt: found a turn of 'pilot'"),
]


def write(folder: Path, changes: list[dict[str, Any]]) -> Path:
    """Triplets in one shard, the first ones changed."""
    rows = []
    for seed in range(len(changes) + 4):
        change = changes[seed] if seed < len(changes) else {}
        rows.append(triplet(seed, anchors=4) | {"image": {"bytes": png(), "path": None}} | change)
    folder.mkdir(parents=True)
    as_files = Features({**FEATURES, "image": {"bytes": Value("binary"), "path": Value("string")}})
    Dataset.from_list(rows, features=as_files).cast(FEATURES).to_parquet(folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("readable")
    write_base(folder)
    write(folder / "all kinds", [change for change, _ in UNREADABLE])
    write(folder / "one", [{}, {"image": {"bytes": png()[:900], "path": None}}])
    return folder


def test_every_kind_of_unreadable_row_is_found_and_no_other(folder: Path):
    rows = Dataset.from_parquet(str(folder / "all kinds" / "train.parquet"))
    problems = find_problems(rows, tiny_processor(), "all kinds")
    assert list(problems) == list(range(len(UNREADABLE)))
    for (_, expected), problem in zip(UNREADABLE, problems.values(), strict=True):
        assert "\n" not in problem
        assert re.search(expected, problem), problem


@pytest.mark.parametrize(
    ("doubted", "problem"),
    [
        (
            {"answer": "Seven.", "spans": [[0, 7]]},
            "doubted: found the span [0, 7], expected first character",
        ),
        ({"answer": "Seven.", "spans": [[0, 3], [3, 6]]}, "doubted: found spans that cover the whole answer"),
        ({"answer": " ", "spans": []}, "doubted: found"),
        ({"answer": "Seven.", "spans": [[0, 3]]}, None),
        (None, None),
    ],
)
def test_spans_of_doubt_are_stretches_of_the_answer(doubted: dict[str, Any] | None, problem: str | None) -> None:
    if problem is None:
        check_doubted({"doubted": doubted})
    else:
        with pytest.raises(InputError, match=re.escape(problem)):
            check_doubted({"doubted": doubted})


def test_messages_are_looked_at_too(tmp_path: Path):
    rows = Dataset.from_parquet(str(write_triplets(tmp_path / "data", 3, "messages") / "train-00000-of-00001.parquet"))
    assert find_problems(rows, tiny_processor(), "good") == {}
    emptied = rows.map(lambda row, index: {"messages": row["messages"][: index * 2]}, with_indices=True)
    assert find_problems(emptied, tiny_processor(), "bad") == {0: "messages: found no turns"}


def test_a_row_is_refused_with_dataset_number_and_reason(folder: Path, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        main(arguments(folder, tmp_path / "out", train="tlm", dataset_name=folder / "one"))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"dataset {folder / 'one'} (train), row 1: image: does not decode (OSError")
    assert line.endswith("mend the row, or set unreadable: skip to leave such rows out")


def test_rows_are_left_out_by_choice_and_reported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fields = {"train": "tlm", "unreadable": "skip", "unreadable_share": 0.2, "dataset_name": folder / "one"}
    fields |= {"feature_cache": tmp_path / "features"}
    recipe, config = parse(arguments(folder, tmp_path / "out", **fields))
    train: Any = make_trainer(recipe, config).train_dataset
    assert len(train) == 5
    capsys.readouterr()
    main(arguments(folder, tmp_path / "out", **fields))
    left_out, result = capsys.readouterr().out.splitlines()[-2:]
    assert left_out.startswith(f"dataset {folder / 'one'} (train): 1 of 6 rows left out as unreadable: row 1: image:")
    assert result.startswith(f"The stage's result: {tmp_path / 'out'}")
    (report,) = json.loads((tmp_path / "out" / "unreadable.json").read_text())
    assert report["rows"] == 6 and list(report["problems"]) == ["1"]


def test_too_many_unreadable_rows_end_the_run_anyway(folder: Path, tmp_path: Path):
    fields = {"train": "tlm", "unreadable": "skip", "dataset_name": folder / "one", "unreadable_share": 0.1}
    with pytest.raises(InputError, match=r"row 1: .* at most 0.1 of the rows \(unreadable_share\), found 0.167"):
        main(arguments(folder, tmp_path / "out", **fields))


def test_rows_are_looked_at_once(folder: Path, tmp_path: Path):
    rows = Dataset.from_parquet(str(folder / "one" / "train.parquet"))
    first = find_problems(rows, tiny_processor(), "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_checks.Pillow, "open", None)
        assert find_problems(rows, tiny_processor(), "one") == first


BOXES = '[{"bbox_2d": [10, 20, 30, 40], "label": "ship"}]'


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (BOXES, ""),
        ("None", ""),
        (f"Here: {BOXES}", ""),
        ('[{"bbox_2d": "10, 20, 30, 40", "label": "ship"}]', "found a bbox_2d that is no list"),
        ('[{"bbox_2d": [10, 20, 30], "label": "ship"}]', "found .*10, 20, 30.*, expected four numbers"),
        ('[{"bbox_2d": [[10, 20], [30, 40]], "label": "ship"}]', "found a bbox_2d that is no list"),
    ],
)
def test_boxes_that_would_have_to_be_moved_and_cannot_be_read_are_found(answer: str, problem: str) -> None:
    row = {**triplet(0), "completion": [assistant(answer)]}
    as_seen, smaller = tiny_processor(), tiny_processor()
    smaller.image_size = 48
    rows = Dataset.from_list([row], features=FEATURES)
    assert find_problems(rows, as_seen, "data") == {}
    found = find_problems(rows, smaller, "data")
    if problem:
        assert re.search(
            f"completion: {problem}.*; the processor resizes the image from 56 x 56 to 48 x 48 px, and its", found[0]
        )
    else:
        assert found == {}
