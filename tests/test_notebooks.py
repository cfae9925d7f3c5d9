"""The notebooks of the documentation run, and show what they were committed with."""

from pathlib import Path

import nbformat
import pytest

from scripts.run_notebooks import FOLDER, execute, kinds

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_was_committed_with(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    committed = nbformat.read(path, as_version=4)
    shown = kinds(committed)
    assert kinds(execute(path, tmp_path)) == shown
    assert [kind for cell in shown for kind in cell].count("picture") >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_small_and_tells_nothing_of_where_it_ran(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 300_000
    said = str([output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs])
    assert not any(trace in said for trace in ("/tmp", "/root", "/home", "Warning", "it/s"))
    assert "version" not in notebook.metadata.language_info
