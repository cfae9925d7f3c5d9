"""Spatiotemporal anchors (paper section 3.1): AlphaEarth embeddings at the nodes of a regular grid over an image."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from fusargpt.alphaearth.field import AlphaEarth
from fusargpt.errors import InputError, NoPriorError
from fusargpt.geo.earth import METRES_PER_DEGREE, wrap_longitude
from fusargpt.geo.embeddings import EMBEDDING_SIZE
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.prior import Prior

MAX_NODES = 100_000
"""More than one image has use for; a smaller number of metres was meant than was typed."""

# Pixels. A node that lies on the centre of an outer pixel stays, whatever the rounding.
_TOLERANCE = 1e-6


def spatiotemporal_anchors(
    geometry: Geometry | None,
    year: int,
    *,
    source: AlphaEarth,
    grid: tuple[int, int] | None = None,
    spacing_m: float | None = None,
    window: Window | None = None,
    resolution: Literal["native", "match"] = "native",
    missing: Literal["raise", "empty"] = "raise",
) -> Prior:
    """The prior of an image, or of a window of it, from the AlphaEarth field of one year.

    Nodes are the centres of equal cells of the bounds in longitude and latitude, and are put on the image by its true
    geometry. Nodes that fall outside the centres of its outer pixels, outside the field or on nodata are left out.

    Args:
        geometry: of the image; None where it has none.
        year: of the field, as a rule that of the acquisition.
        source: the field.
        grid: nodes as (rows, columns), from north to south and from west to east. Either this or `spacing_m`.
        spacing_m: metres between nodes, rounded so that whole cells fill the bounds.
        window: in pixels; positions are those in the window. What lies beyond the edge of the image has no nodes.
        resolution: "native" takes the 10 m pixels beneath the nodes. "match" takes the coarsest overview of the field
            whose pixels are not larger than the spacing: means over what lies around each node, from far fewer bytes.
        missing: what to do without a georeference, year or data at this place: raise, or return a prior without
            anchors. Files that cannot be read always raise.

    Returns:
        The anchors that remain, row by row from the north.

    Raises:
        NoPriorError: no georeference, year or data, as `missing` says.
        InputError: neither or both of `grid` and `spacing_m`, values out of range, a window outside the image, or a
            field that cannot be read.
    """
    _check_choice("resolution", resolution, ("native", "match"))
    _check_choice("missing", missing, ("raise", "empty"))
    if (grid is None) == (spacing_m is None):
        raise InputError("grid and spacing_m: expected exactly one of them")
    if geometry is None:
        return _empty_or_raise(missing, "the image has no georeference, so that no place is known for its anchors")
    if year not in source.years:
        years = ", ".join(map(str, source.years))
        return _empty_or_raise(missing, f"year {year}: not in the AlphaEarth field at {source.name}; found {years}")
    part = _part(geometry, window)
    lonlat, cell_m = _nodes(geometry.bounds(part), grid, spacing_m)
    positions, inside = _positions(geometry.to_pixel(lonlat), window or part, part)
    if not inside.any():
        return _empty_or_raise(
            missing, f"none of the {len(inside)} anchors of the grid lies in the image, which is turned; ask for more"
        )
    lonlat, positions = lonlat[inside], positions[inside]
    vectors, valid = source.sample(lonlat, year, cell_m if resolution == "match" else None)
    if not valid.any():
        west, south, east, north = geometry.bounds(part)
        place = f"longitude {west:.4f} to {east:.4f}, latitude {south:.4f} to {north:.4f}"
        return _empty_or_raise(missing, f"{place}: no data of {year} in the AlphaEarth field at {source.name}")
    lonlat[:, 0] = wrap_longitude(lonlat[:, 0])
    return Prior(vectors[valid], positions[valid].astype(np.float32), lonlat[valid])


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: found {value!r}; expected {' or '.join(map(repr, choices))}")


def _empty_or_raise(missing: str, reason: str) -> Prior:
    if missing == "raise":
        raise NoPriorError(reason)
    return Prior(np.zeros((0, EMBEDDING_SIZE), np.float32), np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float64))


def _part(geometry: Geometry, window: Window | None) -> Window:
    """What of the window lies on the image."""
    if window is None:
        return Window.from_slices((0, geometry.height), (0, geometry.width))
    if window.width < 2 or window.height < 2:
        raise InputError(f"window: found {window.width:g} x {window.height:g} pixels; expected at least 2 x 2")
    left, top = max(window.col_off, 0), max(window.row_off, 0)
    right = min(window.col_off + window.width, geometry.width)
    bottom = min(window.row_off + window.height, geometry.height)
    if right <= left or bottom <= top:
        raise InputError(
            f"window: columns {window.col_off:g} to {window.col_off + window.width:g}, rows {window.row_off:g} to "
            f"{window.row_off + window.height:g} lie outside the image of {geometry.width} x {geometry.height} pixels"
        )
    return Window.from_slices((top, bottom), (left, right))


def _nodes(
    bounds: tuple[float, float, float, float], grid: tuple[int, int] | None, spacing_m: float | None
) -> tuple[NDArray[np.float64], float]:
    """Nodes (longitude, latitude) [rows * columns, 2] and metres between them, the smaller of both directions."""
    west, south, east, north = bounds
    height_m = (north - south) * METRES_PER_DEGREE
    width_m = (east - west) * METRES_PER_DEGREE * np.cos(np.radians((south + north) / 2))
    if spacing_m is not None:
        if not (np.isfinite(spacing_m) and spacing_m > 0):
            raise InputError(f"spacing_m: found {spacing_m}; expected a positive number of metres")
        rows, columns = max(1, round(height_m / spacing_m)), max(1, round(width_m / spacing_m))
    else:
        assert grid is not None
        rows, columns = grid
        if rows < 1 or columns < 1:
            raise InputError(f"grid: found {rows} x {columns}; expected at least one row and one column")
    if rows * columns > MAX_NODES:
        raise InputError(f"{rows} x {columns} nodes; expected at most {MAX_NODES:,}. Use a coarser grid or a window")
    latitudes = north - (np.arange(rows) + 0.5) / rows * (north - south)
    longitudes = west + (np.arange(columns) + 0.5) / columns * (east - west)
    longitude, latitude = np.meshgrid(longitudes, latitudes)
    lonlat = np.stack([longitude.ravel(), latitude.ravel()], axis=1)
    return lonlat, float(min(height_m / rows, width_m / columns))


def _positions(
    pixels: NDArray[np.float64], window: Window, part: Window
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Positions (y, x) [N, 2] in the window, and which of them [N] lie between the centres of the outer pixels."""
    left, top = part.col_off + 0.5, part.row_off + 0.5
    x, y = pixels.T
    # Pixels without an answer are NaN, which no comparison holds for.
    inside = (x >= left - _TOLERANCE) & (x <= left + part.width - 1 + _TOLERANCE)
    inside &= (y >= top - _TOLERANCE) & (y <= top + part.height - 1 + _TOLERANCE)
    rows = (y - window.row_off - 0.5) / (window.height - 1)
    columns = (x - window.col_off - 0.5) / (window.width - 1)
    return np.stack([rows, columns], axis=1).clip(0, 1), inside
