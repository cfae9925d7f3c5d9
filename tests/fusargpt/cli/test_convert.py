import subprocess
import sys
from pathlib import Path

import pytest

from fusargpt.cli.main import main
from fusargpt.conversion import convert
from fusargpt.conversion.released import RELEASED
from fusargpt.tasks.prompts import TASKS
from tests.release import SETTINGS, Release, write_backbone
from tests.tiny import random_image

WITHOUT_EXTRAS = """
import sys
for name in ("accelerate", "datasets", "peft", "torchvision", "trl"):
    sys.modules[name] = None  # as if it were not installed
from fusargpt.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone and a release for it."""
    path = tmp_path_factory.mktemp("place")
    backbone = write_backbone(path / "backbone")
    Release(backbone, "old", True, SETTINGS).write(path / "release")
    return path


def arguments(place: Path, *further: str) -> list[str]:
    return ["convert", str(place / "release"), "--base", str(place / "backbone"), *further]


def check_refused(capsys: pytest.CaptureFixture[str], command: list[str], message: str) -> None:
    capsys.readouterr()
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("fusargpt convert: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_inference_alone_converts_and_says_what_it_found(place: Path, tmp_path: Path):
    out = tmp_path / "ours"
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *arguments(place, "--out", str(out))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{out}: a whole model",
        "  LoRA   14 language layers, 6 vision layers",
        "  TLM    hidden size 160, sigma 1.5 patches",
        f"  images squeezed to 84 x 84 pixels, processor of {place / 'backbone'}",
    ]
    assert {"config.json", "model.safetensors", "processor_config.json", "modeling_fusargpt.py"} <= {
        path.name for path in out.iterdir()
    }


def test_what_was_converted_can_be_asked(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments(place, "--out", str(tmp_path / "ours"))) == 0
    random_image(50, 90).save(tmp_path / "image.png")
    question = ["ask", str(tmp_path / "image.png"), "Any prompt.", "--task", "detect", "--max-new-tokens", "4"]
    capsys.readouterr()
    assert main([*question, "--model", str(tmp_path / "ours")]) == 0
    assert "as the model sees it, 84 x 84; the file has 90 x 50" in capsys.readouterr().err


def test_without_merging_the_user_learns_what_belongs_together(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "apart"
    assert main(arguments(place, "--out", str(out), "--no-merge")) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"{out}: an adapter, with its TLM in tlm/\n")
    assert output.endswith(
        f"Its backbone is {place / 'backbone'}, by base_model_name_or_path in {out}/tlm/config.json\n"
    )
    assert not (out / "model.safetensors").exists()


def test_wrong_input_is_refused_in_one_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "ours")
    check_refused(capsys, arguments(place / "absent", "--out", out), "release: no such folder")
    check_refused(capsys, arguments(place, "--out", str(place)), "expected a new or an empty folder")
    check_refused(capsys, arguments(place, "--out", out, "--no-merge", "--dtype", "float32"), "--dtype")
    check_refused(capsys, ["convert", str(place), "--base", out, "--out", out], "give one of them")
    (place / "release" / "tlm_config.json").write_text("{}")
    check_refused(capsys, arguments(place, "--out", out), "tlm_config.json: found the keys []")


@pytest.mark.parametrize("name", RELEASED)
def test_each_model_of_the_release_is_taken_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
):
    taken: list[Path] = []

    def take(source: Path, base: str, out: Path, **options: object) -> convert.Conversion:
        taken.append(source)
        return convert.Conversion(1, 0, 2.0, 128, 504, base)

    monkeypatch.setattr(convert, "convert", take)
    for other in RELEASED:
        (tmp_path / "release" / other).mkdir(parents=True)
    command = ["convert", str(tmp_path / "release"), "--model", name, "--base", "base", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert taken == [tmp_path / "release" / name]
    assert f"  answers {RELEASED[name]}, as {name} of the release was trained" in capsys.readouterr().out


def test_the_five_models_of_the_release_answer_the_five_tasks():
    assert sorted(RELEASED.values()) == sorted(TASKS)


def test_a_named_model_is_converted_as_its_folder_is(tmp_path: Path):
    backbone, folder = tmp_path / "backbone", tmp_path / "release" / "stage2" / "counting"
    Release(write_backbone(backbone), "old", True, SETTINGS).write(folder)
    further = ["--base", str(backbone), "--no-merge", "--out"]
    named = ["convert", str(tmp_path / "release"), "--model", "stage2/counting"]
    assert main([*named, *further, str(tmp_path / "named")]) == 0
    assert main(["convert", str(folder), *further, str(tmp_path / "direct")]) == 0
    named, direct = (tmp_path / which / "adapter_model.safetensors" for which in ("named", "direct"))
    assert named.read_bytes() == direct.read_bytes()


@pytest.mark.parametrize("name", ["counting", "stage2", "stage2/Counting", "stage2/counting/", "../release", ""])
def test_a_name_that_is_not_the_releases_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
):
    command = arguments(place, "--model", name, "--out", str(tmp_path / "out"))
    check_refused(capsys, command, f"--model: found {name!r}; expected one of stage1, stage2/localization, ")
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_downloaded_is_named_with_what_is_there(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name in ("stage1", "stage2/detection"):
        (tmp_path / "release" / name).mkdir(parents=True)
    command = ["convert", str(tmp_path / "release"), "--base", "base", "--out", str(tmp_path / "out")]
    message = "stage2/counting: no such folder; found stage1, stage2/detection; get it by: hf download kkcyy/FUSAR-GPT"
    check_refused(capsys, [*command, "--model", "stage2/counting"], message)
    check_refused(capsys, arguments(place, "--model", "stage1", "--out", "out"), "found none of the release's models")
