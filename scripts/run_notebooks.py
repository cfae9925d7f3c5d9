"""Run the notebooks of the documentation and keep what they show: python -m scripts.run_notebooks [NOTEBOOK ...]

Without names it runs all of `docs/notebooks`. Progress bars and warnings are left out, pictures are made small enough
to be committed.
"""

import base64
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
_SECONDS = 300  # for a cell, on a machine that has other work too
_WIDEST = 560  # pixels, which is about what a page shows
_QUALITY = 70


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook as it is when it has run in `folder`.

    Raises nbclient's CellExecutionError for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=_SECONDS, kernel_name="python3", record_timing=False, resources={"metadata": {"path": folder}}
    ).execute()
    notebook.metadata.language_info = {"name": "python"}  # without the Python that ran it
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _joined([output for output in cell.outputs if output.get("name") != "stderr"])
            for output in cell.outputs:
                _shrink(output)
    return notebook


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each code cell gives: "text", "picture" or "value"."""
    return [[_kind(output) for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def _kind(output: Any) -> str:
    if output.output_type == "stream":
        return "text"
    return "picture" if "image/jpeg" in output.data else "value"


def _joined(outputs: Sequence[Any]) -> list[Any]:
    """What was printed in several goes, in one."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _shrink(output: Any) -> None:
    """Leave one form of a picture, a JPEG of at most 560 pixels across."""
    data = output.get("data", {})
    png = data.pop("image/png", None)
    if png is None:
        return
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((_WIDEST, 2 * _WIDEST))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=_QUALITY)
    output.data = {"image/jpeg": base64.b64encode(written.getvalue()).decode(), "text/plain": "<a picture>"}
    output.metadata = {}


def main(names: Sequence[str]) -> None:
    for path in map(Path, names) if names else sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(execute(path, path.parent), path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
