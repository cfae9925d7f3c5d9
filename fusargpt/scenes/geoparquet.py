"""The metadata by which a Parquet file is a map: GeoParquet 1.1."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from fusargpt.geo.mapping import WGS84

VERSION = "1.1.0"
COLUMN = "geometry"


def geo_metadata(shapes: NDArray[np.object_], crs: str = WGS84) -> Mapping[str, Any]:
    """Of the column `geometry` of WKB; the value of the key `geo`, as plain JSON.

    Args:
        shapes: polygons, counter-clockwise, some of which may be missing.
        crs: of their coordinates, x first. WGS84 is not written: without a `crs` it is longitude and latitude.
    """
    known = shapes[~shapely.is_missing(shapes)]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({shape.geom_type for shape in known}),
        "orientation": "counterclockwise",
    }
    if len(known):
        # A centimetre, of degrees or of metres.
        digits = 7 if crs == WGS84 else 2
        column["bbox"] = [round(float(edge), digits) for edge in shapely.total_bounds(known)]
    if crs != WGS84:
        column["crs"] = CRS.from_user_input(crs).to_dict(projjson=True)
    return {"version": VERSION, "primary_column": COLUMN, "columns": {COLUMN: column}}
