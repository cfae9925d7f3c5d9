"""What the readers of annotation files share: numbers, sizes, and errors that name an object by its number."""

import math
from collections.abc import Generator
from contextlib import contextmanager

from fusargpt.errors import InputError


@contextmanager
def naming_object(origin: str, number: int) -> Generator[None]:
    """What is wrong with an object is said with its number."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{origin}, object {number}: {error}") from error


def finite_number(value: object) -> float:
    """A number, or the text of one; raises InputError for anything else, NaN and what lies far beyond any image."""
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number) or abs(number) > 1e9:
        raise InputError(f"found {value!r}; expected a number of pixels or degrees")
    return number


def check_size(origin: str, found_width: object, found_height: object, width: int, height: int) -> None:
    """Annotations of another size are those of another image, or of a resized one; a size left out is not checked.

    Raises:
        InputError: another size, or what is no number.
    """
    found = [value.strip() if isinstance(value, str) else value for value in (found_width, found_height)]
    if any(value in (None, "") for value in found):
        return
    try:
        same = [finite_number(value) for value in found] == [width, height]
    except InputError:
        same = False
    if not same:
        raise InputError(
            f"{origin}: says that the image has {found_width} x {found_height} pixels; the scene has {width} x {height}"
        )
