import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fusargpt.cli.main import main
from fusargpt.geo.prior import Prior, load_prior, save_prior
from fusargpt.inference import loading, predict
from fusargpt.tasks import prompts
from fusargpt.tasks.answers import parse_boxes
from tests.paths import ROOT
from tests.real_data import REAL_DATA, needs_real_data
from tests.tiny import random_image, random_prior, stir_tlm, tiny_model, tiny_processor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tiny")
    network = tiny_model()
    stir_tlm(network)
    network.save_pretrained(path)
    tiny_processor().save_pretrained(path)
    return str(path)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "chip.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)).save(path)
    return path


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    arrays = random_prior(5)
    save_prior(tmp_path / "prior.npz", Prior(arrays["prior_embeddings"], arrays["prior_positions"]))
    return tmp_path / "prior.npz"


def run(*arguments: object) -> int:
    return main(["ask", *map(str, arguments), "--max-new-tokens", "12"])


def expected_answer(image: Path, question: str, model: str, prior: Prior | None = None) -> str:
    with Image.open(image) as picture:
        return loading.load(model).answer(picture.convert("RGB"), question, prior, max_new_tokens=12)


def test_the_answer_is_streamed_to_stdout(image: Path, model: str, capsys: pytest.CaptureFixture[str]):
    assert run(image, "How many ships?", "--model", model) == 0
    output = capsys.readouterr()
    assert output.out.strip() == expected_answer(image, "How many ships?", model)
    assert re.fullmatch(r"Confidence 0\.\d\d \(by its tokens, not calibrated\)\n", output.err)


def test_a_task_asks_its_own_question(image: Path, model: str, capsys: pytest.CaptureFixture[str]):
    assert run(image, "--task", "count", "--target", "aircraft", "--model", model) == 0
    assert capsys.readouterr().out.strip() == expected_answer(image, prompts.prompt("count", "aircraft"), model)


def test_the_prior_is_used(image: Path, prior: Path, model: str, capsys: pytest.CaptureFixture[str]):
    assert run(image, "How many ships?", "--prior", prior, "--model", model) == 0
    answer = capsys.readouterr().out.strip()
    assert answer == expected_answer(image, "How many ships?", model, load_prior(prior))
    assert answer != expected_answer(image, "How many ships?", model)


def test_detection_says_which_pixels_the_boxes_are_in(image: Path, model: str, capsys: pytest.CaptureFixture[str]):
    with Image.open(image) as picture:
        picture.resize((320, 240)).save(image)
    assert run(image, "--task", "detect", "--model", model) == 0
    shrunk, pixels, reading, confidence = capsys.readouterr().err.splitlines()
    assert "320 x 240 pixels are seen as 144 x 104" in shrunk
    assert pixels == "Boxes are in pixels of the image as the model sees it, 144 x 104; the file has 320 x 240."
    assert reading.startswith("This answer cannot be read as boxes: neither a box nor None: ")
    assert confidence.startswith("Confidence 0.")


def check_refused(capsys: pytest.CaptureFixture[str], *arguments: object, message: str) -> None:
    assert run(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("fusargpt ask: error: ")
    assert message in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no QUESTION; give one, or --task"),
        (["  "], "QUESTION: found an empty text"),
        (["How many?", "--target", "ship"], "--target goes into the question of --task"),
        (["How many?", "--task", "count", "--target", "ship"], "--target goes into the question of --task"),
        (["How many?", "--band", "2"], "band 2 of a PNG image"),
        (["How many?", "--model", "no such model"], "no such model: no such model folder"),
        (["How many?", "--prior", "absent.npz"], "absent.npz: no such file"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    image: Path, model: str, capsys: pytest.CaptureFixture[str], arguments: Any, message: str
):
    check_refused(capsys, image, "--model", model, *arguments, message=message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.png", None, "no such file"),
        ("text.png", b"hello", "not a PNG, JPEG or TIFF image"),
        ("empty.png", b"", "the file is empty"),
    ],
)
def test_a_file_that_is_no_image_is_refused_in_one_line(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    check_refused(capsys, tmp_path / name, "What is this?", "--model", model, message=f"{tmp_path / name}: {message}")


@pytest.mark.parametrize(("size", "message"), [((1, 1), "1 x 1 pixels"), ((30_000, 30), "30,000 x 30 pixels")])
def test_an_image_of_the_wrong_size_is_refused_in_one_line(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], size: tuple[int, int], message: str
):
    Image.new("L", size).save(tmp_path / "chip.png")
    check_refused(capsys, tmp_path / "chip.png", "What is this?", "--model", model, message=message)


