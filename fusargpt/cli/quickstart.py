"""`fusargpt quickstart`: nano answers all five tasks on sample scenes, as a table and as one picture."""

from collections.abc import Sequence
from pathlib import Path

from fusargpt.checkpoints import DEFAULT, shipped
from fusargpt.cli.answering import answering
from fusargpt.cli.parser import Parser
from fusargpt.errors import InputError

SEEDS = (3, 12, 2)  # of the test split: open sea, an airfield, a harbour; what is wrong in them is said


def main(arguments: Sequence[str]) -> None:
    """Print the table and write the picture.

    Raises:
        InputError: a model that cannot be read, or a name for the picture that does not end in .png.
    """
    parser = Parser(
        prog="fusargpt quickstart",
        description="Answer all five tasks on three simulated scenes of the test split; show what the prior does.",
    )
    parser.add_argument("--model", type=shipped, default=str(DEFAULT), help=f"model folder (default: {DEFAULT.name})")
    parser.add_argument("--out", type=Path, default=Path("quickstart.png"), help="the picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.out.suffix.lower() != ".png":
        raise InputError(f"--out: found {options.out}; expected a name that ends in .png")

    from fusargpt.cli.showcase import ask_everything, draw, format_table
    from fusargpt.inference.loading import load
    from fusargpt.inference.quiet import quiet_libraries

    quiet_libraries()
    predictor = load(options.model)
    with answering(options.model):
        showcases = ask_everything(predictor, SEEDS)
    print(format_table(showcases))
    draw(predictor, showcases, options.out)
    print(f"\nPicture: {options.out}  (simulated SAR; prior in false colour; where the prior acts; boxes; answers)")
