"""What the parsers of all verbs have in common."""

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
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
        self.exit(
            2, f"{self.prog}: error: {printable(message + self._meant(message))}; all options: {self.prog} --help\n"
        )

    def _meant(self, message: str) -> str:
        """What was meant, in brackets, where what argparse refuses is close to a choice or an option that it has."""
        if choice := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            word, known = choice[1], re.findall(r"[\w.-]+", choice[2])
        elif option := re.search(r"unrecognized arguments: .*?(--[\w-]+)", message):
            word, known = option[1], re.findall(r"--[a-z][\w-]*", self.format_help())
        else:
            return ""
        close = get_close_matches(word, known, n=1)
        return f" (did you mean {close[0]}?)" if close else ""


def printable(message: str) -> str:
    """On one line, whatever the names in it are."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in message)
