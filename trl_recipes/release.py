"""A trained stage as a release folder in bfloat16: python -m trl_recipes.release build/nano/stage2 --out DIR

Half the bytes of the float32 weights that training leaves. A README.md already in the folder stays as it is.
"""

import argparse
from pathlib import Path

import torch

from modeling_fusargpt import FusarGptProcessor
from trl_recipes.checkpoint import load_model


def release(stage: Path, out: Path) -> None:
    """Write model (bfloat16, safetensors), processor and the files for remote code to `out`."""
    model = load_model(str(stage), dtype=torch.bfloat16)
    model.save_pretrained(out)
    FusarGptProcessor.from_pretrained(stage).save_pretrained(out)
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    print(f"{out}: {model.num_parameters():,} parameters, {size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", type=Path, help="output folder of a finished stage")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    release(options.stage, options.out)


if __name__ == "__main__":
    main()
