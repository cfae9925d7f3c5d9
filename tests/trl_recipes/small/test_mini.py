"""The making of mini: its size, its stored scenes, the rows of its language stages, and its dense stages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from fusargpt.errors import InputError
from fusargpt.geo.prior import PRIOR_EMBEDDINGS
from fusargpt.tasks.answers import parse_boxes
from modeling_fusargpt import FusarGptForConditionalGeneration, FusarGptProcessor
from tests.trl_recipes.small.test_drawing import made_chips
from tests.trl_recipes.stages import arguments
from trl_recipes.arguments import parse
from trl_recipes.model.parameters import without_adapters
from trl_recipes.model.pointed_attention import HEADS
from trl_recipes.sft import make_trainer
from trl_recipes.small import model as small_model
from trl_recipes.small.dense_training import with_defaults
from trl_recipes.small.drawing import Drawing, read_chips
from trl_recipes.small.model import number_ids
from trl_recipes.small.pointing_rows import PointingCollator, PointingRows, pointing_rows
from trl_recipes.small.pretrain_pointing import DensePointing, pointing_parser
from trl_recipes.small.pretrain_tower import DensePictures, DenseTower, collate
from trl_recipes.small.rows import jobs, write_rows
from trl_recipes.small.scenes import drawing_of, read_scenes, write_scenes
from trl_recipes.small.sizes import MINI, TOKEN_PIXELS


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, {1: 6, 2: 4}, start=0, workers=0)
    return folder


@pytest.fixture(scope="module")
def ssdd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_chips(tmp_path_factory.mktemp("chips") / "set")


@pytest.fixture(scope="module")
def drawing(scenes: Path, ssdd: Path) -> Drawing:
    return drawing_of(MINI, scenes, ssdd, seed=0)


def test_mini_fits_its_size_and_sees_a_square(mini: Path) -> None:
    model = FusarGptForConditionalGeneration.from_pretrained(mini)
    processor = FusarGptProcessor.from_pretrained(mini)
    # Two bytes a parameter stay below 60 MB.
    assert 9_000_000 < model.num_parameters() <= 25_000_000
    assert processor.image_size == 336
    assert all(len(processor.tokenizer.encode(str(number))) == 1 for number in range(337))


def test_a_tower_is_taken_and_nothing_else(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(small_model, "CORPUS_SCENES", 60)
    trained = FusarGptForConditionalGeneration.from_pretrained(mini)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    trained.save_pretrained(tmp_path / "trained")
    small_model.main(["mini", "--tower", str(tmp_path / "trained"), "--out", str(tmp_path / "out")])
    out = FusarGptForConditionalGeneration.from_pretrained(tmp_path / "out").state_dict()
    plain = FusarGptForConditionalGeneration.from_pretrained(mini).state_dict()
    for name, value in out.items():
        source = trained.state_dict() if ".visual." in name else plain
        assert torch.equal(value, source[name]), name
    for folder, told in ((tmp_path / "nowhere", "no config.json"), (mini, "expected a tower of this size")):
        with pytest.raises(SystemExit):
            small_model.main(["nano", "--tower", str(folder), "--out", str(tmp_path / "none")])
        assert told in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_stored_scenes_are_kept_when_they_are_written_again(scenes: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in scenes.glob("*.parquet")}
    assert len(before) == 2
    write_scenes(scenes, {1: 6, 2: 4}, start=0, workers=0)
    assert {path: path.stat().st_mtime_ns for path in scenes.glob("*.parquet")} == before
    for version, count in ((1, 6), (2, 4)):
        rows: list[Any] = list(read_scenes(scenes, version))
        assert len(rows) == count and all(row["image"].size == row["cover"].size for row in rows)


def test_rows_ask_about_the_square_that_the_model_sees(scenes: Path, ssdd: Path) -> None:
    made = jobs("instructions", MINI, scenes, ssdd, count=6, seed=1)
    assert list(made) == ["version1", "version2", "chips"]
    for name, (make, items) in made.items():
        rows: list[Any] = [row for index in range(items) for row in make(index)]
        assert rows and all(row["image"].size == (336, 336) for row in rows)
        # Nobody says where a real chip lies; a scene is somewhere.
        assert all((row[PRIOR_EMBEDDINGS] is None) == (name == "chips") for row in rows)
        assert name != "chips" or all("aircraft" not in row["prompt"][0]["content"] for row in rows)
        for row in rows:
            assert row["task"] != "describe"
            if row["task"] == "detect":
                (label,) = {"aircraft", "ship"} & set(row["prompt"][0]["content"].replace("ships", "ship").split())
                found = [list(box) for box, _ in parse_boxes(row["completion"][0]["content"]).value]
                assert found == [item["bbox_2d"] for item in row["objects"] if item["label"] == label]
    described = jobs("captions", MINI, scenes, ssdd, count=0, seed=1)
    assert {row["task"] for make, items in described.values() for n in range(items) for row in make(n)} == {"describe"}


def test_questions_are_of_all_sources_and_without_priors(scenes: Path, ssdd: Path) -> None:
    make, _ = jobs("questions", MINI, scenes, ssdd, count=30, seed=1)["drawn"]
    rows = [row for index in range(30) for row in make(index)]
    assert {row["sensor"] for row in rows} == {"SAR", "simulated SAR"}
    assert all(row[PRIOR_EMBEDDINGS] is None for row in rows)


def test_chips_are_real_and_most_of_them_whole(scenes: Path, ssdd: Path) -> None:
    make, count = jobs("chips", MINI, None, ssdd, count=100, seed=31)["chips"]
    rows = [make(index) for index in range(count)]
    assert all(row["sensor"] == "SAR" and row[PRIOR_EMBEDDINGS] is None for turns in rows for row in turns)
    # Squeezed and turned, a whole chip keeps the share of it that its ships cover.
    whole = [
        sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes.tolist()) / (chip.width * chip.height)
        for chip in read_chips(ssdd).pictures
        for boxes in [chip.boxes]
    ]
    covered = [
        sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (item["bbox_2d"] for item in turns[0]["objects"])) / 336**2
        for turns in rows
    ]
    near = sum(any(abs(share - other) < 0.05 * other for other in whole) for share in covered)
    assert 50 <= near <= 90
    for layout, pictures, real, told in (
        ("chips", scenes, None, "found no --ssdd"),
        ("captions", None, ssdd, "found no --pictures"),
    ):
        with pytest.raises(InputError, match=f"{layout}: {told}"):
            jobs(layout, MINI, pictures, real, count=1, seed=1)


def test_without_chips_it_says_that_pictures_are_simulated(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(drawing_of(MINI, scenes, None, seed=0).sources) == 2
    assert "simulated scenes alone" in capsys.readouterr().out


@pytest.fixture(scope="module")
def questions(scenes: Path, ssdd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    write_rows(folder, jobs("questions", MINI, scenes, ssdd, count=12, seed=1), workers=0)
    return folder


@pytest.mark.parametrize("boxes", [MINI.pointed, MINI.most_objects])
def test_pointing_learns_the_first_boxes_of_stored_questions_and_then_all(
    boxes: int, mini: Path, questions: Path, tmp_path: Path
) -> None:
    rows = pointing_rows(questions)
    assert set(rows["task"]) == {"detect"}
    named = [len(parse_boxes(completion[0]["content"]).value) for completion in rows["completion"]]
    assert min(named) > 0 and max(named) > MINI.pointed
    processor = FusarGptProcessor.from_pretrained(mini)
    pointed = PointingRows(sized(rows), 2 * len(rows))
    assert len(pointed) == 2 * len(rows) and pointed[len(rows)]["id"] == pointed[0]["id"]
    batch = PointingCollator(processor, MINI, boxes)([pointed[index] for index in range(len(rows))])
    numbers = torch.tensor(number_ids(processor, MINI))
    tokenizer = processor.tokenizer
    for index, count in enumerate(named):
        learned = batch["labels"][index][batch["labels"][index] != -100]
        assert int(torch.isin(learned, numbers).sum()) == 4 * min(count, boxes)
        text, whole = tokenizer.decode(learned), rows[index]["completion"][0]["content"]
        # One that is cut ends with a coordinate, one that is whole with its turn.
        assert whole.startswith(text) and text[-1].isdigit() if count > boxes else text == whole + "<|im_end|>"
    learned = batch["labels"] != -100
    assert learned[:, -1].any() and batch["input_ids"].shape == batch["attention_mask"].shape == learned.shape
    # Where a token holds an object, its box is one of the row's.
    for item in pointed[0]["present"].nonzero()[0]:
        corner = np.array([item % MINI.grid, item // MINI.grid] * 2) * TOKEN_PIXELS
        box = np.round(pointed[0]["box"][item, 0] * TOKEN_PIXELS + corner).astype(int).tolist()
        assert box in [found["bbox_2d"] for found in pointed[0]["objects"]]
    with pytest.raises(InputError, match="no detection questions"):
        pointing_rows(tmp_path)


@pytest.mark.parametrize(("train", "weights"), [("language", "weight"), ("lora", "lora_B.default.weight")])
def test_heads_learn_where_to_look_beside_the_answers(
    mini: Path, questions: Path, tmp_path: Path, train: str, weights: str
) -> None:
    fields = {
        "model_name_or_path": mini,
        "dataset_name": questions,
        "train": train,
        "prior": "none",
        "save": "full",
        "attn_implementation": "sdpa_float32",
        "pairs_per_sequence": 5,
        "per_device_train_batch_size": 4,
    }
    losses, gradients = [], []
    for weight in (0.0, 0.5):
        recipe = arguments(tmp_path, tmp_path / f"out{weight}", pointed_attention=weight, **fields)
        trainer: Any = make_trainer(*parse(recipe))
        model = trainer.model.train()
        batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
        losses.append(trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(100)))
        losses[-1].backward()
        whole: Any = without_adapters(model)
        queries = whole.model.language_model.layers[4].self_attn.q_proj
        gradients.append(queries.get_parameter(weights).grad.unflatten(0, (8, -1)))
    logs: dict[str, float] = {"loss": 1.0}
    trainer.log(logs)
    assert logs["attention"] > 1 and not trainer._attention_losses
    assert float(losses[1] - losses[0]) == pytest.approx(0.5 * logs["attention"], rel=1e-3)
    # In the upper of the two layers the taught heads alone are moved otherwise.
    differences = (gradients[1] - gradients[0]).abs().amax((1, 2))
    assert differences[:HEADS].min() > 100 * differences[HEADS:].max()
    expected = r"pointed_attention: found .*, expected 0, or more with train: language, lora or tlm\+lora"
    for wrong in ({"train": "tlm", "prior": "true"}, {"pointed_attention": -1.0}):
        with pytest.raises(InputError, match=expected):
            parse(arguments(tmp_path, tmp_path / "other", **(fields | {"pointed_attention": 1.0} | wrong)))
    with pytest.raises(InputError, match="pointed_attention: found it with attn_implementation eager, in whose place"):
        make_trainer(
            *parse(
                arguments(
                    tmp_path,
                    tmp_path / "eager",
                    **(fields | {"pointed_attention": 1.0, "attn_implementation": "eager"}),
                )
            )
        )
    with pytest.raises(InputError, match="pointed_attention: found it with activation_checkpointing"):
        checkpointed = {"pointed_attention": 1.0, "activation_checkpointing": True}
        make_trainer(*parse(arguments(tmp_path, tmp_path / "third", **fields, **checkpointed)))


def test_nano_has_no_second_pointing() -> None:
    with pytest.raises(InputError, match="--all-boxes: nano learns all boxes in pointing; leave it out"):
        with_defaults(pointing_parser().parse_args(["nano", "--all-boxes"]))


def sized(rows: Dataset) -> Dataset:
    """Rows with the size of their image, as those whose visual tokens are cached have it."""
    return rows.map(lambda row: {"image_width": row["image"].width, "image_height": row["image"].height})


@pytest.mark.slow
def test_tower_and_pointing_learn_from_drawn_pictures(mini: Path, drawing: Drawing, questions: Path) -> None:
    torch.manual_seed(0)
    model = FusarGptForConditionalGeneration.from_pretrained(mini, dtype="float32")
    processor = FusarGptProcessor.from_pretrained(mini)
    pictures = DensePictures(processor.image_processor, drawing, 4)
    pointed = PointingRows(sized(pointing_rows(questions)), 2)
    collator = PointingCollator(processor, MINI, MINI.pointed)
    steps = [
        (DenseTower(model.model.visual, MINI.text_width), collate([pictures[index] for index in range(4)])),
        (DensePointing(model, processor, MINI), collator([pointed[index] for index in range(2)])),
    ]
    for module, batch in steps:
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
        losses = []
        for _ in range(5):
            loss = module(**batch)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]
