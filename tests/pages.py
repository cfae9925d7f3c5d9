"""What a user reads, and the snippets and commands in it."""

import re
import shlex
from pathlib import Path

from tests.paths import ROOT

PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in sorted(
        [
            *ROOT.glob("*.md"),
            *ROOT.glob("docs/**/*.md"),
            *ROOT.glob("fusargpt/checkpoints/*/README.md"),
            *ROOT.glob("benchmarks/**/README.md"),
            *(
                ROOT / name / "README.md"
                for name in ("dataset_card", "metrics", "modeling_fusargpt", "modeling_fusarklip", "space_app")
            ),
            ROOT / "trl_recipes" / "README.md",
            *ROOT.glob("metrics/*/README.md"),
        ]
    )
)
"""Paths from the root of the repository."""


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def python_snippets(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """The commands of the shell blocks, each as its words, without comments."""
    blocks = re.findall(r"^```shell\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    # What is not one line of words, as a script in quotation marks, is not a command of ours.
    starts = ("fusargpt ", "make ", "python -m ", "accelerate ", "vllm ", "pip ", "uv ")
    return [shlex.split(line, comments=True) for line in lines if line.startswith(starts)]


def links(page: str) -> list[Path]:
    """The files that a page links to."""
    found = re.findall(r"\]\((?![a-z]+:|#)([^)\s#]+)", text(page))
    return [(ROOT / page).parent / link for link in found]
