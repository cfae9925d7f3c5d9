"""XML files of a product, read strictly: no document types, one of each element, numbers that are finite."""

from datetime import datetime
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from fusargpt.errors import InputError

MAX_VECTORS = 100_000


def parse_xml(content: bytes, root: str) -> Element:
    """The root element.

    Args:
        content: UTF-8.
        root: its name.

    Raises:
        InputError: no XML, such as what was cut; another root; or a document type, in which entities may grow.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError("XML with a document type; a product's files have none")
    try:
        found = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"not XML, or cut off ({error}); download the product again") from error
    if found.tag != root:
        raise InputError(f"the root is <{found.tag}>; expected <{root}>")
    return found


def child(element: Element, path: str) -> Element:
    """The one element at a path below another; raises InputError where there is none, or more."""
    found = element.findall(path)
    if len(found) != 1:
        raise InputError(f"found {len(found)} <{path}> in <{element.tag}>; expected one")
    return found[0]


def text(element: Element, path: str) -> str:
    """What the one element at a path holds; raises InputError for nothing."""
    found = (child(element, path).text or "").strip()
    if not found:
        raise InputError(f"<{path}> in <{element.tag}> is empty")
    return found


def number(element: Element, path: str) -> float:
    """The finite number that the one element at a path holds."""
    found = numbers(element, path)
    if len(found) != 1:
        raise InputError(f"<{path}> in <{element.tag}>: found {len(found)} numbers; expected one")
    return float(found[0])


def whole(element: Element, path: str) -> int:
    """The whole number that the one element at a path holds."""
    found = number(element, path)
    if not found.is_integer():
        raise InputError(f"<{path}> in <{element.tag}>: found {found:g}; expected a whole number")
    return int(found)


def numbers(element: Element, path: str) -> NDArray[np.float64]:
    """The finite numbers, [N] with N of one or more, that the one element at a path holds."""
    try:
        found = np.array(text(element, path).split(), np.float64)
    except ValueError as error:
        raise InputError(f"<{path}> in <{element.tag}>: expected numbers ({error})") from error
    if not np.isfinite(found).all():
        raise InputError(f"<{path}> in <{element.tag}>: found a number that is not finite")
    return found


def time(element: Element, path: str) -> datetime:
    """The time, UTC without saying so, that the one element at a path holds."""
    found = text(element, path)
    try:
        return datetime.fromisoformat(found)
    except ValueError as error:
        raise InputError(f"<{path}> in <{element.tag}>: found {found[:40]!r}; expected a time") from error


def vectors(element: Element, path: str) -> list[Element]:
    """The elements at a path, one or more."""
    found = element.findall(path)
    if not 1 <= len(found) <= MAX_VECTORS:
        raise InputError(f"found {len(found):,} <{path}> in <{element.tag}>; expected 1 to {MAX_VECTORS:,}")
    return found
