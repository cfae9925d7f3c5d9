"""Annotations of one image in XML, as VOC and the sets that go by it write them: FAIR1M, Gaofen, AIR-SARShip.

Objects are elements `<object>`, wherever in the file, in an `<objects>` or not; the case of tags does not matter. The
class of each is its `<name>` or its `<possibleresult><name>`; its box is its `<bndbox>`, or the upright box about its
`<robndbox>` (centre, width, height and the angle from x towards y in radians, as roLabelImg writes it) or its
`<points>`, which are pixels.
"""

import codecs
import math
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from fusargpt.errors import InputError
from fusargpt.files import read_regular
from fusargpt.triplets.annotation_checks import check_size, finite_number, naming_object
from fusargpt.triplets.box_texts import hull

_ROTATED = ("cx", "cy", "w", "h", "angle")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_ABOUT_THE_IMAGE = {"filename", "folder", "owner", "path", "research", "segmented", "size", "source"}
_SHAPES = ("bndbox", "robndbox", "points")
_OTHER_SHAPES = {"bndbox", "box", "hbb", "obb", "points", "polygon", "robndbox", "rotated_bndbox"}
_NUMBERS_OF_A_BOX = 4
_DECLARATION = re.compile(rb"""\A\s*<\?xml\b[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["'][^>]*\?>""")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# What files in GB2312 and GBK hold beyond them is in their successor.
_SUCCESSORS = {"gb2312": "gb18030", "gbk": "gb18030"}


def voc_entries(path: str, width: int, height: int) -> list[dict[str, Any]]:
    """The objects of a file as inline entries: a label, `bbox_2d` and of rotated ones `corners`, not yet checked.

    Args:
        path: of the .xml file.
        width: of the scene in pixels.
        height: likewise.

    Raises:
        InputError: a file that cannot be read, is of another kind or of an image of another size, an object without
            one name and one box, or no object at all where something is there that may hold some.
    """
    root = _root(path)
    objects = [element for element in root.iter() if _tag(element) == "object"]
    entries = []
    for number, element in enumerate(objects, start=1):
        with naming_object(path, number):
            entries.append({"label": _name(element), **_box(element)})
    inside = {inner for element in objects for inner in element.iter()}
    for element in reversed([*_beside(root)]):  # the innermost first
        if element not in inside and (
            _tag(element) in _OTHER_SHAPES or (not objects and len(_numbers(element)) >= _NUMBERS_OF_A_BOX)
        ):
            raise InputError(
                f"{path}: <{element.tag}> is in no <object>; expected objects as <object> with <name> and <bndbox>"
            )
    size = _child(root, "size")
    if size is not None:
        check_size(path, _text(_child(size, "width")), _text(_child(size, "height")), width, height)
    return entries


def _root(path: str) -> Element:
    try:
        root = ElementTree.fromstring(_decoded(read_regular(path)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise InputError(f"{path}: not {error.encoding} text, as it should be by its first line ({reason})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not XML ({error})") from error
    if _tag(root) != "annotation":
        raise InputError(f"{path}: the root is <{root.tag}>; VOC has <annotation>")
    return root


def _decoded(content: bytes) -> str:
    """The text by its mark or its declaration, without this one: the parser knows few encodings by itself."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            text = content.decode(encoding)
            return re.sub(r"\A\s*<\?xml\b[^>]*\?>", "", text)
    declared = _DECLARATION.match(content)
    if declared is None:
        return content.decode("utf-8")
    name = codecs.lookup(declared[1].decode("ascii", "replace")).name
    return content[declared.end() :].decode(_SUCCESSORS.get(name, name))


def _tag(element: Element) -> str:
    """The name of an element as it is compared: without its namespace."""
    return element.tag.rpartition("}")[2].lower()


def _children(element: Element, tag: str) -> list[Element]:
    return [child for child in element if _tag(child) == tag]


def _child(element: Element, tag: str) -> Element | None:
    found = _children(element, tag)
    if len(found) > 1:
        raise InputError(f"found {len(found)} <{found[0].tag}> in <{element.tag}>; expected one")
    return found[0] if found else None


def _text(element: Element | None) -> str | None:
    return None if element is None else (element.text or "").strip()


def _name(element: Element) -> str:
    """Of an object; "" where it has none, which is said with the label."""
    owners = _children(element, "name") or [
        name for result in _children(element, "possibleresult") for name in _children(result, "name")
    ]
    names = {_text(name) or "" for name in owners}
    if len(names) > 1:
        raise InputError(f"found the names {', '.join(sorted(names))}; expected one")
    return names.pop() if names else ""


def _box(element: Element) -> dict[str, Any]:
    """Edges of an object in pixels, and its corners where it is rotated."""
    box, rotated, points = (_child(element, shape) for shape in _SHAPES)
    about = {} if rotated is None else hull(_rotated(rotated))
    if box is not None:
        return {**about, "bbox_2d": [_text(_child(box, edge)) for edge in _EDGES]}
    if rotated is not None:
        return about
    if points is None:
        others = sorted({child.tag for child in element if _tag(child) in _OTHER_SHAPES})
        found = ", ".join(f"<{tag}>" for tag in others) or "none"
        raise InputError(
            f"found {found} for its place; expected <bndbox> with {', '.join(_EDGES)}, <robndbox> or <points>"
        )
    unit = _text(_child(element, "coordinate"))
    if unit is not None and unit.lower() not in ("", "pixel"):
        raise InputError(f"coordinate: found {unit!r}; expected points in pixels; give polygons on the map as GeoJSON")
    corners = [_corner(point) for point in _children(points, "point")]
    if len(corners) < 2:
        raise InputError(f"points: found {len(corners)}; expected the corners, as <point>100,120</point>")
    return hull(corners)


def _rotated(element: Element) -> list[tuple[float, float]]:
    """The corners of a `<robndbox>`."""
    x, y, across, down, angle = (finite_number(_text(_child(element, name))) for name in _ROTATED)
    if across <= 0 or down <= 0:
        raise InputError(f"robndbox: found {across:g} x {down:g} pixels; expected a width and a height above 0")
    if abs(angle) > 2 * math.pi:
        raise InputError(f"robndbox: angle: found {angle:g}; expected radians, at most a turn")
    along = math.cos(angle) * across / 2, math.sin(angle) * across / 2
    beside = -math.sin(angle) * down / 2, math.cos(angle) * down / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [(x + a * along[0] + b * beside[0], y + a * along[1] + b * beside[1]) for a, b in signs]


def _corner(point: Element) -> tuple[float, float]:
    """x and y of a point: "x,y", "x y", or an element for each."""
    values = re.split(r"[,;\s]+", (point.text or "").strip())
    if len(point):
        values = [_text(_child(point, name)) for name in ("x", "y")]
    if len(values) != 2:
        raise InputError(f"point: found {(point.text or '').strip()!r}; expected x,y")
    x, y = (finite_number(value) for value in values)
    return x, y


def _beside(root: Element) -> Iterator[Element]:
    """What may hold an object that was not known for one."""
    for child in root:
        if _tag(child) not in _ABOUT_THE_IMAGE:
            yield from child.iter()


def _numbers(element: Element) -> list[str]:
    return re.findall(r"(?<![\w.-])[+-]?\d+(?:\.\d*)?(?![\w.-])", " ".join(element.itertext()))
