"""How a user installs an extra of this distribution."""

import shlex
import sys
from pathlib import Path


def command_for(extra: str) -> str:
    """What to type so that an extra is installed for the Python that runs: from the clone, where this is one."""
    clone = Path(__file__).resolve().parents[1]
    is_clone = (clone / "pyproject.toml").is_file()
    wanted = ["--editable", f"{clone}[{extra}]"] if is_clone else [f"fusargpt[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *wanted])
