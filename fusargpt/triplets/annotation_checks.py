"""What the readers of annotations share: entries, numbers, sizes, and errors that name an object by its number."""

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError

_KEYS = ("bbox_2d", "corners", "polygon", "label", "fine_label", "crowd")


@contextmanager
def naming_object(origin: str, number: int) -> Generator[None]:
    """What is wrong with an object is said with its number."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{origin}, object {number}: {error}") from error


def checked_entry(entry: object) -> Mapping[str, object]:
    """An inline entry with the keys that it has to have; raises InputError for another."""
    if not isinstance(entry, dict):
        raise InputError(f"found {entry!r}; expected an object with a label and bbox_2d or polygon")
    if unknown := set(entry) - set(_KEYS):
        raise InputError(f"unknown key {', '.join(map(repr, sorted(unknown)))}; expected {', '.join(_KEYS)}")
    if "corners" in entry and "bbox_2d" not in entry:
        raise InputError("corners: expected beside a bbox_2d")
    if ("bbox_2d" in entry) == ("polygon" in entry):
        raise InputError("expected either bbox_2d or polygon")
    if not isinstance(entry.get("crowd", False), bool):
        raise InputError(f"crowd: found {entry['crowd']!r}; expected true or false")
    return entry


def labels_of_entry(entry: Mapping[str, object]) -> tuple[str, str]:
    """Label and fine label, or "", of an entry; raises InputError for what is no text."""
    label, fine_label = entry.get("label"), entry.get("fine_label") or ""
    if not isinstance(label, str) or not label.strip() or not label.isprintable():
        raise InputError(f"label: found {label!r}; expected the name of a class")
    if not isinstance(fine_label, str) or not fine_label.isprintable():
        raise InputError(f"fine_label: found {fine_label!r}; expected text")
    return label.strip(), fine_label


def positions(polygon: object) -> NDArray[np.float64]:
    """The corners [N, 2] of an entry's polygon, longitude and latitude; raises InputError for what is none."""
    if not isinstance(polygon, list) or len(polygon) < 3:
        raise InputError("polygon: expected a Polygon, or a list of three and more [longitude, latitude]")
    if not all(isinstance(position, list) and len(position) >= 2 for position in polygon):
        raise InputError("polygon: expected positions as [longitude, latitude]")
    lonlat = np.array([[finite_number(value) for value in position[:2]] for position in polygon])
    if (np.abs(lonlat) > (360, 90)).any():
        raise InputError("polygon: a corner that is not on Earth; expected [longitude, latitude], longitude first")
    return lonlat


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
