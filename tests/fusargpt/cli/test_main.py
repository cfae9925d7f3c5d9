import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fusargpt.cli.main import VERBS, main


def test_help_names_the_verbs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(f"\n  {verb} " in output for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]):
    try:
        code = main([verb, "--help"])
    except SystemExit as ended:  # argparse ends by itself
        code = ended.code
    assert code == 0 and capsys.readouterr().out.startswith("usage: ")


def test_help_imports_nothing_heavy():
    program = """
import sys
from fusargpt.cli.main import main
try:
    main(["ask", "--help"])
except SystemExit:
    pass
print(sorted({"torch", "transformers", "rasterio", "numpy", "PIL"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [[], ["no-such-verb"], ["ask"], ["ask", "image.png", "--task", "guess"]])
def test_wrong_usage_exits_with_2(arguments: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage: fusargpt")


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*_arguments: Any):
        raise KeyboardInterrupt

    monkeypatch.setattr("fusargpt.geo.image.read_image", interrupt)
    assert main(["ask", str(tmp_path / "image.png"), "What is this?"]) == 130
    assert capsys.readouterr().err == ""


def test_the_command_exits_with_2_without_a_traceback(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; from fusargpt.cli.main import main; sys.exit(main())"]
    result = subprocess.run([*command, "ask", tmp_path / "absent.tif", "?"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == f"fusargpt ask: error: {tmp_path / 'absent.tif'}: no such file\n"
