"""`fusargpt convert`: the authors' released weights in this package's format."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fusargpt.cli.parser import Parser
from fusargpt.conversion.released import RELEASED, released
from fusargpt.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str]) -> None:
    """Write the model and print what it was made of.

    Raises:
        InputError: a release, a backbone or an output folder that is not what it should be.
    """
    options = _parser().parse_args(arguments)
    if options.dtype is not None and not options.merge:
        raise InputError("--dtype is of the merged weights; leave it out, or leave --no-merge out")
    # What is quick to check comes before the seconds that torch takes to import.
    if not options.source.is_dir():
        raise InputError(f"{options.source}: no such folder; expected one of the authors' release, downloaded")
    source = options.source if options.model is None else released(options.source, options.model)

    import torch

    from fusargpt.conversion.convert import convert
    from fusargpt.conversion.write_artefacts import name_base
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    dtype = None if options.dtype is None else getattr(torch, options.dtype)
    done = convert(source, options.base, options.out, merge=options.merge, dtype=dtype)
    print(f"{options.out}: {'a whole model' if options.merge else 'an adapter, with its TLM in tlm/'}")
    if options.model is not None:
        print(f"  answers {RELEASED[options.model]}, as {options.model} of the release was trained")
    print(f"  LoRA   {done.language_layers} language layers, {done.vision_layers} vision layers")
    print(f"  TLM    hidden size {done.hidden_size}, sigma {done.sigma:g} patches")
    print(f"  images squeezed to {done.image_size} x {done.image_size} pixels, processor of {done.processor}")
    if not options.merge:
        backbone = name_base(options.base, options.out / "tlm")
        print(f"Its backbone is {backbone}, by base_model_name_or_path in {options.out / 'tlm' / 'config.json'}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt convert",
        description=(
            "Turn a model of the authors' release (adapter_config.json, adapter_model.safetensors, vec64_film.pt, and "
            "in newer runs tlm_config.json) into a model of this package. Anything in it that is not known is refused."
        ),
        examples=(
            "fusargpt convert release --model stage2/detection --base Qwen/Qwen2.5-VL-7B-Instruct --out fusargpt-7b",
        ),
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="folder of one model, or with --model of the release")
    parser.add_argument("--model", metavar="NAME", help=f"which of the release in SRC: {', '.join(RELEASED)}")
    parser.add_argument(
        "--base", metavar="BACKBONE", required=True, help="the Qwen2.5-VL it was trained on: folder, or owner/name"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="new folder for the model")
    parser.add_argument(
        "--no-merge",
        dest="merge",
        action="store_false",
        help="write adapter and TLM alone, which name their backbone, instead of a whole model",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the merged weights (default: the backbone's)")
    return parser
