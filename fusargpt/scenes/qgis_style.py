"""How QGIS shows a layer without being told: a style in the GeoPackage itself.

QGIS looks for a table `layer_styles`, which it writes itself when a style is saved to a database, and takes the row of
a layer's name and geometry column whose `useAsDefault` is set. GDAL shows the table only if `gpkg_contents` lists it.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from fusargpt.geo.box_drawing import COLOURS, OTHER_COLOUR
from fusargpt.geo.picture_frame import Colour

GEOMETRY_COLUMN = "geom"
_NONE, _SKIPPED, _UNREAD = (120, 120, 120), (150, 170, 190), (245, 215, 60)
_OPAQUE, _VEILED = 255, 90
_OVER, _OUTSIDE = "1", "8"
"""Placements of labels, as QGIS numbers them."""
_TABLE = """CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
    ui TEXT(30), update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""
_LISTED = (
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('layer_styles', 'attributes', ?, 0)"
)
_STYLE = (
    "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML, "
    "styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '')"
)


@dataclass(frozen=True)
class _Rule:
    """Features that look alike; an empty filter takes what no other rule takes."""

    said: str
    filter: str
    colour: Colour
    fill: int = 0
    brush: str = "solid"
    line_mm: float = 0.3


def add_style(path: Path, layer: str, colours: Mapping[str, Colour] | None = None) -> None:
    """Write the style of a layer into a GeoPackage.

    Args:
        path: of a GeoPackage that has the layer.
        layer: the name of a task, as which its features are shown.
        colours: of classes; None has those of the quick-looks.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_TABLE)
        database.execute(_LISTED, ("layer_styles",))
        qml = style(layer, COLOURS if colours is None else colours)
        database.execute(_STYLE, (layer, GEOMETRY_COLUMN, layer[:30], qml, "as the quick-look of fusargpt"))


def style(task: str, colours: Mapping[str, Colour]) -> str:
    """QML of the features of a task."""
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology|Labeling", labelsEnabled="1")
    rules = _rules(task, colours)
    renderer = ElementTree.SubElement(root, "renderer-v2", type="RuleRenderer", symbollevels="0", enableorderby="0")
    listed = ElementTree.SubElement(renderer, "rules", key="rules")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for number, rule in enumerate(rules):
        said = {"key": f"rule-{number}", "symbol": str(number), "label": rule.said, "filter": rule.filter or "ELSE"}
        ElementTree.SubElement(listed, "rule", said)
        symbols.append(_symbol(number, rule))
    root.append(_labels(_LABELS[task], _OUTSIDE if task == "detect" else _OVER))
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}"


_LABELS = {
    "detect": 'if("score" is null, \'\', format_number("score", 2))',
    "count": "if(\"skipped\" <> '', '', \"count\")",
    "localize": '"cell"',
    "classify": '"class"',
    "describe": 'wordwrap("description", 40)',
}


def _rules(task: str, colours: Mapping[str, Colour]) -> Sequence[_Rule]:
    found = next(iter(colours.values()), OTHER_COLOUR)
    skipped = _Rule("not asked", "\"skipped\" <> ''", _SKIPPED, 200, "f_diagonal")
    if task == "detect":
        boxes = [_Rule(name, f'"label" = {_quoted(name)}', colour, line_mm=0.6) for name, colour in colours.items()]
        return [*boxes, _Rule("others", "", OTHER_COLOUR, line_mm=0.6)]
    if task == "count":
        of_target = [
            _Rule(f"{name} counted", f'"count" > 0 and "target" = {_quoted(name)}', colour, _VEILED)
            for name, colour in colours.items()
        ]
        none = _Rule("asked, none there", '"count" = 0 and "skipped" = \'\'', _NONE)
        return [*of_target, none, skipped, _Rule("answer not readable, or withheld", "", _UNREAD, _VEILED)]
    if task == "localize":
        cell = _Rule("cell with targets", "\"kind\" = 'cell'", found, _VEILED)
        tile = _Rule("asked", "\"kind\" = 'tile' and \"skipped\" = ''", _NONE)
        return [cell, tile, skipped, _Rule("others", "", _UNREAD, _VEILED)]
    if task == "classify":
        classes = [_Rule(name, f'"class" = {_quoted(name)}', colour, _VEILED) for name, colour in colours.items()]
        # Without a column `skipped`, as of labels, no feature is.
        none = _Rule("asked, none there", "\"class\" = 'none' and \"skipped\" = ''", _NONE)
        return [*classes, none, skipped, _Rule("others", "", OTHER_COLOUR, _VEILED)]
    return [_Rule("described", "", (70, 120, 200), 25)]


def _quoted(text: str) -> str:
    """A text in an expression of QGIS."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _symbol(number: int, rule: _Rule) -> ElementTree.Element:
    symbol = ElementTree.Element("symbol", type="fill", name=str(number), alpha="1", clip_to_extent="1", force_rhr="0")
    layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    values = {
        "color": _colour(rule.colour, rule.fill),
        "style": rule.brush if rule.fill else "no",
        "outline_color": _colour(rule.colour, _OPAQUE),
        "outline_style": "solid",
        "outline_width": f"{rule.line_mm:g}",
        "outline_width_unit": "MM",
        "joinstyle": "miter",
    }
    for key, value in values.items():
        ElementTree.SubElement(layer, "prop", k=key, v=value)
    return symbol


def _labels(expression: str, placement: str) -> ElementTree.Element:
    labeling = ElementTree.Element("labeling", type="simple")
    settings = ElementTree.SubElement(labeling, "settings")
    text = ElementTree.SubElement(
        settings,
        "text-style",
        fieldName=expression,
        isExpression="1",
        fontSize="8",
        fontSizeUnit="Point",
        textColor="20,20,25,255",
        textOpacity="1",
    )
    ElementTree.SubElement(
        text,
        "text-buffer",
        bufferDraw="1",
        bufferSize="0.8",
        bufferSizeUnits="MM",
        bufferColor="255,255,255,255",
        bufferOpacity="1",
    )
    ElementTree.SubElement(settings, "placement", placement=placement)
    ElementTree.SubElement(settings, "rendering", obstacle="0", scaleVisibility="0", drawLabels="1")
    return labeling


def _colour(colour: Colour, opacity: int) -> str:
    return ",".join(map(str, (*colour, opacity)))
