"""A LoRA adapter of fusargpt-nano as stage 2 leaves one."""

from pathlib import Path

from safetensors.torch import load_file, save_file

from fusargpt.checkpoints import NANO
from fusargpt.inference.predict import FusarGpt
from modeling_fusargpt.artefacts import ADAPTER_FILE
from tests.modeling_fusargpt.chain import write_stage2

SCALE = 0.5
"""Of random weights; as they are they would leave nothing of nano."""


def write_ships_adapter(folder: Path, nano: FusarGpt) -> Path:
    """Random, but small enough that most answers keep their form and many become others."""
    write_stage2(folder, NANO.resolve())
    tensors = load_file(folder / ADAPTER_FILE)
    shrunk = {name: SCALE * tensor if "lora_B" in name else tensor for name, tensor in tensors.items()}
    save_file(shrunk, folder / ADAPTER_FILE, metadata={"format": "pt"})
    nano.processor.save_pretrained(folder)
    return folder
