"""`fusargpt merge`: one plain checkpoint of what stages have left."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusargpt.checkpoints import check_model_name, shipped
from fusargpt.cli.parser import Parser
from fusargpt.files import check_free

DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str]) -> None:
    """Write the model and print its size.

    Raises:
        InputError: a model that cannot be loaded, or an output folder that is in the way.
    """
    options = _parser().parse_args(arguments)
    # What is quick to check comes before the seconds that torch takes to import.
    check_model_name(options.model)
    check_free(options.out)

    import torch

    from fusargpt.conversion.merge import merge
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    parameters = merge(options.model, options.out, dtype)
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{options.out}: a whole model, {parameters:,} parameters, {size / 1e6:,.1f} MB")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt merge",
        description=(
            "Write one plain checkpoint of a TLM or a LoRA adapter that a stage has left with `save: trained`, and of "
            "the base that it names: weights, code, processor and generation settings."
        ),
        examples=("fusargpt merge build/7b/stage2 --out fusargpt-7b",),
    )
    parser.add_argument(
        "model", metavar="FOLDER", type=shipped, help="what a stage has left: folder, or owner/name on the Hub"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="new folder for the model")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights (default: the one the stage was saved in)")
    return parser
