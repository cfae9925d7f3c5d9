"""The `fusargpt` command. A verb's own imports happen when it runs, so that help and usage errors come at once."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from fusar_geo.errors import InputError
from fusargpt import ask

USAGE_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; `arguments` are those of the command line when None.

    Returns:
        The exit code: 0, 2 when the user's input is not what it should be (one line on stderr says what), 130 when
        interrupted. argparse itself exits with 2 on a wrong usage.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = options.run
    try:
        run(options)
    except InputError as error:
        print(f"fusargpt {options.verb}: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fusargpt",
        description="Ask a vision-language model about SAR images, with or without an AlphaEarth prior.",
    )
    parser.add_argument("--version", action="version", version=f"fusargpt {version('fusargpt')}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    ask.add_verb(verbs)
    return parser
