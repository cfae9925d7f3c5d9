"""The mean of several stages' weights as one model: python -m trl_recipes.small.mean STAGE STAGE ... --out DIR

Of runs that began at the same weights, the mean is often as good as the best of them (model soups, Wortsman et al.
2022, arXiv 2203.05482), at the price of one. In float32, as a stage leaves its weights, so that the next stage goes on
from it; weights that all of them share stay as they are bit for bit, and so does what a feature cache holds of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from fusargpt.conversion.card_origins import write_carried_card
from fusargpt.errors import InputError
from fusargpt.files import new_folder
from modeling_fusargpt import FusarGptProcessor
from trl_recipes.model.checkpoint import load_model


def write_mean(stages: Sequence[Path], out: Path) -> None:
    """Write the mean of the weights of `stages`, with the first one's configuration and processor, to `out`.

    Raises:
        InputError: fewer than two stages, one whose weights have other names or shapes than the first one's, or an
            `out` that is there.
    """
    if len(stages) < 2:
        raise InputError(f"found {len(stages)} stage; expected two or more whose mean is taken")
    first, *others = stages
    model = load_model(str(first))
    weights = model.state_dict()
    sums = {name: value.to(torch.float64) for name, value in weights.items()}
    shared = set(weights)
    for stage in others:
        found = load_model(str(stage)).state_dict()
        differing = sorted(
            name
            for name in weights.keys() | found.keys()
            if name not in weights or name not in found or weights[name].shape != found[name].shape
        )
        if differing:
            raise InputError(
                f"{stage}: {differing[0]} (of {len(differing)}) is not as in {first}; expected runs of one model"
            )
        shared -= {name for name, value in found.items() if not torch.equal(value, weights[name])}
        for name, value in found.items():
            sums[name] += value
    mean = {
        name: value if name in shared else (sums[name] / len(stages)).to(value.dtype) for name, value in weights.items()
    }
    model.load_state_dict(mean)
    with new_folder(out) as part:
        model.save_pretrained(part)
        FusarGptProcessor.from_pretrained(first).save_pretrained(part)
        names = " and ".join(f"`{stage.resolve().name}`" for stage in stages)
        summary = f"FUSAR-GPT: the mean of the weights of {names}."
        write_carried_card(str(first), part, out.resolve().name, "whole", summary)
    averaged = len(weights) - len(shared)
    print(f"{out}: {averaged} of {len(weights)} tensors differ and are the mean of {len(stages)} stages")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", type=Path, nargs="+", metavar="STAGE", help="output folder of a finished stage")
    parser.add_argument("--out", type=Path, required=True, help="folder that is not there yet")
    options = parser.parse_args(arguments)
    try:
        write_mean(options.stages, options.out)
    except (InputError, FileNotFoundError) as error:
        print(f"mean: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
