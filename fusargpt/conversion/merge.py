"""One plain checkpoint of what stages have left: backbone, TLM and LoRA in one folder that needs no other."""

from pathlib import Path

import torch

from fusargpt.checkpoints import shipped
from fusargpt.conversion.card_origins import shown, write_carried_card
from fusargpt.files import new_folder
from fusargpt.inference.loading import load_parts


def merge(model: str | Path, out: Path, dtype: torch.dtype | None = None) -> int:
    """Write the model `model` whole to `out`, with its code, processor, generation settings and card.

    Args:
        model: folder or Hub id of a TLM or an adapter that names its base; a whole model is written as it is.
        out: new or empty folder, which appears when it is complete.
        dtype: of the weights; None takes that of the artefact's configuration, in which its stage was saved. LoRA is
            added in float32 and rounded once.

    Returns:
        The number of parameters.

    Raises:
        InputError: a model that cannot be loaded, and an `out` that is in the way or cannot be written.
    """
    # The folder first: whether it can be written is known before minutes are spent on the backbone.
    name = shipped(str(model))
    with new_folder(out) as folder:
        whole, processor = load_parts(name, dtype or "auto")
        whole.save_pretrained(folder)
        processor.save_pretrained(folder)
        weights = str(whole.dtype).removeprefix("torch.")
        summary = f"FUSAR-GPT: `{shown(name)}` with the base that it names in one whole model, in {weights}."
        write_carried_card(name, folder, out.resolve().name, "whole", summary)
    return whole.num_parameters()


__all__ = ["merge"]
