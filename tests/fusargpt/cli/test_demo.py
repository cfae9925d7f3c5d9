import sys

import pytest

from fusargpt.cli.main import main
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port: found 70000; expected 1 to 65535"),
        (["--model", "no such model"], "no such model: no such model folder; expected one, or the Hub's owner/name"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    assert main(["demo", *arguments]) == 2
    assert capsys.readouterr().err == f"fusargpt demo: error: {message}\n"


def test_the_environment_names_the_model(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FUSARGPT_MODEL", "also no model")
    assert main(["demo"]) == 2
    assert "also no model: no such model folder" in capsys.readouterr().err


def test_without_gradio_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    command = f"{sys.executable} -m pip install --editable '{ROOT}[demo]'"
    assert capsys.readouterr().err == f"fusargpt demo: error: the demo needs gradio; this brings it: {command}\n"


def test_the_page_is_served_where_asked(monkeypatch: pytest.MonkeyPatch):
    served = []
    monkeypatch.setattr("space_app.launch.serve", lambda *arguments: served.append(arguments))
    command = ["demo", "--model", "owner/model", "--host", "0.0.0.0", "--port", "8000"]
    assert main(command) == main([*command, "--dtype", "bfloat16", "--quantization", "int8"]) == 0
    where = ("owner/model", "0.0.0.0", 8000)
    assert served == [(*where, None, "none"), (*where, "bfloat16", "int8")]
