"""One band of an open raster: its stored values and which of them hold data."""

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window

from fusargpt.errors import InputError


def check_band(dataset: rasterio.DatasetReader, band: int) -> None:
    """Raise InputError unless the raster has this band, counted from 1."""
    if not 1 <= band <= dataset.count:
        raise InputError(f"no band {band}; the file has {dataset.count}")


def read_band(
    dataset: rasterio.DatasetReader, band: int, window: Window | None = None, nodata: float | None = None
) -> tuple[np.ndarray, NDArray[np.bool_]]:
    """Stored values, and where they hold data.

    Scale and offset of the band are applied, except to 8-bit values. Not valid are: the nodata value, what a mask or an
    alpha band of the file leaves out, NaN and infinite values.

    Args:
        dataset: an open raster.
        band: from 1.
        window: whole pixels inside the raster; None reads all of it.
        nodata: instead of the file's nodata value and masks.

    Returns:
        values [height, width] of the stored type (float32 where it is float64 or scaled, complex64 for any complex
        one), and bool [height, width].

    Raises:
        RasterioError: what GDAL cannot read.
    """
    # Half the memory, and nothing lost: seven digits are more than radiometry has.
    narrow = {"float64": "float32", "complex128": "complex64"}.get(dataset.dtypes[band - 1])
    values = dataset.read(band, window=window, out_dtype=narrow)
    if nodata is not None:
        valid = ~np.isnan(values) if np.isnan(nodata) else values != float(nodata)
    elif MaskFlags.all_valid in dataset.mask_flag_enums[band - 1]:
        valid = np.ones(values.shape, bool)
    else:
        valid = dataset.read_masks(band, window=window) != 0
    if values.dtype.kind in "fc":
        valid &= np.isfinite(values)
    scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
    if values.dtype != np.uint8 and (scale, offset) != (1.0, 0.0):
        values = values * np.float32(scale) + np.float32(offset)
    return values, valid
