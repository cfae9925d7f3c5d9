"""One polarization of a Sentinel-1 GRD product, open to be read as calibrated backscatter."""

from dataclasses import dataclass, replace

import rasterio

from fusargpt.errors import InputError, naming
from fusargpt.geo.geometry import Geometry
from fusargpt.geo.raster import Raster, check_blocks
from fusargpt.geo.reading import Reading, choose_band
from fusargpt.geo.remote import open_member
from fusargpt.geo.sentinel1 import Annotation, measurements


@dataclass(frozen=True)
class OpenedProduct:
    """Attributes:
    annotation: what the product says of the polarization.
    raster: its measurement, whose values are sigma nought in power.
    geometry: by the geolocation grid; None where that cannot be used.
    problem: why, in one line; "" where it is.
    """

    annotation: Annotation
    raster: Raster
    geometry: Geometry | None
    problem: str


def open_product(path: str, reading: Reading, polarizations: str | None = None) -> OpenedProduct:
    """Open one polarization of a product; of the pixels nothing is read yet.

    Args:
        path: of a .SAFE folder, its manifest, or a zip of it.
        reading: its `polarization`, or the `band` as the number of one in the product, from 1; with neither the
            co-polarized one.
        polarizations: None, as a product says them itself.

    Raises:
        InputError: no whole GRD product, a polarization that it does not have, files that are damaged or contradict
            each other, or something told that the product says itself.
    """
    told = {"stored": reading.stored, "nodata": reading.nodata, "crs": reading.crs, "height_m": reading.height_m}
    for name, value in {**told, "polarizations": polarizations}.items():
        if value is not None:
            raise InputError(f"{path}: {name}: found {value!r} for a product whose annotation says it; leave it out")
    found = measurements(path)
    with naming(path):
        band, _ = choose_band(tuple(one.polarization for one in found), reading)
    measurement = found[band - 1]
    annotation, calibration = measurement.annotation, measurement.calibration()
    name = f"{path}: {measurement.raster}"
    dataset = open_member(name, measurement.gdal_path)
    try:
        with naming(name):
            _check(dataset, annotation)
        geometry, problem = _geometry(annotation)
    except InputError:
        dataset.close()
        raise
    # Which one to read is settled: its TIFF has one band.
    raster = Raster(path, dataset, replace(reading, band=None, polarization=None), calibration)
    return OpenedProduct(annotation, raster, geometry, problem and f"{measurement.annotation_file}: {problem}")


def _check(dataset: rasterio.DatasetReader, annotation: Annotation) -> None:
    check_blocks(dataset)
    if dataset.count != 1 or dataset.dtypes[0] != "uint16":
        kinds = ", ".join(sorted(set(dataset.dtypes)))
        raise InputError(f"{dataset.count} bands of {kinds}; expected one of uint16, as of a GRD product")
    if (dataset.width, dataset.height) != (annotation.width, annotation.height):
        raise InputError(
            f"{dataset.width} x {dataset.height} pixels; the annotation says {annotation.width} x {annotation.height}"
        )


def _geometry(annotation: Annotation) -> tuple[Geometry | None, str]:
    try:
        return annotation.geometry(), ""
    except InputError as error:
        return None, str(error)
