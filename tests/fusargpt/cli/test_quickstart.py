"""`fusargpt quickstart` and what it draws, on an untrained nano."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusargpt.cli import quickstart
from fusargpt.cli.main import main
from fusargpt.cli.showcase import ask_everything, ask_own, box_list, compared, modulation_strength, said
from fusargpt.inference.loading import load
from fusargpt.inference.predict import FusarGpt
from fusargpt.tasks.prompts import TASKS
from tests.tiny import stir_tlm
from trl_recipes.small import model as small_model
from trl_recipes.small.sizes import NANO as NANO_SIZE


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nano")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_model, "CORPUS_SCENES", 50)
        small_model.build(NANO_SIZE, folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def predictor(untrained: Path) -> FusarGpt:
    return load(untrained)


def test_all_tasks_are_asked_of_each_scene(predictor: FusarGpt) -> None:
    showcases = ask_everything(predictor, (2, 9))
    assert [[row[0] for row in showcase.rows] for showcase in showcases] == [list(TASKS)] * 2
    truths = [str(showcase.rows[TASKS.index("detect")][3]) for showcase in showcases]
    assert all(truth.startswith(("[", "None")) for truth in truths)
    assert [showcase.name for showcase in showcases] == ["Harbour, scene 20000002", "Airfield, scene 20000009"]


def test_the_prior_acts_only_where_the_tlm_lets_it(predictor: FusarGpt) -> None:
    (showcase,) = ask_everything(predictor, (2,))
    identity = modulation_strength(predictor, showcase)
    assert identity.shape == (6, 6) and not identity.any()
    stir_tlm(predictor.model)
    assert (modulation_strength(predictor, showcase) > 0).all()


def test_the_command_prints_a_table_and_writes_one_picture(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "SEEDS", (9,))
    out = tmp_path / "picture.png"
    assert main(["quickstart", "--model", str(untrained), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(task in printed for task in TASKS) and "truth" in printed and "Airfield, scene" in printed
    picture = np.asarray(Image.open(out))
    # As wide as a page shows it, so that what stands below the row can be read.
    assert 800 < picture.shape[1] < 1100 and (picture[-30:-8] < 100).any()
    assert list(tmp_path.iterdir()) == [out]


def test_boxes_are_in_pixels_of_the_image_and_not_of_what_is_seen(
    predictor: FusarGpt, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = '[{"bbox_2d": [21, 42, 84, 126], "label": "ship"}]'
    monkeypatch.setattr(FusarGpt, "answers", lambda _self, images, *_args, **_named: [box] * len(images))
    seen = predictor.seen_size(Image.new("RGB", (500, 500)))
    assert seen == (168, 168)
    own = ask_own(predictor, "chip.png", Image.new("RGB", (500, 500)))
    (found,) = box_list(own.rows[TASKS.index("detect")][2])
    assert found == [62, 125, 250, 375]
    (simulated,) = ask_everything(predictor, (2,))
    assert simulated.image.size == (168, 168) and box_list(simulated.rows[TASKS.index("detect")][2]) == [
        [21, 42, 84, 126]
    ]


def test_an_image_of_ones_own_stands_beside_the_scenes(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quickstart, "SEEDS", (9,))
    without, beside = tmp_path / "without.png", tmp_path / "beside.png"
    own = tmp_path / "mine.png"
    Image.new("L", (800, 400), 99).save(own)
    assert main(["quickstart", "--model", str(untrained), "--out", str(without)]) == 0
    capsys.readouterr()
    assert main(["quickstart", "--model", str(untrained), "--image", str(own), "--out", str(beside)]) == 0
    printed = capsys.readouterr()
    assert "mine.png" in printed.out and "Not compared: what is true is not known" in printed.out
    assert "800 x 400 pixels are seen as" in printed.err and "fusargpt detect" in printed.err
    first, second = (np.asarray(Image.open(path).convert("RGB")) for path in (without, beside))
    assert first.shape[1] == second.shape[1] and (second[: len(first)] == first).all()
    # The image keeps its proportions, and is shown in its grey.
    assert (second[len(first) :] == 99).all(-1).sum() > 512 * 256


def test_an_image_that_is_none_is_refused_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    assert main(["quickstart", "--image", str(tmp_path / "text.png"), "--out", str(tmp_path / "out.png")]) == 2
    assert "text.png" in capsys.readouterr().err and not (tmp_path / "out.png").exists()


def test_what_is_wrong_is_said() -> None:
    boxes = '[{"bbox_2d": [10, 10, 20, 20], "label": "ship"}, {"bbox_2d": [%d, 50, 60, 60], "label": "ship"}]'
    rows: list[tuple[str, str, str, str | None]] = [
        ("count", "?", "4", "5"),
        ("classify", "?", "ship", "ship"),
        ("detect", "?", boxes % 58, boxes % 50),
    ]
    line = "classify as in truth; count not; detect 2 boxes, of 2 true ones 1 met"
    assert compared(rows).startswith(f"Compared: {line}")
    assert said(rows) == ["count: 4 (true: 5); classify, as in truth: ship"]


@pytest.mark.parametrize("name", ["picture", "picture.txt", "picture.jpg"])
def test_a_picture_of_another_kind_is_refused_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["quickstart", "--out", str(tmp_path / name)]) == 2
    assert "expected a name that ends in .png" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quickstart", "--model", str(tmp_path / "nothing")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
