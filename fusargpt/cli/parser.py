"""What the parsers of all verbs have in common."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line instead of under a screen of options, and shows examples as they can be copied.

    Args:
        examples: whole commands, a line each.
        options: of argparse.ArgumentParser.
    """

    def __init__(self, *, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self._examples = examples

    def format_help(self) -> str:
        lines = [f"  {example}" for example in self._examples]
        return "\n".join([super().format_help(), *(["examples:", *lines, ""] if lines else [])])

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(message)}; all options: {self.prog} --help\n")


def printable(message: str) -> str:
    """On one line, whatever the names in it are."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)
