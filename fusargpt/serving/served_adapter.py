"""LoRA adapters that vLLM would answer wrongly with: it applies what they add to the language model, and no more."""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fusargpt.errors import InputError

WEIGHTS_FILE = "adapter_model.safetensors"
# Names in an adapter's file, of today and of before the parts of Qwen2.5-VL moved into `model`.
_TOWER_OR_MERGER = re.compile(r"(?:base_model\.model\.)?(?:model\.)?(visual\..+?)\.(?:lora_|base_layer|weight|bias)")


def check_served_adapter(folder: str | Path) -> None:
    """Refuse an adapter of which vLLM would leave out a part without a word.

    Args:
        folder: as peft writes it. Without `adapter_model.safetensors` it is left to vLLM's own messages.

    Raises:
        InputError: LoRA in the vision tower or its merger, or a damaged file.
    """
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {error}") from error
    found = sorted({match[1] for name in names if (match := _TOWER_OR_MERGER.match(name))})
    if found:
        raise InputError(
            f"{path}: found weights for {found[0]} ({len(found)} layers of the vision tower or its merger), which vLLM "
            f"leaves out; it applies adapters to the language model alone. Merge it with its base, and serve that: "
            f"fusargpt merge {folder} --out WHOLE"
        )
