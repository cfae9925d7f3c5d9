"""The checkpoints that travel with the package.

A Python package only so that the folder is found in the same way from a clone, from an editable install and from a
wheel: beside this file.
"""

from pathlib import Path

NANO = Path(__file__).resolve().parent / "fusargpt-nano"
"""Folder of fusargpt-nano: model, processor and model card, loadable by `from_pretrained`."""

NANO_BACKBONE = NANO.with_name("fusargpt-nano-backbone")
"""Folder of nano before both stages: what they, and the ablation, start from."""

NANO_SSDD = NANO.with_name("fusargpt-nano-ssdd")
"""Folder of a LoRA adapter on nano, fine-tuned on real SAR chips with ships; names nano by its relative path."""

KLIP_NANO = NANO.with_name("fusarklip-nano")
"""Folder of fusarklip-nano, which embeds images and texts."""
