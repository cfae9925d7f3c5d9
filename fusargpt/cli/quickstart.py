"""`fusargpt quickstart`: all five tasks on sample scenes and an image of the user's, as a table and as one picture."""

import sys
from collections.abc import Sequence
from pathlib import Path

from fusargpt.checkpoints import DEFAULT, shipped
from fusargpt.cli.answering import answering
from fusargpt.cli.parser import Parser
from fusargpt.cli.tiling_hint import tiled_by
from fusargpt.errors import InputError
from fusargpt.tasks.seen_size import is_shrunk, told_shrunk

SEEDS = (3, 12, 2)  # of the test split: open sea, an airfield, a harbour; what is wrong in them is said


def main(arguments: Sequence[str]) -> None:
    """Print the table and write the picture.

    Raises:
        InputError: a model or an image that cannot be read, or a name for the picture that does not end in .png.
    """
    parser = Parser(
        prog="fusargpt quickstart",
        description="Answer all five tasks on three simulated scenes of the test split, and on an image of your own; "
        "show what the prior does.",
    )
    parser.add_argument("--model", type=shipped, default=str(DEFAULT), help=f"model folder (default: {DEFAULT.name})")
    parser.add_argument("--image", type=Path, help="an image of your own beside them, as `fusargpt ask` reads it")
    parser.add_argument("--out", type=Path, default=Path("quickstart.png"), help="the picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.out.suffix.lower() != ".png":
        raise InputError(f"--out: found {options.out}; expected a name that ends in .png")

    from fusargpt.cli.showcase import ask_everything, ask_own, draw, format_table
    from fusargpt.geo.image import read_image
    from fusargpt.inference.loading import load
    from fusargpt.inference.quiet import quiet_libraries

    path: Path | None = options.image
    own = None if path is None else (path, read_image(path))
    quiet_libraries()
    predictor = load(options.model)
    with answering(options.model):
        showcases = ask_everything(predictor, SEEDS)
        if own is not None:
            path, image = own
            showcases.append(ask_own(predictor, path.name, image))
            seen = predictor.seen_size(image)
            if is_shrunk(*image.size, *seen):
                print(f"{path}: {told_shrunk(*image.size, *seen)}; {tiled_by(path, 'detect')}", file=sys.stderr)
    print(format_table(showcases))
    draw(predictor, showcases, options.out)
    print(f"\nPicture: {options.out}  (simulated SAR; prior in false colour; where the prior acts; boxes; answers)")
