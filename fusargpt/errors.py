"""The one error for what a user hands in, and other libraries' errors in one line."""

import textwrap
from collections.abc import Generator
from contextlib import contextmanager


class InputError(ValueError):
    """A file, a field or an argument given by the user is not what it should be.

    The message is one line: it names the file or field, what was found, what was expected and what to do.
    """


class OptionError(InputError):
    """An option that no item can be asked with: it ends a run, where another error costs one item."""


class NoDataError(InputError):
    """Nothing to see: no pixel of an image or of a window of it holds data."""


class NoPriorError(InputError):
    """No anchors for an image: no georeference, or a year or a place that the AlphaEarth field does not cover."""


@contextmanager
def naming(name: str) -> Generator[None]:
    """Errors of the block begin with `name`: a file, or a file and a part of it."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error


def check_characters(text: str, name: str) -> None:
    """Raises InputError for a text with what is no character, which tokenizers take neither as text nor as a path."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = text[error.start : error.end].encode("ascii", "backslashreplace").decode()
        raise InputError(
            f"{name}: found {found} at character {error.start + 1}, half of a character or a byte that is no UTF-8; "
            "expected text"
        ) from error


def one_line(error: BaseException) -> str:
    """Another library's error as the end of a one-line message."""
    return textwrap.shorten(str(error), width=240, placeholder=" ...") or type(error).__name__


def check(name: str, found: object, fits: bool, expected: str) -> None:
    """Raises InputError about the option `name` unless what was found fits."""
    if not fits:
        raise InputError(f"{name}: found {found}; expected {expected}")
