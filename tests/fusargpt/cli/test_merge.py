from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fusargpt.cli.main import main
from tests.modeling_fusargpt.chain import write_backbone, write_stage1, write_stage2
from tests.tiny import random_image


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    write_backbone(place / "backbone")
    write_stage1(place / "stage1", place / "backbone")
    write_stage2(place / "stage2", place / "stage1")
    return place


def test_what_a_stage_has_left_is_asked_and_merged(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    random_image(40, 56).save(tmp_path / "image.png")
    question = ["ask", str(tmp_path / "image.png"), "How many?", "--max-new-tokens", "8"]
    assert main([*question, "--model", str(place / "stage2")]) == 0
    answer = capsys.readouterr().out
    out = tmp_path / "whole"
    assert main(["merge", str(place / "stage2"), "--out", str(out)]) == 0
    size = (out / "model.safetensors").stat().st_size
    assert capsys.readouterr().out.startswith(f"{out}: a whole model, 93,920 parameters, ")
    assert size > 4 * 93_920
    assert main([*question, "--model", str(out)]) == 0
    assert capsys.readouterr().out == answer


def test_the_type_of_the_weights_can_be_chosen(place: Path, tmp_path: Path):
    assert main(["merge", str(place / "stage1"), "--out", str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.bfloat16}


def test_wrong_input_is_refused_in_one_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (place / "backbone").rename(place / "moved")
    for arguments, message in (
        ((place / "stage2", tmp_path / "out"), f"but there is no folder {place / 'backbone'}"),
        ((place / "absent", tmp_path / "out"), "absent: no such model folder"),
        ((place / "stage2", place / "stage1"), "expected a new or an empty folder"),
    ):
        capsys.readouterr()
        assert main(["merge", str(arguments[0]), "--out", str(arguments[1])]) == 2
        error = capsys.readouterr().err
        assert error.startswith("fusargpt merge: error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    (place / "moved").rename(place / "backbone")