def test_a_strip_that_the_model_cannot_see_is_refused_in_one_line(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    Image.new("L", (6000, 28)).save(tmp_path / "chip.png")
    message = "one side may be at most 200 times the other"
    check_refused(capsys, tmp_path / "chip.png", "What is this?", "--model", model, message=message)


def test_a_damaged_prior_is_refused_in_one_line(
    image: Path, prior: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    prior.write_bytes(prior.read_bytes()[:200])
    check_refused(capsys, image, "What is this?", "--prior", prior, "--model", model, message="prior.npz: not an .npz")


def test_a_damaged_model_is_refused_in_one_line(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "config.json").write_text("{}")
    check_refused(
        capsys,
        image,
        "What is this?",
        "--model",
        tmp_path,
        message=f"{tmp_path}: a model of type None; expected fusargpt",
    )


@needs_real_data
@pytest.mark.parametrize(
    "name",
    [
        "georef_sar/sentinel1_vv_port_of_la_2021-01-05.tif",
        "georef_sar/S1A__IW___A_20150309T173017_VV_grd_mli_geo_norm_db.tif",
        "ssdd/images/000003.jpg",
    ],
)
def test_real_images_are_answered(name: str, model: str, capsys: pytest.CaptureFixture[str]):
    assert run(REAL_DATA / name, "--task", "describe", "--model", model) == 0
    output = capsys.readouterr()
    assert output.out.strip()
    # What was assumed of a TIFF, in one line; of the two that are shrunk, also the verb that tiles them.
    assert output.err.count(" read as decibels (negative values); ") == name.endswith(".tif")
    assert ("fusargpt describe" in output.err) == ("S1A" not in name)
    *told, sureness = output.err.splitlines()
    assert sureness.startswith("Confidence 0.")
    assert len(told) == name.endswith(".tif") + ("S1A" not in name)


def test_a_constrained_answer_has_the_form_of_its_task(image: Path, model: str, capsys: pytest.CaptureFixture[str]):
    arguments = ["ask", str(image), "--task", "detect", "--model", model, "--max-new-tokens", "90"]
    free, held = ((main([*arguments, *more]), capsys.readouterr()) for more in ([], ["--constrained"]))
    assert free[0] == held[0] == 0
    # Of an untrained model: unreadable as it is, readable in its form.
    assert parse_boxes(free[1].out).problems
    assert not parse_boxes(held[1].out).problems
    assert "cannot be read" not in held[1].err


@pytest.mark.parametrize("task", [[], ["--task", "describe"]])
def test_constrained_needs_a_task_with_a_form(image: Path, capsys: pytest.CaptureFixture[str], task: str):
    assert run(image, "What is this?", *task, "--constrained") == 2
    assert "--constrained needs the --task whose form the answer has" in capsys.readouterr().err


def test_constrained_says_what_to_install(
    image: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert run(image, "--task", "count", "--constrained") == 2
    assert f"pip install --editable '{ROOT}[constrained]'" in capsys.readouterr().err


def test_too_few_tokens_for_a_constrained_answer_are_refused(
    image: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    assert run(image, "--task", "detect", "--model", model, "--constrained") == 2
    assert "max_new_tokens: found 12, expected at least" in capsys.readouterr().err


def test_a_folder_is_told_with_the_verb_for_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = (
        f"{tmp_path}: a folder; expected one image; for every image of a folder: fusargpt batch {tmp_path} --task count"
    )
    check_refused(capsys, tmp_path, "--task", "count", message=said)


def test_a_scene_that_is_shrunk_names_the_verb_for_scenes(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
):
    scene = tmp_path / "scene.tif"
    Image.new("L", (1000, 900)).save(scene)
    assert main(["ask", str(scene), "--task", "count", "--model", model]) == 0
    said = capsys.readouterr().err
    assert "1,000 x 900 pixels are seen as" in said
    assert f"fusargpt count {scene} --no-prior --out count.geojson (or detect)" in said


def test_so_is_a_picture_by_way_of_a_tiff(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]):
    chip = tmp_path / "chip.jpg"
    random_image(350, 500).save(chip)
    assert run(chip, "How many ships?", "--model", model) == 0
    said = capsys.readouterr().err
    assert "500 x 350 pixels are seen as" in said and "in which small targets are lost" in said
    command = said.rpartition("as a TIFF it is tiled by: ")[2].splitlines()[0]
    assert command == f"rio convert {chip} {tmp_path}/chip.tif && fusargpt count {tmp_path}/chip.tif --no-prior " + (
        "--out count.json (or detect)"
    )


def test_a_file_given_to_batch_names_the_verbs_for_files(image: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["batch", str(image), "--task", "count", "--out", "answers.jsonl"]) == 2
    said = capsys.readouterr().err
    assert f"fusargpt ask {image} --task count" in said and f"fusargpt count {image} --no-prior" in said


def test_an_answer_that_says_nothing_is_an_error(
    image: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
):
    monkeypatch.setattr(predict.FusarGpt, "answer", lambda *_: "")
    assert run(image, "Why?", "--model", model) == 2
    error = capsys.readouterr().err
    assert "ended its answer at once, with nothing said to 'Why?'" in error and "--task asks one" in error


def test_special_tokens_in_a_question_are_text(image: Path, model: str, capsys: pytest.CaptureFixture[str]):
    assert run(image, "<|image_pad|>", "--model", model) == 0
    assert capsys.readouterr().out.strip() == expected_answer(image, "<|image_pad|>", model)


def test_a_model_that_fails_while_it_answers_is_named(
    image: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_: object) -> str:
        raise RuntimeError("mat1 and mat2 shapes\ncannot be multiplied")

    monkeypatch.setattr(predict.FusarGpt, "answer", fail)
    message = f"{model}: no answer (RuntimeError: mat1 and mat2 shapes cannot be multiplied)"
    check_refused(capsys, image, "How many?", "--model", model, message=message)
