"""A trained stage as a release folder: python -m trl_recipes.small.release build/nano/stage2 --out DIR

A whole model in bfloat16, half the bytes of the float32 weights that training leaves; with `--adapter` the LoRA adapter
of a stage with `save: trained`, which names its base by the path from DIR. A README.md already in the folder
stays as it is; without one the stage's card is taken over.
"""

import argparse
import math
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from fusargpt.conversion.card_origins import write_carried_card
from fusargpt.conversion.model_card import CARD, Form
from fusargpt.conversion.write_artefacts import complete_adapter
from fusargpt.errors import InputError
from fusargpt.inference.backbones import read_config
from modeling_fusargpt import FusarGptProcessor
from modeling_fusargpt.artefacts import ADAPTER_CONFIG_FILE, ADAPTER_FILE, read_artefact
from trl_recipes.model.checkpoint import load_model


def release(stage: Path, out: Path) -> None:
    """Write model (bfloat16, safetensors), processor and the files for remote code to `out`."""
    model = load_model(str(stage), dtype=torch.bfloat16)
    model.save_pretrained(out)
    _finish(stage, out, model.num_parameters(), "whole", "a whole model in bfloat16")


def release_adapter(stage: Path, out: Path) -> None:
    """Copy the adapter to `out`, with processor and the files for remote code, naming its base from there.

    Raises:
        InputError: a stage that has left no adapter.
    """
    if not (stage / ADAPTER_CONFIG_FILE).is_file():
        raise InputError(
            f"{stage}: no {ADAPTER_CONFIG_FILE}; expected the output folder of a stage with `save: trained`"
        )
    artefact = read_artefact(str(stage))
    assert artefact.base is not None  # read_artefact raises for an adapter without
    # A folder by its path from here, so that the name is relative wherever the stage lay.
    base = os.path.relpath(artefact.base) if os.path.isdir(artefact.base) else artefact.base
    out.mkdir(parents=True, exist_ok=True)
    for name in (ADAPTER_CONFIG_FILE, ADAPTER_FILE):
        shutil.copyfile(stage / name, out / name)
    config, _ = read_config(str(stage))
    complete_adapter(out, config, base, artefact.base_revision or "main")
    with safe_open(out / ADAPTER_FILE, "pt") as weights:
        parameters = sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118  (no iterator)
    _finish(stage, out, parameters, "adapter", "a LoRA adapter")


def _finish(stage: Path, out: Path, parameters: int, form: Form, what: str) -> None:
    FusarGptProcessor.from_pretrained(stage).save_pretrained(out)
    if not (out / CARD).exists():
        name = out.resolve().name
        summary = f"FUSAR-GPT: {what} of {parameters:,} parameters, as the stage `{stage.resolve().name}` has left it."
        write_carried_card(str(stage), out, name, form, summary)
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    print(f"{out}: {parameters:,} parameters, {size / 1e6:.1f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", type=Path, help="output folder of a finished stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", action="store_true", help="the adapter alone")
    options = parser.parse_args()
    try:
        (release_adapter if options.adapter else release)(options.stage, options.out)
    except InputError as error:
        print(f"release: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
