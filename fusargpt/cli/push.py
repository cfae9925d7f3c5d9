"""`fusargpt push`: a model's folder to the Hub."""

import argparse
from collections.abc import Sequence

from fusargpt.checkpoints import check_model_name, shipped
from fusargpt.cli.parser import Parser
from fusargpt.conversion.publish import push


def main(arguments: Sequence[str]) -> None:
    """Upload the model and print the address of the commit.

    Raises:
        InputError: a folder that is not ready, or what the Hub refuses.
    """
    options = _parser().parse_args(arguments)
    check_model_name(options.folder)
    print(push(options.folder, options.repo, private=options.private, base=options.base, training=options.training))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt push",
        description=(
            "Upload a model to the Hub: weights, configuration, processor, code and card, as train, merge and "
            "convert leave them. Its training stays here unless asked for. Log in first, with: hf auth login"
        ),
        examples=(
            "fusargpt push build/7b/stage1 someone/fusargpt-7b-tlm --private",
            "fusargpt push build/7b/stage2 someone/fusargpt-7b --base someone/fusargpt-7b-tlm",
        ),
    )
    parser.add_argument("folder", metavar="FOLDER", type=shipped, help="of a model, or the name of one of the package")
    parser.add_argument("repo", metavar="OWNER/NAME", help="model on the Hub, made if it does not exist")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument(
        "--base", metavar="OWNER/NAME", help="the base on the Hub, of a TLM or an adapter that names a folder"
    )
    parser.add_argument("--training", action="store_true", help="upload checkpoints, optimizer states and logs as well")
    return parser
