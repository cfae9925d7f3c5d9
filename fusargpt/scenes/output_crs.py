"""The CRS that places are written in."""

from rasterio.crs import CRS

from fusargpt.errors import InputError, naming
from fusargpt.geo.geometry import crs_name
from fusargpt.geo.mapping import WGS84


def check_output_crs(crs: str) -> str:
    """The CRS as `fusargpt.geo.geometry.crs_name` has it; longitude and latitude of WGS84 are "EPSG:4326".

    Raises:
        InputError: not a CRS, or one without two coordinates on the ground.
    """
    with naming("out-crs"):
        name = crs_name(crs)
    found = CRS.from_user_input(name)
    if not (found.is_geographic or found.is_projected):
        raise InputError(f"out-crs: found {crs}; expected a CRS of a map or of degrees, as EPSG:32611")
    return WGS84 if name == "OGC:CRS84" else name
