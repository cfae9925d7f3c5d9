"""FUSAR-GPT in the browser: a SAR image and a question in, the answer streamed and drawn on the image.

Run as a script in a Space, or by `fusargpt demo`. Environment variables: FUSARGPT_MODEL names the model, a folder or
`owner/name` on the Hub (when it is not set `fusargpt.checkpoints.DEFAULT`, which comes with the package);
FUSARGPT_KLIP_MODEL the one that searches, likewise (fusarklip-nano); FUSARGPT_ALPHAEARTH the AlphaEarth fields that are
offered, see `space_app.fields`.
"""

import importlib.util
import sys
from pathlib import Path

if not __package__:
    # In a Space this file is a script, and its folder, whatever its name, is the package: not an installed one.
    spec = importlib.util.spec_from_file_location("space_app", Path(__file__).with_name("__init__.py"))
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["space_app"] = package
    spec.loader.exec_module(package)

# Settles what has to be before torch is imported.
import space_app.accelerator  # noqa: F401  # pyright: ignore[reportUnusedImport]
from fusargpt.errors import InputError
from space_app.launch import chosen_model, serve

if __name__ == "__main__":
    try:
        serve(chosen_model())
    except InputError as error:
        sys.exit(f"error: {error}")
