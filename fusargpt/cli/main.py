"""The `fusargpt` command. A verb is imported when it runs, so that help and usage errors come at once."""

import argparse
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version

from fusargpt.cli.parser import Parser, printable
from fusargpt.errors import InputError, one_line
from fusargpt.waiting_threads import give_up_cores

# Each is a module of this package with `main(arguments)`, which may return an exit code, or one of `SCENE_VERBS`.
VERBS = {
    "ask": "answer a question about one SAR image (a chip)",
    "batch": "ask about every image of a folder, or every row of a dataset",
    "calibrate": "fit how sure a model is to how often it is right",
    "caption": "describe every image of a dataset in sixteen parts, stage by stage",
    "classify": "name the class of the targets, or one of your labels, all over a scene",
    "convert": "turn the authors' released weights into a model of this package",
    "count": "count ships, or other targets, all over a scene, as a map layer",
    "demo": "serve a web page that answers questions about SAR images",
    "describe": "describe a scene tile by tile, as a map layer",
    "detect": "box the ships, or other targets, of a whole scene, as a map layer",
    "embed": "make vectors of a scene's tiles or of images, to be searched",
    "evaluate": "score models on a dataset, with the prior true, absent, shuffled or alone",
    "localize": "name the cells with ships, or other targets, all over a scene, as a map layer",
    "manifest": "make a manifest of pictures annotated in COCO, VOC, YOLO or DOTA, for triplets",
    "merge": "write one plain checkpoint of a TLM or an adapter with its base",
    "plan": "work out what a stage will cost on other machines",
    "prior": "fetch the AlphaEarth prior of one image into a file",
    "push": "publish a model on the Hub, with its card",
    "quickstart": "answer all five tasks on sample scenes and draw one picture",
    "scio": "find wrong parts of captions, leave them out or say them anew",
    "search": "find what fits words best in a scene or a folder, as a map layer",
    "train": "run one stage of training from a recipe",
    "triplets": "make a training dataset from SAR scenes, and publish it",
}
SCENE_VERBS = ("classify", "count", "describe", "detect", "localize")
USAGE_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; `arguments` are those of the command line when None.

    Returns:
        The exit code: 0, 1 when `batch`, `caption`, `manifest`, `triplets build`, `evaluate`, `embed`, `search` or a
        verb over a scene had to leave out some items, 2 when the user's input is not what it should be (one line on
        stderr says what), 130 when interrupted. argparse itself exits with 2 on a wrong usage.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may be no UTF-8, and terminals may know few letters; as stderr has it.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    options = parser.parse_args(arguments)
    give_up_cores()
    # Of kernels for few bits that nothing here needs, and of names that libraries will drop from each other.
    for package in ("bitsandbytes", "torch.utils._pytree", "torchao"):
        logging.getLogger(package).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        for argument in options.arguments:
            _check_text(argument)
        return _verb(options.verb)(options.arguments) or 0
    except InputError as error:
        _tell(options.verb, str(error))
        return USAGE_ERROR
    except BrokenPipeError:
        # Whoever read stdout has seen enough; Python would say so once more when it flushes it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        # A disk that is full, a folder that is closed, a file that is gone: it has a number. Others are ours to mend.
        if error.errno is None:
            raise
        file = "" if error.filename is None else f"{error.filename}: "
        _tell(options.verb, f"{file}{error.strerror or one_line(error)}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def _tell(verb: str, message: str) -> None:
    print(f"fusargpt {verb}: error: {printable(message)}", file=sys.stderr)


def _check_text(argument: str) -> None:
    """Raises InputError for what the system could not have passed, and no file can be called."""
    try:
        whole = "\x00" not in os.fsencode(argument).decode("latin-1")
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise InputError(f"found the argument {argument!a}; expected text")


def _verb(name: str) -> Callable[[Sequence[str]], int | None]:
    if name in SCENE_VERBS:
        return partial(import_module("fusargpt.cli.scene_verbs").run, name)
    return import_module(f"fusargpt.cli.{name}").main


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fusargpt",
        description="Ask a vision-language model about SAR images, with or without an AlphaEarth prior.",
        epilog="verbs:\n"
        + "\n".join(f"  {verb:<12}{help_text}" for verb, help_text in VERBS.items())
        + "\n\n'fusargpt VERB --help' explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fusargpt {version('fusargpt')}")
    parser.add_argument("verb", metavar="VERB", choices=VERBS, help="what to do, see below")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="the verb's own arguments")
    return parser
